"""Plays the host's part of a transcript against a real agent, and compares the agent's messages."""

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import player
import render
from host import AgentError, Frame, encode, read_frame
from player import Json, Line, Step, Transcript

HANGS = 60  # seconds without a message, after which the agent counts as dead
PROLOGUE = 9000  # request ids from here on are the player's own
PHASES = {"queued", "starting", "transferring", "finalizing", "verifying", "aborting"}


class Settings:
    """Replaces samples with real settings, and real settings with the samples."""

    def __init__(self, config: Json) -> None:
        """config: the real one, with the members of `player.CONFIG`."""
        self._real = config
        pairs = [(str(config[name]), str(player.CONFIG[name])) for name in player.CONFIG]
        # Longer values come first, because they may contain others.
        self._samples = sorted(pairs, key=lambda pair: -len(pair[0]))

    def fill(self, message: Json) -> Json:
        params = message.get("params")
        if not isinstance(params, dict) or not isinstance(params.get("config"), dict):
            return message
        config = {name: self._fill(name, value) for name, value in params["config"].items()}
        return message | {"params": params | {"config": config}}

    def _fill(self, name: str, value: object) -> object:
        if value == player.CONFIG.get(name):
            return self._real[name]
        if name == "prefix" and isinstance(value, str) and value.startswith("ha/"):
            return str(self._real[name]) + value.removeprefix("ha")
        return value

    def anonymous(self, value: Any) -> Any:
        """Returns a message with the samples in place of the real settings."""
        if isinstance(value, dict):
            return {key: self.anonymous(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self.anonymous(member) for member in value]
        if isinstance(value, str):
            for real, sample in self._samples:
                value = value.replace(real, sample)
        return value


class AgentPlayer:
    """A running agent, and its messages so far."""

    def __init__(self, command: Sequence[str], settings: Settings) -> None:
        self._settings = settings
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self._frames = queue.SimpleQueue[Frame | None]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._credit = dict[int, int]()  # of uploads that have their go-ahead
        self._granted = dict[int, int]()  # of downloads
        self._begin = dict[int, int]()  # offsets of downloads
        self._received = defaultdict[int, int](int)
        self._wanted = defaultdict[int, int](int)
        self._done = dict[int, int]()  # of requests with progress
        self._cursors = dict[str, str]()
        self._is_ending = False
        self._fault: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.kill()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError), self._process:
            pass
        self._log.seek(0)
        if error:
            error.add_note(f"the agent's log:\n{self._log.read().decode(errors='replace')[-4000:]}")
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout
        try:
            while frame := read_frame(self._process.stdout):
                self._frames.put(frame)
        except AgentError as error:
            self._fault = str(error)
        finally:
            self._frames.put(None)

    def begin(self, start: str) -> None:
        """Establishes the state before the first line of a transcript."""
        if start == "nothing":
            return
        self._receive()
        self._call(PROLOGUE + 1, "initialize", protocol=1)
        self._call(PROLOGUE + 2, "target.open", target=player.TARGET, config=player.CONFIG)
        if start == "backup":
            number, size = PROLOGUE + 3, player.BACKUP_SIZE
            upload = {"id": number, "method": "backup.upload"}
            self._write(upload | {"params": {"target": player.TARGET, "backup": player.BACKUP}})
            self._receive()
            data = {"method": "stream.data", "params": {"id": number, "offset": 0}}
            self._write(data, player.content(0, size))
            self._write({"method": "stream.end", "params": {"id": number, "length": size}})
            self._result(number)

    def _call(self, number: int, method: str, **params: object) -> None:
        self._write({"id": number, "method": method, "params": params})
        self._result(number)

    def _result(self, number: int) -> None:
        message, _ = self._receive()
        assert message["id"] == number, message
        assert "result" in message, message

    def play(self, transcript: Transcript) -> None:
        for step in transcript.steps:
            if step[0].direction == ">":
                self._send(step[0])
            else:
                self._expect(step)
        self._end(transcript.head["ends"])

    def _end(self, ends: Json) -> None:
        self._is_ending = True
        if ends.get("by") != "agent":
            self._close()
        while frame := self._frames.get(timeout=HANGS):
            self._take(frame, [])
        assert self._fault is None, self._fault
        exit_code = self._process.wait(HANGS)
        assert exit_code == ends["exit"], f"exit code {exit_code}"

    # To the agent

    def _send(self, line: Line) -> None:
        if line.closes:
            self._close()
        elif line.raw is not None:
            self._write_bytes(line.raw)
        else:
            message = self._prepare(line)
            self._write(message, line.payload.data if line.payload else None)

    def _prepare(self, line: Line) -> Json:
        """Returns the bytes to send for a line, once they may be sent."""
        message, number = line.message, line.request_id
        params = message.get("params", {})
        if number is None:
            return message
        if line.is_data and line.payload:
            # Before the first credit, the host breaks the rules on purpose.
            end = params.get("offset", 0) + line.payload.length
            while number in self._credit and self._credit[number] < end:
                self._take(self._receive(), [])
        match line.method:
            case "backup.download":
                self._granted[number] = params["up_to"]
            case "stream.credit":
                self._granted[number] = max(params["up_to"], self._granted.get(number, 0))
            case "backup.list" if "cursor" in params:
                cursor = self._cursors.get(params["cursor"], params["cursor"])
                return message | {"params": params | {"cursor": cursor}}
        if line.is_request and isinstance(params, dict) and "progress_ms" in params:
            self._done[number] = 0
        return message

    def _write(self, message: Json, payload: bytes | None = None) -> None:
        self._write_bytes(b"".join(encode(self._settings.fill(message), payload)))

    def _write_bytes(self, data: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def _close(self) -> None:
        assert self._process.stdin
        self._is_ending = True
        self._process.stdin.close()

    # From the agent

    def _receive(self) -> Frame:
        frame = self._frames.get(timeout=HANGS)
        assert frame, self._fault or "the agent has ended"
        return frame

    def _expect(self, step: Step) -> None:
        """Waits until all messages of a step have arrived."""
        missing = list(step)
        for line in step:
            if line.is_data and line.payload and (number := line.request_id):
                place = self._begin[number] + self._wanted[number]
                assert line.payload.offset == place, f"{line.place}: wrong bytes"
                self._wanted[number] += line.payload.length
        while missing := [line for line in missing if not self._has_data(line)]:
            self._take(self._receive(), missing)

    def _has_data(self, line: Line) -> bool:
        number = line.request_id or 0
        return line.is_data and self._received[number] >= self._wanted[number]

    def _take(self, frame: Frame, missing: list[Line]) -> None:
        """Finds the line of a message and removes it from the list."""
        message, payload = self._settings.anonymous(frame[0]), frame[1]
        if message.get("method") == "stream.data":
            self._take_data(message, payload or b"")
            return
        reports = []
        for line in missing:
            if found := player.differences(line.message, message):
                reports.append(f"{line}\n    " + "\n    ".join(found))
                continue
            missing.remove(line)
            self._note(line, frame[0])
            return
        if self._may_be_passed_over(message):
            return
        text = json.dumps(message, ensure_ascii=False)
        raise AssertionError("\n".join([f"the agent said {text}", "expected was", *reports[:3]]))

    def _take_data(self, message: Json, payload: bytes) -> None:
        """Compares only the bytes, because an agent may cut its data in any way."""
        number, offset = message["params"]["id"], message["params"]["offset"]
        assert offset == self._received[number], "a gap or an overlap"
        self._received[number] += len(payload)
        assert self._received[number] <= self._granted[number], "data beyond the credit"
        assert payload == player.content(self._begin[number] + offset, len(payload)), "wrong bytes"

    def _note(self, line: Line, message: Json) -> None:
        """Records what later messages depend on. `message` is as received."""
        number, params = line.request_id, message.get("params", {})
        if number is None:
            return
        match line.method:
            case "stream.credit":
                self._credit[number] = max(params["up_to"], self._credit.get(number, 0))
            case "stream.begin":
                self._begin[number] = params["offset"]
            case "progress":
                self._check_progress(params)
            case "stream.end" | None:
                assert self._received[number] == self._wanted[number], (
                    f"{line.place}: {self._received[number]} bytes came, not {self._wanted[number]}"
                )
        if line.is_response:
            self._credit.pop(number, None)
            self._done.pop(number, None)
            if following := message.get("result", {}).get("next"):
                self._cursors[render.example(line.message)["result"]["next"]] = following

    def _may_be_passed_over(self, message: Json) -> bool:
        """Accepts more credit and more reports than the transcript shows."""
        params = message.get("params", {})
        match message.get("method"):
            case "stream.credit" if params["id"] in self._credit:
                self._credit[params["id"]] = max(params["up_to"], self._credit[params["id"]])
                return True
            case "progress" if params["id"] in self._done:
                self._check_progress(params)
                return True
            case None if self._is_ending:
                # The player no longer waits for responses, so they are optional.
                return bool(message.get("error", {}).get("data", {}).get("code") == "shutting_down")
        return False

    def _check_progress(self, params: Json) -> None:
        assert params["phase"] in PHASES, params
        assert params["done"] >= self._done.get(params["id"], 0), "what is done became less"
        self._done[params["id"]] = params["done"]
