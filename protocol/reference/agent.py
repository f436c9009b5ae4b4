#!/usr/bin/env python3
"""Reference agent of the Backup Agent Protocol, version 1. Needs only Python 3.11.

It keeps backups in memory, in a target of the type `memory`, until it ends. Use it to test hosts,
and as an example for other agents.

Three kinds of threads share one `Session`; `Session.changed` protects its state:

    reader (main)   reads frames and applies each of them at once, in `Session.dispatch`
    writer          sends responses first, then the next piece of a download that has credit
    timers          deadlines, progress, and the timeout of `shutdown`

This agent never waits for a server. An agent that does needs a thread or task for each request, so
that the reader never waits.
"""

import collections
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any, NoReturn

MAX_LINE = 65_536  # bytes of a line including its line feed
MAX_PAYLOAD = 1 << 20
MAX_REQUESTS, MAX_TRANSFERS = 32, 4
MAX_INTEGER = (1 << 53) - 1
MAX_DEPTH, MAX_METADATA_DEPTH = 32, 24
MAX_METADATA = 32_768  # bytes as compact JSON
PAGE_BYTES = 49_152
WINDOW = 4 << 20  # bytes that an upload may send ahead
MAX_WAITING = 1000  # unread responses, after which the agent stops reading
HEARTBEAT_MS = 10_000
FAREWELL_S = 2  # for the host to read the last responses

CAPABILITIES = ("target.memory", "target.update", "download.range", "upload.resume")

KINDS = {
    "invalid_config": "config",
    "not_found": "not_found",
    "already_exists": "conflict",
    "length_mismatch": "integrity",
    "busy": "limit",
    "timeout": "transient",
    "cancelled": "cancelled",
    "shutting_down": "cancelled",
    "internal": "internal",
}  # of all other codes: protocol
RETRYABLE = {"busy", "timeout", "shutting_down"}
NUMBERS = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "duplicate_id": -32600,
    "method_not_found": -32601,
    "invalid_params": -32602,
}  # of all other codes: -32000

# The limits of a target that target.update changes: minimum, maximum, default. This agent stores
# them, but is never slow or large enough to need them.
LIMITS: dict[str, tuple[int, int, int | None]] = {
    "bandwidth_limit": (65_536, MAX_INTEGER, None),
    "concurrency": (1, 64, 16),
    "memory": (33_554_432, MAX_INTEGER, 100_663_296),
}

Json = dict[str, Any]
Frame = tuple[Json, bytes | memoryview | None]


class RequestError(Exception):
    """Ends a request with an error."""

    def __init__(
        self, code: str, message: str, field: str | None = None, /, **details: Any
    ) -> None:
        super().__init__(message)
        self.data: Json = {
            "code": code,
            "kind": KINDS.get(code, "protocol"),
            "retryable": code in RETRYABLE,
        }
        self.data |= {"field": field} if field else {}
        self.data |= {"details": details} if details else {}

    def error(self) -> Json:
        number = NUMBERS.get(self.data["code"], -32000)
        return {"code": number, "message": str(self), "data": self.data}


class FatalError(RequestError):
    """Ends the session, because the rest of the input is unusable."""


# Frames


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def depth(value: object) -> int:
    """Returns the nesting depth of objects and arrays; 0 for anything else."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def parse(line: bytes) -> object:
    """Reads one line of JSON. Raises ValueError for anything that is not valid JSON."""
    try:
        value = json.loads(line.decode(), parse_float=finite, parse_constant=finite)
        if depth(value) > MAX_DEPTH:
            raise ValueError("nested too deeply")
        if b"\\" in line:
            compact(value)  # half of a surrogate pair has no UTF-8 form
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Returns the next frame, or None at the end. Raises RequestError and FatalError."""
    while (line := stream.readline(MAX_LINE)).lstrip(b"\r") == b"\n":
        pass
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise FatalError("parse_error", "a line is too long, or the input ends in it")
    try:
        message = parse(line)
    except ValueError as error:
        raise FatalError("parse_error", "a line is not JSON") from error
    if isinstance(message, list):
        raise RequestError("invalid_request", "batches are not part of this protocol")
    if not isinstance(message, dict):
        raise FatalError("parse_error", "a line is not a JSON object")
    return message, read_payload(stream, message["payload"]) if "payload" in message else None


def read_payload(stream: IO[bytes], length: object) -> bytes:
    if type(length) is not int or not 1 <= length <= MAX_PAYLOAD:
        raise FatalError("parse_error", f"a payload must have 1 to {MAX_PAYLOAD} bytes")
    payload = stream.read(length)
    if len(payload) < length or stream.read(1) != b"\n":
        raise FatalError("parse_error", "a payload is cut short, or no line feed follows it")
    return payload


def write_frame(stream: IO[bytes], message: Json, payload: bytes | memoryview | None) -> None:
    head = {"jsonrpc": "2.0", **message} | ({"payload": len(payload)} if payload else {})
    line = compact(head) + b"\n"
    stream.writelines([line, payload, b"\n"] if payload else [line])
    stream.flush()


# Parameters


def is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character < "\xa0"


def printable(text: str) -> str:
    """Returns a text of the host, shortened for an error."""
    return "".join("_" if is_control(c) else c for c in text[:200])


class Params:
    """The members of an object that the host sent, checked when they are read."""

    def __init__(self, values: object, path: str = "") -> None:
        self.path = path
        if not isinstance(values, dict):
            self.refuse("", "must be an object")
        self.values = values

    def refuse(self, name: str, problem: str) -> NoReturn:
        path = ".".join(filter(None, (self.path, name))) or "params"
        raise RequestError("invalid_params", f'the member "{path}" {problem}', member=path)

    def take(self, name: str, kind: type, default: object) -> Any:
        if name not in self.values and default is not ...:
            return default
        value = self.values.get(name)
        if type(value) is not kind:
            self.refuse(name, f"must be there, as {kind.__name__}")
        return value

    def integer(
        self, name: str, default: Any = ..., least: int = 0, most: int = MAX_INTEGER
    ) -> Any:
        value = self.take(name, int, default)
        if value is not None and not least <= value <= most:
            self.refuse(name, f"must be {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        return bool(self.take(name, bool, False))

    def text(self, name: str, default: Any = ..., choices: tuple[str, ...] = ()) -> Any:
        value = self.take(name, str, default)
        if choices and value not in choices:
            self.refuse(name, f"must be one of {', '.join(choices)}")
        return value

    def members(self, name: str, default: Any = ...) -> "Params":
        return Params(self.take(name, dict, default), ".".join(filter(None, (self.path, name))))


# Backups and requests


class Backup:
    def __init__(self, params: Params) -> None:
        self.id: str = params.text("id")
        if not 1 <= len(self.id) <= 200 or any(map(is_control, self.id)):
            params.refuse("id", "must have 1 to 200 characters, none of them a control character")
        self.name = params.text("name").encode()[:150].decode(errors="ignore") or "backup"
        self.metadata: Json = params.take("metadata", dict, {})
        if self.metadata.get("backup_id", self.id) != self.id:
            params.refuse("metadata.backup_id", "must be equal to the id")
        if len(compact(self.metadata)) > MAX_METADATA or depth(self.metadata) > MAX_METADATA_DEPTH:
            params.refuse("metadata", f"has more than {MAX_METADATA} bytes or is nested too deeply")
        self.content = b""

    def shown(self) -> Json:
        announced = self.metadata.get("size")
        stored = len(self.content)
        return {
            "id": self.id,
            "name": self.name,
            "size": announced if type(announced) is int and announced >= 0 else stored,
            "stored_size": stored,
            "has_checksums": False,
            "metadata": self.metadata,
        }


class Target:
    def __init__(self) -> None:
        self.uploading: set[str] = set()
        self.limits = {name: default for name, (_, _, default) in LIMITS.items()}

    def update(self, params: Params) -> Json:
        """Changes all named limits or none. Returns the current limits."""
        changed = {}
        for name in LIMITS.keys() & params.values.keys():
            least, most, default = LIMITS[name]
            value = params.values[name]
            if value is not None and not least <= params.take(name, int, ...) <= most:
                raise RequestError("invalid_config", f"{name} must be {least} to {most}", name)
            changed[name] = default if value is None else value
        self.limits |= changed
        return dict(self.limits)


class Transfer:
    """An upload or a download, from its arrival to its response."""

    def __init__(self, session: "Session", number: int, target: Target, params: Params) -> None:
        self.session, self.id, self.target = session, number, target
        self.deadline_ms: int | None = params.integer("deadline_ms", None)
        self.progress_ms: int | None = params.integer("progress_ms", None, 100, 60_000)
        params.integer("retry_for_ms", 0, 0, 3_600_000)  # memory is always reachable
        self.phase, self.done = "queued", 0
        self.total: int | None = None
        self.waiting_for: str | None = None
        self.told: Json = {}
        self.silent_ms = 0

    def begin(self) -> None:
        """Called when a slot is free. Raises RequestError."""
        raise NotImplementedError

    def release(self) -> None:
        """Called after any end of the transfer."""

    def data(self, offset: int, payload: bytes | memoryview | None) -> None:
        raise RequestError("stream_violation", "data came for a request that takes none")

    def end(self, length: int) -> None:
        raise RequestError("stream_violation", "an end came for a request that takes no data")

    def credit(self, up_to: int) -> None:
        """Ignores credit, because an upload sends no data to the host."""

    def progress(self) -> Json:
        names = ("id", "phase", "done", "total", "waiting_for")
        return {name: getattr(self, name) for name in names} | {"retries": 0}

    def report(self, interval_ms: int) -> None:
        """Reports progress if it changed, and repeats that until the response."""
        self.silent_ms += interval_ms
        if self.progress() != self.told or self.silent_ms >= HEARTBEAT_MS:
            self.told, self.silent_ms = self.progress(), 0
            self.session.notify("progress", **self.told)
        self.session.later(interval_ms, self, self.report, interval_ms)


class Upload(Transfer):
    def __init__(self, session: "Session", number: int, target: Target, params: Params) -> None:
        super().__init__(session, number, target, params)
        self.backup = Backup(params.members("backup"))
        self.announced: int | None = params.integer("size", None, 1)
        params.integer(
            "resume_s", 0, 0, 86_400
        )  # nothing is kept, because memory needs no transfer
        self.exact = params.flag("exact")
        self.replace = params.text("if_exists", "fail", ("fail", "replace")) == "replace"
        self.total = self.announced
        self.granted, self.ended, self.begun = 0, False, False
        self.received = bytearray()

    def begin(self) -> None:
        exists = not self.replace and self.session.find(self.backup.id) is not None
        if exists or self.backup.id in self.target.uploading:
            message = f'a backup with the ID "{self.backup.id}" exists already, or is on its way'
            raise RequestError("already_exists", message, backup_id=self.backup.id)
        self.target.uploading.add(self.backup.id)
        self.begun = True
        self.phase, self.waiting_for = "transferring", "host"
        self.grant()

    def release(self) -> None:
        if self.begun:
            self.target.uploading.remove(self.backup.id)

    def grant(self) -> None:
        """Grants more credit when a quarter of the window is used."""
        if self.granted - len(self.received) <= WINDOW // 4 * 3:
            self.granted = len(self.received) + WINDOW
            self.session.notify("stream.credit", id=self.id, up_to=self.granted)

    def data(self, offset: int, payload: bytes | memoryview | None) -> None:
        if not payload or self.ended:
            raise RequestError(
                "stream_violation", "stream.data came without bytes, or after the end"
            )
        if offset != len(self.received):
            raise RequestError(
                "stream_violation", f"data came for {offset}, not {len(self.received)}"
            )
        if offset + len(payload) > self.granted:
            raise RequestError(
                "flow_violation", f"data came beyond the credit of {self.granted} bytes"
            )
        self.received += payload
        self.done = len(self.received)
        if self.exact and self.announced is not None and self.done > self.announced:
            raise self.wrong_length(self.announced)
        self.grant()

    def end(self, length: int) -> None:
        if self.ended:
            raise RequestError("stream_violation", "stream.end came twice")
        self.ended = True
        least = max(self.announced or 1, length)
        if length != self.done or self.done < least:
            raise self.wrong_length(least)
        self.phase, self.waiting_for = "finalizing", None
        self.backup.content = bytes(self.received)
        self.session.store(self.backup)
        self.session.answer(self, {"backup": self.backup.shown()})

    def wrong_length(self, expected: int) -> RequestError:
        details = {"actual": self.done, "expected": expected}
        return RequestError(
            "length_mismatch", f"{self.done} bytes came instead of {expected}", **details
        )


class Download(Transfer):
    def __init__(self, session: "Session", number: int, target: Target, params: Params) -> None:
        super().__init__(session, number, target, params)
        self.backup_id: str = params.text("backup_id")
        self.granted: int = params.integer("up_to")
        self.offset: int = params.integer("offset", 0)
        self.rest = memoryview(b"")

    def begin(self) -> None:
        backup = self.session.get(self.backup_id)
        if self.offset > len(backup.content):
            raise RequestError("invalid_params", '"offset" is behind the end', member="offset")
        self.rest = memoryview(backup.content)[self.offset :]
        self.total = length = len(self.rest)
        self.phase, self.waiting_for = "transferring", None if self.granted else "host"
        shown = backup.shown()
        self.session.notify(
            "stream.begin", id=self.id, length=length, offset=self.offset, backup=shown
        )
        self.session.downloads.append(self)
        self.finish()

    def release(self) -> None:
        if self in self.session.downloads:
            self.session.downloads.remove(self)

    def credit(self, up_to: int) -> None:
        self.granted = max(self.granted, up_to)
        self.session.changed.notify_all()

    def next_frame(self) -> Frame | None:
        """Returns the next piece, unless the credit is used up."""
        size = min(self.session.max_payload, self.granted - self.done, len(self.rest))
        self.waiting_for = None if size > 0 else "host"
        if size <= 0:
            return None
        frame = {"method": "stream.data", "params": {"id": self.id, "offset": self.done}}
        piece, self.rest = self.rest[:size], self.rest[size:]
        self.done += size
        self.finish()
        return frame, piece

    def finish(self) -> None:
        if not self.rest:
            self.session.notify("stream.end", id=self.id, length=self.done)
            self.session.answer(self, {"length": self.done, "verified": False})


# The session


class Log:
    """Lines for standard error. Unread lines are dropped, so the agent never waits for a reader."""

    def __init__(self) -> None:
        self.levels = ("error", "warning", "info", "debug")
        self.level, self.dropped = "info", 0
        self.lines: queue.Queue[Json | None] = queue.Queue(1000)
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def add(self, level: str, msg: str, **more: object) -> None:
        if self.levels.index(level) <= self.levels.index(self.level):
            ts = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            try:
                self.lines.put_nowait({"ts": ts, "level": level, "msg": msg, **more})
            except queue.Full:
                self.dropped += 1

    def write(self) -> None:
        while (line := self.lines.get()) is not None:
            if self.dropped:
                line["dropped"], self.dropped = self.dropped, 0
            try:
                os.write(2, compact(line) + b"\n")
            except OSError:
                return

    def close(self) -> None:
        if not self.lines.full():
            self.lines.put_nowait(None)
            self.thread.join(timeout=1)


class Session:
    """A session from hello to its end. The caller of its methods must hold `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.log = Log()
        self.waiting: collections.deque[Frame] = collections.deque()  # to write, in order
        self.flushed = False
        self.initialized, self.ending = False, False
        self.max_payload = MAX_PAYLOAD
        self.targets: dict[str, Target] = {}
        self.backups: dict[str, Backup] = {}  # by name; all targets show the same
        self.running: dict[int, Transfer] = {}  # in the order in which they came
        self.queued: list[Transfer] = []
        self.downloads: collections.deque[Download] = collections.deque()
        self.farewell: tuple[int, list[int]] | None = None  # shutdown's id and its result

    # Input

    def serve(self, stdin: IO[bytes]) -> int:
        """Serves until the input ends, and returns the exit code."""
        exit_code = 0
        try:
            while self.serve_frame(stdin):
                pass
        except FatalError as fault:
            exit_code = 76
            with self.changed:
                self.respond(None, fault)
        except SystemExit:  # a signal
            pass
        with self.changed:
            self.abort()
            self.changed.wait_for(lambda: self.flushed and not self.waiting, FAREWELL_S)
        self.log.close()
        return exit_code

    def serve_frame(self, stdin: IO[bytes]) -> bool:
        try:
            frame = read_frame(stdin)
            with self.changed:
                self.changed.wait_for(lambda: len(self.waiting) < MAX_WAITING)
                if frame:
                    self.dispatch(*frame)
        except FatalError:
            raise
        except RequestError as fault:
            with self.changed:
                self.respond(None, fault)
            return True
        return frame is not None

    def dispatch(self, message: Json, payload: bytes | memoryview | None) -> None:
        method, params = message.get("method"), message.get("params", {})
        if not isinstance(method, str):
            raise RequestError("invalid_request", "the message has no method", member="method")
        if "id" not in message:
            if self.initialized:
                self.notification(method, params, payload)
            return
        number = message["id"]
        if type(number) is not int or not 1 <= number <= MAX_INTEGER:
            raise RequestError("invalid_request", "the id is not an integer from 1 on", member="id")
        if number in self.running:
            raise FatalError("duplicate_id", f"the id {number} is in use", member="id")
        try:
            self.request(number, method, Params(params))
        except RequestError as fault:
            self.respond(number, fault)

    def notification(self, method: str, params: object, payload: bytes | memoryview | None) -> None:
        try:
            members = Params(params)
            transfer = self.running.get(members.integer("id", 0))
            offset = members.integer("offset") if method == "stream.data" else 0
            length = members.integer("length") if method == "stream.end" else 0
            up_to = members.integer("up_to") if method == "stream.credit" else 0
            reason = members.text("reason", None) if method == "cancel" else None
        except RequestError as fault:
            self.log.add("warning", "a notification was ignored", error=str(fault))
            return
        if transfer is None:
            return  # it is already answered, or unknown
        try:
            match method:
                case "stream.data":
                    transfer.data(offset, payload)
                case "stream.end":
                    transfer.end(length)
                case "stream.credit":
                    transfer.credit(up_to)
                case "cancel":
                    reason = reason and reason.encode()[:1000].decode(errors="ignore")
                    details = {"reason": reason} if reason else {}
                    raise RequestError("cancelled", "canceled by the host", **details)
        except RequestError as fault:
            self.answer(transfer, fault)

    def request(self, number: int, method: str, params: Params) -> None:
        if method == "initialize":
            self.respond(number, self.initialize(params))
        elif not self.initialized:
            raise RequestError("not_initialized", "initialize must come first")
        elif self.ending:
            raise RequestError("shutting_down", "the agent is ending")
        elif method == "ping":
            self.respond(number, {})
        elif method == "shutdown":
            self.shutdown(number, params)
        elif method == "target.open":
            self.respond(number, self.open(params))
        elif method not in (*ON_TARGET, *QUICK):
            name = printable(method)
            raise RequestError("method_not_found", f'unknown method "{name}"', method=name)
        else:
            self.on_target(number, method, params)

    def on_target(self, number: int, method: str, params: Params) -> None:
        name = params.text("target")
        if name not in self.targets:
            name = printable(name)
            raise RequestError("target_unknown", f'there is no target "{name}"', target=name)
        target = self.targets[name]
        if method == "target.close":
            del self.targets[name]
            self.respond(number, {"target": name})
            return
        if method == "target.update":
            limits = target.update(params.members("limits"))
            self.respond(number, {"target": name, "limits": limits})
            return
        sort = {"backup.upload": Upload, "backup.download": Download}.get(method, Transfer)
        transfer = sort(self, number, target, params)
        if len(self.running) >= MAX_REQUESTS:
            raise RequestError("busy", "too many requests are running", max_requests=MAX_REQUESTS)
        if method in QUICK:
            result = QUICK[method](self, params)
            if transfer.progress_ms:
                self.notify("progress", **transfer.progress() | {"phase": "starting"})
            self.respond(number, result)
            return
        self.running[number] = transfer
        self.queued.append(transfer)
        if transfer.deadline_ms is not None:
            ms = transfer.deadline_ms
            fault = RequestError("timeout", "the deadline has passed", stage="deadline", ms=ms)
            self.later(ms, transfer, self.answer, transfer, fault)
        if transfer.progress_ms:
            self.later(transfer.progress_ms, transfer, transfer.report, transfer.progress_ms)
        self.begin_queued()

    def begin_queued(self) -> None:
        while self.queued and len(self.running) - len(self.queued) < MAX_TRANSFERS:
            transfer = self.queued.pop(0)
            try:
                transfer.begin()
            except RequestError as fault:
                self.answer(transfer, fault)

    # Output

    def send(self, message: Json) -> None:
        self.waiting.append((message, None))
        self.changed.notify_all()

    def notify(self, method: str, **params: object) -> None:
        self.send({"method": method, "params": params})

    def respond(self, number: int | None, outcome: Json | RequestError) -> None:
        if isinstance(outcome, RequestError):
            self.log.add("info", "a request failed", id=number, code=outcome.data["code"])
            self.send({"id": number, "error": outcome.error()})
        else:
            self.send({"id": number, "result": outcome})

    def answer(self, transfer: Transfer, outcome: Json | RequestError) -> None:
        """Ends a transfer. No more messages about it follow."""
        del self.running[transfer.id]
        if transfer in self.queued:
            self.queued.remove(transfer)
        transfer.release()
        if transfer.progress_ms and not isinstance(outcome, RequestError):
            self.notify("progress", **transfer.progress())
        self.respond(transfer.id, outcome)
        self.end_shutdown()
        self.begin_queued()

    def later(self, ms: int, transfer: Transfer | None, action: Any, *values: object) -> None:
        """Calls `action` after that time, unless the transfer is answered before."""

        def act() -> None:
            with self.changed:
                if transfer is None or self.running.get(transfer.id) is transfer:
                    action(*values)

        timer = threading.Timer(min(ms / 1000, threading.TIMEOUT_MAX), act)
        timer.daemon = True
        timer.start()

    def next_frame(self) -> Frame | None:
        if self.waiting:
            return self.waiting.popleft()
        for _ in range(len(self.downloads)):
            self.downloads.rotate()  # so that downloads take turns
            if frame := self.downloads[0].next_frame():
                return frame
        return None

    def write(self, stdout: IO[bytes]) -> None:
        """Writes queued frames forever."""
        while True:
            with self.changed:
                while (frame := self.next_frame()) is None:
                    self.flushed = True
                    self.changed.notify_all()
                    self.changed.wait()
                self.flushed = False
                self.changed.notify_all()
            try:
                write_frame(stdout, *frame)
            except OSError:
                os._exit(74)  # the host is gone, and so are its backups

    # Requests

    def initialize(self, params: Params) -> Json:
        if self.initialized:
            raise RequestError("invalid_request", "initialize came twice")
        version = params.integer("protocol")
        if version != 1:
            raise RequestError(
                "unsupported_protocol", f"{version} is not spoken here", supported=[1]
            )
        limits = params.members("limits", {})
        limits.integer("max_line", MAX_LINE, MAX_LINE)
        max_payload = limits.integer("max_payload", MAX_PAYLOAD, MAX_LINE)
        self.log.level = params.text("log_level", "info", self.log.levels)
        self.max_payload = min(max_payload, MAX_PAYLOAD)
        self.initialized = True
        return {"protocol": 1}

    def open(self, params: Params) -> Json:
        name = params.text("target")
        if not 1 <= len(name.encode()) <= 200:
            params.refuse("target", "must have 1 to 200 bytes")
        if params.members("config").text("type", None) != "memory":
            raise RequestError("invalid_config", "the only type is memory", "type")
        self.targets[name] = Target()
        return {"target": name}

    def validate(self, params: Params) -> Json:
        write = params.text("level", "write", ("read", "write")) == "write"
        names = ["list", "write", "read", "delete"] if write else ["list"]
        count = len(self.backups)
        found: Json = {"message": f"there are {count} backups", "details": {"backups": count}}
        checks = [
            {"name": name, "status": "passed", "ms": 0} | (found if name == "list" else {})
            for name in names
        ]
        return {"ok": True, "checks": checks, "details": {}}

    def cleanup(self, params: Params) -> Json:
        params.integer("older_than_s", 86_400, 0, 31_536_000)
        params.flag("dry_run")
        return {"items": [], "more": False}

    def list(self, params: Params) -> Json:
        cursor = params.values.get("cursor") or ""
        if not isinstance(cursor, str):
            params.refuse("cursor", "must be a string")
        most = params.integer("page_size", 1000, 1, 1000)
        params.flag("refresh")
        names = sorted(name for name in self.backups if name > cursor)
        page: list[Json] = []
        size = 0
        for name in names:
            shown = self.backups[name].shown()
            size += len(compact(shown)) + 1
            if len(page) == most or (page and size > PAGE_BYTES):
                return {"backups": page, "next": page[-1]["name"], "skipped": []}
            page.append(shown)
        return {"backups": page, "next": None, "skipped": []}

    def find(self, backup_id: str) -> Backup | None:
        return next((b for b in self.backups.values() if b.id == backup_id), None)

    def get(self, backup_id: str) -> Backup:
        backup = self.find(backup_id)
        if backup is None:
            shown = printable(backup_id)
            raise RequestError("not_found", f'there is no backup "{shown}"', backup_id=shown)
        return backup

    def delete(self, params: Params) -> Json:
        del self.backups[self.get(params.text("backup_id")).name]
        return {"deleted": True}

    def store(self, backup: Backup) -> None:
        """Gives a complete backup a unique name, and lists it."""
        old, wish, count = self.find(backup.id), backup.name, 1
        while backup.name in self.backups:
            count += 1
            backup.name = f"{wish}_{count}"
        self.backups[backup.name] = backup
        if old:
            del self.backups[old.name]

    def shutdown(self, number: int, params: Params) -> None:
        mode = params.text("mode", "drain", ("drain", "abort"))
        timeout_ms = params.integer("timeout_ms", 60_000)
        self.ending, self.farewell = True, (number, [])
        if mode == "abort":
            self.abort()
        else:
            self.later(timeout_ms, None, self.abort)
        self.end_shutdown()

    def abort(self) -> None:
        transfers = list(self.running.values())
        if self.farewell:
            self.farewell[1].extend(self.running)
        self.queued.clear()  # so that none of them starts
        for transfer in transfers:
            self.answer(transfer, RequestError("shutting_down", "the agent is ending"))

    def end_shutdown(self) -> None:
        if self.farewell and not self.running:
            number, aborted = self.farewell
            self.farewell = None
            self.respond(number, {"aborted": aborted})


ON_TARGET = ("backup.upload", "backup.download", "target.close", "target.update")

# The requests on a target that are answered immediately.
QUICK = {
    "target.validate": Session.validate,
    "target.cleanup": Session.cleanup,
    "backup.list": Session.list,
    "backup.get": lambda session, params: {
        "backup": session.get(params.text("backup_id")).shown(),
    },
    "backup.delete": Session.delete,
}


def main() -> None:
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not land between two frames
    limits = {"max_line": MAX_LINE, "max_payload": MAX_PAYLOAD}
    limits |= {"max_requests": MAX_REQUESTS, "max_transfers": MAX_TRANSFERS}
    session = Session()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    with session.changed:
        session.notify(
            "hello",
            protocol="backup-agent",
            versions=[1],
            agent={"name": "reference-agent", "version": "1"},
            capabilities={name: {} for name in CAPABILITIES},
            limits=limits,
        )
    threading.Thread(target=session.write, args=[stdout], daemon=True).start()
    exit_code = session.serve(sys.stdin.buffer)
    os._exit(exit_code)  # do not wait for a writer that the host blocks


if __name__ == "__main__":
    main()
