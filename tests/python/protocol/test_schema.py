"""The published JSON Schema accepts all valid messages: in the transcripts, in the documents, and
between a real host and a real agent."""

import collections
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import host
import player
import pytest
import render
import schemas
from agent.client import _SECRETS
from conftest import Folder
from host import Agent, AgentError
from jsonschema import Draft202012Validator
from schemas import Json, Session, problem

TRANSCRIPTS = player.load_all()
PROTOCOL = Path(__file__).parents[3] / "protocol"
DOCUMENT = "".join((PROTOCOL / name).read_text("utf-8") for name in ("PROTOCOL.md", "S3.md"))

# Requests, by transcript and ID, with errors that no schema can detect: they depend on another
# message, on stored data, or on two members together.
BEYOND_A_SCHEMA = {("bad-requests", 6), ("download-offset", 42), ("handshake-order", 4)}
# Transcripts with intentionally broken notifications.
BROKEN_NOTIFICATIONS = {"bad-notifications", "upload-data-without-payload"}


def test_schema_is_valid_and_complete() -> None:
    Draft202012Validator.check_schema(schemas.SCHEMA)
    references = set(re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(schemas.SCHEMA)))
    unused = schemas.DEFINITIONS.keys() - references
    assert unused == {"results", "logLine"}
    assert references < schemas.DEFINITIONS.keys()


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS))
def test_schema_accepts_the_transcripts(name: str) -> None:
    transcript, session = TRANSCRIPTS[name], Session()
    codes = dict[int | None, str]()
    for line in transcript.lines:
        if line.is_response and "error" in line.message:
            codes.setdefault(line.request_id, line.message["error"]["data"]["code"])
    broken_notifications = 0
    for direction, message in schemas.messages(transcript):
        found = session.problem(direction, message)
        number = message.get("id")
        code = codes.get(number) if direction == ">" else None
        if direction == ">" and "id" not in message and found:
            broken_notifications += 1
        elif code in schemas.BAD_REQUEST and (name, number) not in BEYOND_A_SCHEMA:
            assert found, f"it passes: {message}"
        elif code not in schemas.BAD_CONFIG:
            assert not found, f"{found} in {message}"
    assert bool(broken_notifications) == (name in BROKEN_NOTIFICATIONS)


def test_schema_accepts_the_examples() -> None:
    blocks = re.findall(r"^```(bap|json)[^\n]*\n(.*?)^```$", DOCUMENT, re.M | re.S)
    counts = collections.Counter[str]()
    session = Session()
    for kind, block in blocks:
        if kind == "json":
            # A line of the log, and a `config`.
            value = json.loads(block)
            log = "ts" in value
            found = problem("logLine" if log else "S3Config", value)
            assert not found, f"{block}: {found}"
            counts["log" if log else "config"] += 1
            continue
        for direction, text in render.messages(block):
            try:
                message = json.loads(text)
            except ValueError:
                continue  # a payload, or not a frame
            found = session.problem(direction, message)
            if not found:
                counts[direction] += 1
            else:
                assert direction == ">", f"{text}: {found}"
                assert "backup.copy" in text or '"s3.example.org"' in text, f"{text}: {found}"
    assert counts["<"] > 25, counts
    assert counts[">"] > 25, counts
    assert (counts["log"], counts["config"]) == (1, 1), counts


# Tables outside of the sections of methods, and their types.
TABLES = {
    "member of `limits`": "AgentLimits",
    "member of `error`": "ErrorObject",
    "member of `data`": "ErrorData",
    "### `config` of the type `s3`": "S3Config",
    "### The backup object": "Backup",
}


def test_schema_has_the_members_of_the_tables() -> None:
    rows = r"((?:\|.*\n)+)"
    tables = list(
        re.finditer(rf"^\| (member[^|]*) \| type \|(.*)\n\|[-|]+\n{rows}", DOCUMENT, re.M)
    )
    compared = 0
    for table in tables:
        heading = re.findall(r"^#+ .*", DOCUMENT[: table.start()], re.M)[-1]
        members = described(heading, table[1])
        if members is None:
            continue
        compared += 1
        named = set[str]()
        for row in table[3].splitlines():
            first, _, is_required, *_ = (cell.strip() for cell in row.strip("|").split("|"))
            for name in re.findall(r"`([^`]+)`", first):
                named.add(name.split(".")[0].removesuffix("[]"))
                assert name in members, f"{heading}: {name}"
                if "required" in table[2]:
                    assert (is_required == "yes") == members[name], f"{heading}: {name}"
        assert named == {re.split(r"[.\[]", name)[0] for name in members}, heading
    # Except the table of messages in general and the one of all requests on targets.
    assert compared == len(tables) - 2


def described(heading: str, title: str) -> dict[str, bool] | None:
    """Returns the members that the schema has for a table, and whether they are required."""
    if name := TABLES.get(title) or TABLES.get(heading):
        return schemas.members({"$ref": f"#/$defs/{name}"})
    method = re.match(r"### `([a-z.]+)` \(", heading)
    if not method:
        return None
    if title == "member of the result":
        return schemas.members(schemas.RESULTS[method[1]])
    return schemas.members(schemas.ENVELOPES[method[1]]["properties"]["params"])


def test_schema_has_the_published_codes_and_kinds() -> None:
    published = json.loads((PROTOCOL / "errors.json").read_text("utf-8"))
    *codes, _ = schemas.DEFINITIONS["ErrorCode"]["anyOf"]
    meanings = [(code["const"], code["description"]) for code in codes]
    assert meanings == [(entry["code"], entry["meaning"]) for entry in published]
    kinds = {kind["const"] for kind in schemas.DEFINITIONS["ErrorKind"]["oneOf"]}
    assert kinds == {entry["kind"] for entry in published}


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Json]]:
    """Records all messages that the reference host sends and receives."""
    recorded = list[tuple[str, Json]]()
    encode, read_frame = host.encode, host.read_frame

    def recording_encode(message: Json, payload: host.Bytes | None = None) -> list[host.Bytes]:
        pieces = encode(message, payload)
        recorded.append((">", json.loads(bytes(pieces[0]))))
        return pieces

    def recording_read_frame(stream: IO[bytes]) -> host.Frame | None:
        if frame := read_frame(stream):
            recorded.append(("<", frame[0]))
        return frame

    monkeypatch.setattr(host, "encode", recording_encode)
    monkeypatch.setattr(host, "read_frame", recording_read_frame)
    return recorded


def test_schema_accepts_a_real_session(
    binary: str, folder: Folder, frames: list[tuple[str, Json]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    agent = Agent(["sh", "-c", 'exec "$0" serve 2>"$1"', binary, str(log)])
    try:
        store_and_fetch(agent, folder)
        codes = fail_in_many_ways(agent)
    finally:
        exit_code = agent.close()
    assert exit_code == 0
    assert "" not in codes, f"something did not fail: {codes}"

    judge = Session()
    assert [found for frame in frames if (found := judge.problem(*frame))] == []
    said = {(direction, message.get("method", "response")) for direction, message in frames}
    streams = {f"stream.{what}" for what in ("data", "end", "credit")}
    notifications = {"hello", "progress", "stream.begin", "response", *streams}
    assert said == {
        *((">", method) for method in {"cancel", *streams, *schemas.RESULTS}),
        *(("<", method) for method in notifications),
    }
    lines = log.read_text("utf-8").splitlines()
    assert lines
    assert [found for line in lines if (found := problem("logLine", json.loads(line)))] == []


def store_and_fetch(agent: Agent, folder: Folder) -> None:
    agent.call("ping")
    agent.call("target.open", target="t1", config=folder.config)
    agent.call("target.validate", target="t1", progress_ms=100)
    wrong = folder.config | {"secret_access_key": "A-WRONG-SECRET"}
    agent.call("target.open", target="t2", config=wrong)
    assert not agent.call("target.validate", target="t2", level="read")["ok"]
    agent.call("target.close", target="t2")
    number = str(player.BACKUP["id"])
    data = [player.content(0, player.BACKUP_SIZE)]
    for options in ({"size": player.BACKUP_SIZE}, {"if_exists": "replace", "exact": False}):
        agent.upload("t1", player.BACKUP, data, progress_ms=100, deadline_ms=600_000, **options)
    agent.call("backup.list", target="t1", page_size=1, refresh=True)
    agent.call("backup.get", target="t1", backup_id=number)
    agent.download("t1", number, lambda _: None, window=65_536)
    agent.call("backup.verify", target="t1", backup_id=number, progress_ms=100)
    agent.call("target.cleanup", target="t1", dry_run=True)
    agent.call("target.repair", target="t1", dry_run=True)
    agent.call("target.update", target="t1", limits={"concurrency": 4})
    agent.call("backup.delete", target="t1", backup_id=number)


def fail_in_many_ways(agent: Agent) -> list[str]:
    """Sends well-formed requests that fail. Returns the codes; an empty one for a success."""
    half: Json = player.BACKUP | {"id": "half", "metadata": {}}

    def source_that_fails() -> Iterator[bytes]:
        yield b"a beginning"
        raise AgentError("the source fails", "source_failed")

    attempts: list[Callable[[], object]] = [
        lambda: agent.call("backup.get", target="t1", backup_id="nope"),
        lambda: agent.call("backup.list", target="t3"),
        # No data follows.
        lambda: agent.call("backup.upload", target="t1", backup=half, deadline_ms=1),
        lambda: agent.upload("t1", half, [b"short"], size=10),
        lambda: agent.upload("t1", half, source_that_fails()),
        lambda: agent.call("initialize", protocol=1),
    ]
    codes = []
    for attempt in attempts:
        try:
            attempt()
            codes.append("")
        except AgentError as error:
            codes.append(error.code)
    return codes


def test_schema_marks_exactly_the_secrets() -> None:
    """The integration keeps exactly the secrets of the schema out of its log."""
    secrets = set[str]()

    def look(value: object) -> None:
        if isinstance(value, dict):
            for name, inner in value.get("properties", {}).items():
                if inner.get("writeOnly"):
                    secrets.add(name)
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(schemas.SCHEMA)
    assert secrets == set(_SECRETS)
    types = schemas.DEFINITIONS["S3Config"]["properties"]
    assert secrets == {name for name, inner in types.items() if "#/$defs/Secret" in str(inner)}
