"""The published JSON Schema rejects each message with one fault, and so does the agent."""

import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import host
import player
import schemas
from conftest import Folder
from schemas import BAD_CONFIG, BAD_REQUEST, Json, Session, broken, message_problem

# Additions without a new version of the protocol (V2), and members of other agents.
TOLERATED = {
    *((f"{method} method", "another value") for method in ("cancel", "hello", "progress")),
    *((f"stream.{what} method", "another value") for what in ("begin", "data", "end", "credit")),
    ("progress params.phase", "another value"),
    ("progress params.waiting_for", "another value"),
    ("response error.data.cleanup", "another value"),
    ("response error.data.code", "another value"),
    ("result of backup.list skipped[].code", "another value"),
    ("result of backup.verify error.cleanup", "another value"),
    ("result of backup.verify error.code", "another value"),
    ("result of backup.verify status", "another value"),
    ("result of target.repair archives[].error.cleanup", "another value"),
    ("result of target.repair archives[].error.code", "another value"),
    ("result of target.repair archives[].status", "another value"),
    ("result of target.cleanup items[].kind", "another value"),
    ("result of target.cleanup items[].status", "another value"),
    ("result of target.cleanup items[].error.cleanup", "another value"),
    ("result of target.cleanup items[].error.code", "another value"),
    ("result of target.validate checks[].error.cleanup", "another value"),
    ("result of target.validate checks[].error.code", "another value"),
    ("result of target.validate checks[].status", "another value"),
    ("target.open params.config.type", "another value"),
    ("target.open params.config.type", "left out"),
    ("target.open params.config.type", "null"),
}

PACE = {"deadline_ms": 60_000, "progress_ms": 1000}
FAILED: Json = {
    "message": "the storage refuses it",
    "code": "access_denied",
    "kind": "permission",
    "retryable": False,
    "retry_after_ms": 1000,
    "field": "access_key_id",
    "details": {"action": "s3:AbortMultipartUpload", "numbers": [1, -1], "number": -5},
    "cleanup": "failed",
    "upstream": {
        "service": "s3",
        "operation": "AbortMultipartUpload",
        "status": 403,
        "code": "AccessDenied",
        "message": "Access Denied.",
        "request_id": "4442587FB7D0A2F9",
    },
}


def request(method: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def settings(**more: Any) -> Json:
    return request("target.open", target="t1", config=player.CONFIG | more)


def result(**members: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": members}


# Members that occur in no transcript: direction, message, method.
MORE: list[tuple[str, Json, str]] = [
    *(
        (">", request(method, target="t1", backup_id="b1", up_to=0, **PACE), method)
        for method in (
            "target.validate",
            "target.cleanup",
            "target.repair",
            "backup.get",
            "backup.verify",
            "backup.delete",
            "backup.download",
        )
    ),
    *(
        (">", request(method, target="t1", retry_for_ms=1, **members), method)
        for method, members in (
            ("backup.upload", {"backup": {"id": "b1", "name": "b1"}}),
            ("backup.download", {"backup_id": "b1", "up_to": 0}),
        )
    ),
    *(
        (">", settings(session_token=token), "target.open")
        for token in ("EXAMPLE-TOKEN", {"file": "/run/token"}, {"credential": "token"}, None)
    ),
    (
        ">",
        settings(
            addressing_style="virtual",
            ca_certificate="-----BEGIN CERTIFICATE-----",
            verify_tls=False,
            storage_class="STANDARD_IA",
            server_side_encryption="aws:kms",
            server_side_encryption_key_id="alias/backups",
            part_size=5 << 20,
            memory=32 << 20,
            concurrency=64,
            bandwidth_limit=65_536,
        ),
        "target.open",
    ),
    *(
        (
            ">",
            request(
                "target.update",
                target="t1",
                limits={
                    "bandwidth_limit": rate,
                    "concurrency": parts,
                    "memory": memory,
                },
            ),
            "target.update",
        )
        for rate, parts, memory in ((65_536, 64, 32 << 20), (None, None, None))
    ),
    (
        "<",
        result(backup_id="b1", level="quick", status="damaged", length=9, error=FAILED),
        "backup.verify",
    ),
    (
        "<",
        result(
            archives=[
                {
                    "name": "x",
                    "key": "ha/x.tar",
                    "size": 9,
                    "status": "repairable",
                    "backup_id": "b1",
                    "title": "X",
                    "error": FAILED,
                }
            ],
            more=False,
        ),
        "target.repair",
    ),
    (
        "<",
        result(
            items=[
                {"kind": "upload", "key": "ha/x", "idle_s": 9, "status": "failed", "error": FAILED}
            ],
            more=False,
        ),
        "target.cleanup",
    ),
    (
        "<",
        result(
            ok=False,
            checks=[{"name": "list", "status": "failed", "ms": 1, "error": FAILED}],
            details={
                "endpoint": "https://s3.eu-west-1.amazonaws.com",
                "region": "eu-west-1",
                "addressing_style": "virtual",
                "provider": "aws",
                "server": "AmazonS3",
            },
            suggestion={
                "endpoint": "https://s3.eu-west-1.amazonaws.com",
                "region": "eu-west-1",
                "bucket": "backups",
                "prefix": "ha",
                "addressing_style": "virtual",
            },
        ),
        "target.validate",
    ),
]


@dataclass(frozen=True)
class Fault:
    """A valid message with one change."""

    direction: str
    place: str
    change: str
    message: Json
    method: str | None

    def is_seen(self) -> bool:
        return message_problem(self.direction, self.message, self.method) is not None


def messages() -> Iterator[tuple[str, Json, str | None]]:
    """Returns direction, message and method of all valid messages."""
    for transcript in player.load_all().values():
        session = Session()
        for direction, message in schemas.messages(transcript):
            method = session.method(direction, message)
            if not message_problem(direction, message, method):
                yield direction, message, method
    for direction, message, method in MORE:
        assert not message_problem(direction, message, method)
        yield direction, message, method


def faults() -> Iterator[Fault]:
    """Returns each change of a place once."""
    seen = set[tuple[str, str, str]]()
    for direction, message, method in messages():
        for place, change, changed in broken(direction, message, method):
            if (direction, place, change) not in seen:
                seen.add((direction, place, change))
                yield Fault(direction, place, change, changed, method)


def test_schema_rejects_broken_messages() -> None:
    refused, tolerated, places = 0, set[tuple[str, str]](), set[str]()
    for fault in faults():
        places.add(fault.place)
        if fault.is_seen():
            refused += 1
        else:
            tolerated.add((fault.place, fault.change))
    assert tolerated == TOLERATED
    unseen = {place for place in schemas.places() - places if "that came later" not in place}
    assert unseen == set(), "no message has these members"
    assert refused > 2000


# The agent is more lenient than the schema: it ignores `jsonrpc` and the parameters of a ping,
# accepts `null` for a missing member, and integers that some libraries cannot represent.
GENEROUS = {"null", "not exact"}
UNSEEN = (" jsonrpc", "ping params")


def is_for_the_agent(fault: Fault) -> bool:
    """Returns whether it is a request that gets its own error response."""
    if fault.direction == "<" or "id" not in fault.message:
        return False
    if fault.place.endswith((" id", *UNSEEN)) or fault.change in GENEROUS:
        return False
    return fault.is_seen()


class RawSession:
    """An agent that gets arbitrary requests."""

    def __init__(self, binary: str) -> None:
        pipe = subprocess.PIPE
        command = [binary, "serve"]
        self._agent = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._numbers = itertools.count(1)

    def answer(self, message: Json) -> Json:
        """Returns the response to a request, which gets a new ID. Every frame has to be valid."""
        assert self._agent.stdin and self._agent.stdout
        self._agent.stdin.writelines(host.encode(message | {"id": next(self._numbers)}))
        self._agent.stdin.flush()
        while frame := host.read_frame(self._agent.stdout):
            assert not (found := message_problem("<", frame[0], message.get("method"))), found
            if "method" not in frame[0]:
                return frame[0]
        raise AssertionError("the agent has ended")

    def close(self) -> int:
        with self._agent:
            pass
        return self._agent.returncode


def test_agent_rejects_what_the_schema_rejects(binary: str, folder: Folder) -> None:
    wrong = [fault for fault in faults() if is_for_the_agent(fault)]
    assert len(wrong) > 500
    session = RawSession(binary)
    try:
        # After `initialize` succeeds, there is no other.
        handshakes = [fault for fault in wrong if fault.place.startswith("initialize params")]
        taken = [answer for fault in handshakes if (answer := taken_by(session, fault))]
        session.answer(request("initialize", protocol=1))
        session.answer(request("target.open", target="t1", config=folder.config))
        taken += [answer for fault in wrong if (answer := taken_by(session, fault))]
    finally:
        exit_code = session.close()
    assert taken == []
    assert exit_code == 0
    assert folder.keys() == []


def taken_by(session: RawSession, fault: Fault) -> str | None:
    """Returns the result of the agent; None if it refuses."""
    message, params = fault.message, fault.message.get("params")
    is_about_target = fault.place.endswith(" params.target")
    if isinstance(params, dict) and "target" in params and not is_about_target:
        message = message | {"params": params | {"target": "t1"}}
    answer = session.answer(message)
    code = answer.get("error", {}).get("data", {}).get("code")
    if code in BAD_REQUEST | BAD_CONFIG | {"unsupported_protocol"}:
        return None
    return f"{fault.place}, {fault.change}: {answer} to {message}"
