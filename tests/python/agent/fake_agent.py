"""An agent that misbehaves: `fake_agent.py SCENARIO [FILE [DETAIL]]`. Each scenario is a function.

Each start appends a line to FILE, unless it is `-`.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MIB = 1 << 20

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer


def send(message: Json, payload: bytes = b"") -> None:
    if payload:
        message["payload"] = len(payload)
    stdout.write(json.dumps(message).encode() + b"\n" + payload + (b"\n" if payload else b""))
    stdout.flush()


def receive() -> Json:
    """The next message of the host; ends this program at the end of the input."""
    line = stdin.readline()
    if not line:
        sys.exit(0)
    message: Json = json.loads(line)
    if "payload" in message:
        stdin.read(message["payload"] + 1)
    return message


def notify(method: str, payload: bytes = b"", /, **params: object) -> None:
    send({"method": method, "params": params}, payload)


def answer(request: Json, **result: object) -> None:
    send({"id": request["id"], "result": result})


def refuse(request: Json, code: str, kind: str, **data: object) -> None:
    data |= {"code": code, "kind": kind}
    send({"id": request["id"], "error": {"code": -32000, "message": f"it is {code}", "data": data}})


def hello(**changes: object) -> None:
    limits = {"max_line": 65536, "max_payload": MIB, "max_requests": 3, "max_transfers": 2}
    params: Json = {
        "protocol": "backup-agent",
        "versions": [1],
        "agent": {"name": "peer", "version": "1.2.3"},
        "capabilities": {},
        "limits": limits,
    }
    notify("hello", **(params | changes))


def ready(*capabilities: str) -> None:
    """Sends hello and opens a target."""
    hello(capabilities={name: {} for name in capabilities})
    answer(receive(), protocol=1)
    answer(receive(), target="t1")


def requests(*methods: str) -> Json:
    """The next request with one of these methods; all others get an empty answer."""
    while True:
        message = receive()
        if message["method"] in methods:
            return message
        if "id" in message:
            answer(message)


def begin_download(length: int) -> Json:
    request = requests("backup.download")
    backup = {"id": "b1", "name": "B", "size": length, "stored_size": length, "metadata": {}}
    notify("stream.begin", id=request["id"], offset=0, length=length, backup=backup)
    return request


# Programs that are not the agent


def silence() -> None:
    time.sleep(60)


def prints_text() -> None:
    print("Welcome to the machine", flush=True)
    time.sleep(60)


def sends_other_message() -> None:
    notify("progress", id=1, done=0)
    time.sleep(60)


def other_protocol() -> None:
    hello(protocol="mail")
    time.sleep(60)


def other_version() -> None:
    hello(versions=[7, 8])
    time.sleep(60)


def dies() -> None:
    print("no such library", file=sys.stderr, flush=True)
    sys.exit(3)


def no_answer() -> None:
    hello()
    time.sleep(60)


def refuses() -> None:
    hello()
    refuse(receive(), "unsupported_protocol", "protocol")
    time.sleep(60)


def leaves() -> None:
    hello()
    receive()
    sys.exit(74)


# Agents that do not exit


def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    while stdin.readline():
        pass
    time.sleep(60)


def never_exits() -> None:
    ready()
    time.sleep(60)


# Agents that break the protocol


def prints_during_request() -> None:
    ready()
    requests("backup.list")
    print("a stray print", flush=True)
    time.sleep(60)


def reports_parse_error() -> None:
    ready()
    requests("backup.list")
    refuse({"id": None}, "parse_error", "protocol")
    sys.exit(76)


def closes_output() -> None:
    ready()
    requests("backup.list")
    os.close(stdout.fileno())
    time.sleep(60)


def no_result() -> None:
    ready()
    request = requests("backup.list")
    send({"id": request["id"]})
    answer(requests("backup.list"), backups=[], next=None, skipped=[])
    requests()


def repeats_cursor() -> None:
    ready()
    while True:
        answer(requests("backup.list"), backups=[], next="again", skipped=[])


def invalid_entries() -> None:
    ready()
    good = {"id": "b1", "size": 7, "new_member": [1]}
    entries = [{"name": "no id"}, 5, good]
    answer(requests("backup.list"), backups=entries, next=None, skipped=["odd"], new_member=1)
    requests()


# Downloads that fail


def error_after_the_last_byte() -> None:
    ready()
    request = begin_download(2 * MIB)
    for offset in (0, MIB):
        notify("stream.data", bytes(MIB), id=request["id"], offset=offset)
    notify("stream.end", id=request["id"], length=2 * MIB)
    refuse(request, "integrity_mismatch", "integrity", details={"where": "object"})
    requests()


def ends_early() -> None:
    ready()
    request = begin_download(2 * MIB)
    notify("stream.data", bytes(MIB), id=request["id"], offset=0)
    notify("stream.end", id=request["id"], length=MIB)
    answer(request, length=MIB, verified=True)
    requests()


def omits_end() -> None:
    ready()
    request = begin_download(MIB)
    notify("stream.data", bytes(MIB), id=request["id"], offset=0)
    answer(request, length=MIB, verified=True)
    requests()


def answers_cancel() -> None:
    ready()
    request = begin_download(2 * MIB)
    cancel = requests("cancel")
    assert cancel["params"]["id"] == request["id"]
    refuse(request, "cancelled", "cancelled")
    requests()


def skips_offset() -> None:
    ready()
    request = begin_download(2 * MIB)
    notify("stream.data", bytes(5), id=request["id"], offset=5)
    requests("cancel")
    requests()


def ignores_credit() -> None:
    ready()
    request = begin_download(20 * MIB)
    for offset in range(0, 20 * MIB, MIB):
        notify("stream.data", bytes(MIB), id=request["id"], offset=offset)
    requests()


def tiny_frames() -> None:
    ready()
    request = begin_download(3000)
    for offset in range(3000):
        notify("stream.data", b"%d" % (offset % 10), id=request["id"], offset=offset)
    notify("stream.end", id=request["id"], length=3000)
    answer(request, length=3000, verified=False)
    requests()


def never_begins() -> None:
    ready()
    while True:
        receive()


# Uploads that fail


def full() -> None:
    """Refuses an upload after its first data."""
    ready()
    request = requests("backup.upload")
    notify("stream.credit", id=request["id"], up_to=4 * MIB)
    requests("stream.data")
    refuse(request, "quota_exceeded", "limit", cleanup="complete")
    requests()


def throttles() -> None:
    """Refuses two uploads and accepts the third, whose progress starts again at 0."""
    ready()
    for attempt in range(3):
        request = requests("backup.upload")
        notify("stream.credit", id=request["id"], up_to=4 * MIB)
        requests("stream.end")
        for done in (1 + attempt, 5 - attempt):
            notify("progress", id=request["id"], phase="transferring", done=done, total=5)
        if attempt < 2:
            pause = int(sys.argv[3]) if len(sys.argv) > 3 else 1
            refuse(request, "throttled", "transient", retryable=True, retry_after_ms=pause)
    answer(request, backup={"id": "b1", "name": "B"})
    requests()


def resumes() -> None:
    """Refuses two uploads, and names the third after the `resume_s` of all."""
    ready(*sys.argv[3:])
    times: list[int | None] = []
    for attempt in range(3):
        request = requests("backup.upload")
        times.append(request["params"].get("resume_s"))
        notify("stream.credit", id=request["id"], up_to=4 * MIB)
        requests("stream.end")
        if attempt < 2:
            refuse(request, "throttled", "transient", retryable=True, cleanup="kept")
    answer(request, backup={"id": "b1", "name": json.dumps(times)}, resumed_bytes=3)
    requests()


def refuses_uploads() -> None:
    """Refuses every upload with this code, as retryable."""
    ready()
    kinds = {"shutting_down": "cancelled", "busy": "limit"}
    while True:
        request = requests("backup.upload")
        notify("stream.credit", id=request["id"], up_to=4 * MIB)
        requests("stream.end")
        code = sys.argv[3]
        refuse(request, code, kinds[code], retryable=True, retry_after_ms=1)


def answers_early() -> None:
    ready()
    request = requests("backup.upload")
    notify("stream.credit", id=request["id"], up_to=MIB)
    requests("stream.data")
    answer(request, backup={"id": "b1"})
    requests()


# Requests


def accepts_three_requests() -> None:
    """Answers when three requests are open, and refuses a fourth."""
    ready()
    waiting: list[Json] = []
    while True:
        waiting.append(requests("backup.get"))
        if len(waiting) == 3:
            time.sleep(0.05)
            for request in waiting:
                answer(request, backup={"id": request["params"]["backup_id"]})
            waiting.clear()


def never_answers() -> None:
    ready()
    request = requests("backup.list")
    assert request["params"]["deadline_ms"] > 0
    requests("cancel")
    answer(request, backups=[{"id": "late"}], next=None, skipped=[])
    answer(requests("backup.list"), backups=[], next=None, skipped=[])
    requests()


def reports_cleanup_items() -> None:
    ready()
    request = requests("target.cleanup")
    assert request["params"]["older_than_s"] == 7200
    assert request["params"]["dry_run"] is True
    error = {"message": "may not", "code": "access_denied", "kind": "permission"}
    stays = {"kind": "upload", "key": "x/b1.tar", "idle_s": 90_000, "status": "failed"}
    odd = {"kind": "x-new", "key": "k", "idle_s": 1, "status": "x-odd", "x-new": 1}
    answer(request, items=[stays | {"error": error}, odd, 5])
    requests()


def older() -> None:
    """An agent without `target.cleanup`."""
    ready()
    refuse(requests("target.cleanup"), "method_not_found", "protocol")
    answer(requests("backup.list"), backups=[], next=None, skipped=[])
    requests()


def newer() -> None:
    """Sends members and values that do not exist yet."""
    hello(capabilities={"x-new": {}}, new_member=1)
    answer(receive(), protocol=1, new_member=1)
    notify("x-news", b"{}\n", id=7)
    answer(receive(), target="t1")
    request = requests("backup.get")
    notify("x-news", b"{}\n", id=request["id"])
    send({"id": 99999, "result": {}})
    unknown: Json = {"field": 5, "details": [1], "retryable": "yes", "cleanup": "x-half"}
    refuse(request, "x_new_code", "x_new_kind", **unknown)
    said: Json = {
        "message": "yes",
        "details": [1],
        "error": {"message": "no", "code": "x_new_code"},
    }
    checks: list[Json] = [
        {"name": "x-new", "status": "x-odd", "message": 5},
        {"name": "list", "status": "passed", "ms": 1} | said,
    ]
    answer(requests("target.validate"), ok=True, checks=checks, suggestion="x")
    requests()


# Logs


def noise(lines: int) -> None:
    for number in range(lines):
        line = {"ts": "2026", "level": "info", "msg": f"line {number}", "filler": "x" * 60}
        print(json.dumps(line), file=sys.stderr)
    sys.stderr.flush()


def logs_a_megabyte() -> None:
    """Logs a megabyte before hello, and another one during a request."""
    noise(9000)
    ready()
    request = requests("backup.list")
    noise(9000)
    answer(request, backups=[], next=None, skipped=[])
    requests()


def logs_secrets() -> None:
    """Logs secrets in several ways."""
    hello()
    answer(receive(), protocol=1)
    request = receive()
    secret = request["params"]["config"]["secret_access_key"]
    answer(request, target="t1")
    for record in (
        {"level": "info", "msg": f"the key is {secret}"},
        {"level": "warning", "msg": "details", "key": secret, "id": 3},
        {"level": "debug", "msg": "nested", "config": {"key": [secret]}},
        {"level": "loud", "msg": secret},
    ):
        print(json.dumps(record), file=sys.stderr)
    print(f"thread panicked at {secret}", file=sys.stderr)
    print("x" * 20_000, file=sys.stderr, flush=True)
    requests("backup.list")
    sys.exit(70)


def main() -> None:
    scenario: Callable[[], None] = globals()[sys.argv[1]]
    if len(sys.argv) > 2 and sys.argv[2] != "-":
        with Path(sys.argv[2]).open("a") as file:
            file.write("start\n")
    scenario()


if __name__ == "__main__":
    main()
