"""Simulates the agent of another release in front of the real agent.

    other_release_agent.py older|newer VERSION AGENT [ARGUMENT...]

The older one announces only the capabilities of the first release, knows only its requests, ignores
unknown members, and refuses members that need a capability. The newer one sends unknown members.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

Json = dict[str, Any]

age, version, *command = sys.argv[1:]
IS_OLDER = age == "older"
FIRST_CAPABILITIES = ("target.s3", "download.range")
LATER_METHODS = ("backup.verify", "target.repair", "target.cleanup", "target.update")
LATER_MEMBERS = ("retry_for_ms", "stale_s")
ANNOUNCED_MEMBERS = ("resume_s",)

agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert agent.stdin
assert agent.stdout
out = threading.Lock()


def frames(stream: IO[bytes]) -> Iterator[tuple[Json, bytes]]:
    for line in stream:
        message: Json = json.loads(line)
        yield message, stream.read(message["payload"] + 1) if "payload" in message else b""


def send(stream: IO[bytes], message: Json, payload: bytes = b"") -> None:
    stream.write(json.dumps(message).encode() + b"\n" + payload)
    stream.flush()


def answer(message: Json, payload: bytes = b"") -> None:
    with out:
        send(sys.stdout.buffer, message, payload)


def refuse(request: Json, code: str) -> None:
    data = {"code": code, "kind": "protocol", "retryable": False}
    answer({"id": request["id"], "error": {"code": -32601, "message": code, "data": data}})


def listen() -> None:
    """Forwards the messages of the host."""
    assert agent.stdin
    with agent.stdin:
        for message, payload in frames(sys.stdin.buffer):
            params = message.get("params") or {}
            if IS_OLDER and message["method"] in LATER_METHODS:
                refuse(message, "method_not_found")
                continue
            if IS_OLDER and any(member in params for member in ANNOUNCED_MEMBERS):
                refuse(message, "invalid_params")
                continue
            if IS_OLDER:
                for member in LATER_MEMBERS:
                    params.pop(member, None)
            send(agent.stdin, message, payload)


threading.Thread(target=listen, daemon=True).start()
for message, payload in frames(agent.stdout):
    if message.get("method") == "hello":
        params = message["params"]
        params["agent"]["version"] = version
        found = params["capabilities"]
        if IS_OLDER:
            params["capabilities"] = {name: found[name] for name in FIRST_CAPABILITIES}
        else:
            params |= {"versions": [*params["versions"], 2], "x_new": 1}
            found |= {"x-new": {"since": version}}
    if not IS_OLDER:
        for part in ("params", "result"):
            if isinstance(members := message.get(part), dict):
                members["x_new"] = [1]
    answer(message, payload)
sys.exit(agent.wait())
