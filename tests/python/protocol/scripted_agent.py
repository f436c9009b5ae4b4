"""Plays the agent's part of a transcript: `scripted_agent.py TRANSCRIPT SOCKET [METHOD...]`.

It leaves out the requests of these methods and all messages about them. On the socket it reports
its position as JSON lines: {"step": 3}, at the end {"over": true}, or {"fault": "..."} if the host
deviates from the transcript. At a step of the host it waits for the host.
"""

import json
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import player
import render
from host import encode, read_frame
from player import Json, Line, Transcript

# The host may choose these, so they are not compared.
FREE = {
    "initialize": {"client", "limits", "log_level"},
    "backup.download": {"up_to"},
    "backup.list": {"page_size"},
    "shutdown": {"mode", "timeout_ms"},
}
FREE_EVERYWHERE = {"deadline_ms", "progress_ms"}
# The defaults of missing members.
DEFAULTS: dict[str, Json] = {
    "backup.download": {"offset": 0},
    "backup.list": {"cursor": None, "refresh": False},
    "backup.upload": {"if_exists": "fail", "exact": False},
    "backup.verify": {"level": "full"},
    "target.repair": {"dry_run": False},
    "target.cleanup": {"older_than_s": 86_400, "dry_run": False, "objects": False},
    "target.validate": {"level": "write"},
}


def meaning(method: str, params: Json) -> Json:
    """Returns the parameters of a request with all defaults, without the host's free choices."""
    free = FREE_EVERYWHERE | FREE.get(method, set())
    full = DEFAULTS.get(method, {}) | params
    if method == "backup.upload":
        full["backup"] = {"metadata": {}} | full["backup"]
    return {name: value for name, value in full.items() if name not in free}


class Request:
    """A running request, and the host's data and credit for it."""

    def __init__(self, number: int, method: str, params: Json) -> None:
        self.number = number  # the host's number
        self.method = method
        self.granted: int = params.get("up_to", 0)  # credit of the producer
        self.window = 0  # first credit of an upload
        self.sent = 0  # bytes of a download
        self.received = bytearray()  # of an upload
        self.expected = bytearray()
        self.is_ended = False
        self.is_cancelled = False


class ScriptedAgent:
    def __init__(self, transcript: Transcript, report: Callable[[Json], None]) -> None:
        self._transcript = transcript
        self._report = report
        self._running = dict[int, Request]()  # by the ids of the transcript
        self._came = deque[Json]()  # requests that are not handled yet
        self._max_payload = 0

    def run(self) -> None:
        if self._transcript.start != "nothing":
            self._prologue()
        for number, step in enumerate(self._transcript.steps):
            self._report({"step": number})
            if step[0].direction == ">":
                self._await(step[0])
            else:
                for line in step:
                    self._say(line)
        self._report({"over": True})
        self._until_the_end()

    def _prologue(self) -> None:
        session = player.load(player.FOLDER / "session.ndjson")
        self._say(session.lines[0])
        for line in session.lines[1:3], session.lines[3:5]:
            self._await(line[0])
            self._say(line[1])

    def _until_the_end(self) -> None:
        """Accepts any way to end the agent."""
        while self._take():
            while self._came:
                request = self._came.popleft()
                if request["method"] != "shutdown":
                    self._fault(f"a request that is not in the transcript: {request}")
                self._write({"id": request["id"], "result": {"aborted": []}})

    # Expected steps of the host

    def _await(self, line: Line) -> None:
        if line.closes:
            return
        if line.is_request:
            self._await_request(line)
            return
        request = self._running.get(line.request_id or 0)
        if request is None:  # it is answered, and the host may not know that yet
            return
        match line.method:
            case "stream.data" if line.payload:
                # Optional: the host may wait for more data.
                request.expected += line.payload.data
            case "stream.end":
                while not request.is_ended:
                    self._go_on(line)
                if request.received != request.expected:
                    self._fault(f"{line}: {len(request.received)} bytes came, or wrong ones")
            case "cancel":
                while not request.is_cancelled:
                    self._go_on(line)

    def _await_request(self, line: Line) -> None:
        while not self._came:
            self._go_on(line)
        message = self._came.popleft()
        method = str(line.method)
        came = meaning(message["method"], message.get("params", {}))
        wanted = meaning(method, line.message.get("params", {}))
        if message["method"] != method or came != wanted:
            found = player.differences(wanted, came)
            self._fault(f"{line}: it sent {json.dumps(message)}: {', '.join(found)}")
        request = Request(message["id"], method, message.get("params", {}))
        self._running[line.request_id or 0] = request

    def _go_on(self, line: Line) -> None:
        if not self._take():
            self._fault(f"{line}: the input ends")

    # Messages of the host

    def _take(self) -> bool:
        """Handles the next message of the host; false at the end."""
        frame = read_frame(sys.stdin.buffer)
        if frame is None:
            return False
        message, payload = frame
        if "id" in message:
            self._came.append(message)
            return True
        method, params = message["method"], message["params"]
        for request in self._running.values():
            if request.number == params["id"]:
                self._notice(request, method, params, payload or b"")
        return True

    def _notice(self, request: Request, method: str, params: Json, payload: bytes) -> None:
        match method, request.method:
            case "cancel", _:
                request.is_cancelled = True
            case "stream.credit", "backup.download":
                request.granted = max(request.granted, params["up_to"])
            case "stream.data", "backup.upload" if not request.is_ended:
                if params["offset"] != len(request.received):
                    self._fault(f"data at {params['offset']} and not {len(request.received)}")
                request.received += payload
                if len(request.received) > request.granted or not payload:
                    self._fault(f"data without credit, or none, at {params['offset']}")
                if len(payload) > self._max_payload:
                    self._fault(f"a payload of {len(payload)} bytes")
                self._grant(request)
            case "stream.end", "backup.upload" if not request.is_ended:
                request.is_ended = True
                if params["length"] != len(request.received):
                    self._fault(f"{len(request.received)} bytes came, {params['length']} are named")
            case _:
                self._fault(f"{method} makes no sense for {request.method}")

    # Messages of the agent

    def _grant(self, request: Request) -> None:
        """Grants more credit when a quarter of the first one is used."""
        up_to = len(request.received) + request.window
        if up_to - request.granted >= request.window / 4:
            request.granted = up_to
            params = {"id": request.number, "up_to": up_to}
            self._write({"method": "stream.credit", "params": params})

    def _say(self, line: Line) -> None:
        message: Json = render.example(line.message)
        request = self._running.get(line.request_id or 0)
        if request and "id" in message:
            message = message | {"id": request.number}
            del self._running[line.request_id or 0]
        elif request:
            message = message | {"params": message["params"] | {"id": request.number}}
        match line.method:
            case "hello":
                self._max_payload = message["params"]["limits"]["max_payload"]
            case "stream.credit" if request:
                request.window = message["params"]["up_to"]
                request.granted = max(request.granted, request.window)
            case "stream.data" if request and line.payload:
                self._send_data(line, request, line.payload.data)
                return
        self._write(message, line.payload.data if line.payload else None)

    def _send_data(self, line: Line, request: Request, data: bytes) -> None:
        """Sends data in as many frames as the host's credit requires."""
        while data:
            while request.granted <= request.sent and not request.is_cancelled:
                self._go_on(line)
            if request.is_cancelled:
                return
            piece = data[: request.granted - request.sent]
            params = {"id": request.number, "offset": request.sent}
            self._write({"method": "stream.data", "params": params}, piece)
            request.sent += len(piece)
            data = data[len(piece) :]

    def _write(self, message: Json, payload: bytes | None = None) -> None:
        message = {name: value for name, value in message.items() if name != "payload"}
        sys.stdout.buffer.writelines(encode(message, payload))
        sys.stdout.buffer.flush()

    def _fault(self, text: str) -> NoReturn:
        self._report({"fault": f"the agent: {text}"})
        sys.exit(70)


def main() -> None:
    path, address, *methods = sys.argv[1:]
    transcript = player.load(Path(path)).without(methods)
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(address)

        def report(message: dict[str, Any]) -> None:
            channel.sendall(json.dumps(message).encode() + b"\n")

        ScriptedAgent(transcript, report).run()


if __name__ == "__main__":
    main()
