#!/usr/bin/env python3
"""Reference host of the Backup Agent Protocol, version 1. Needs only Python 3.11.

A host starts an agent as a child process and talks to it over stdin and stdout. A frame is one
JSON-RPC 2.0 object on one line; a top-level member "payload": N says that N raw bytes and a line
feed follow. `encode` and `read_frame` below implement this. A session looks like this:

    agent -> host    hello          its name, versions and limits
    host  -> agent   initialize     the version to speak
    host  -> agent   target.open    a bucket with its secrets, under a name that the host chooses
    host  -> agent   backup.upload, .download, .list, .get, .delete: several at once if you like

Every request ends with exactly one response, a result or an error, as its last message. The bytes
of a backup travel in `stream.data` notifications with the ID of their request. The receiver grants
credit: `up_to` is the number of bytes that the sender may have sent in all. Neither side has to
buffer more than it wants, and a slow transfer never blocks the other requests.

    with contextlib.closing(Agent(["s3-backup-agent", "serve"])) as agent:
        agent.call("target.open", target="t1", config=config)
        agent.upload("t1", {"id": "b1", "name": "Nightly", "metadata": {}}, chunks)
"""

import argparse
import collections
import contextlib
import hashlib
import itertools
import json
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

MAX_LINE = 65_536  # bytes of a line including its line feed
MAX_PAYLOAD = 1 << 20
MAX_LOG_LINE = 8192
MAX_INBOX = 100_000  # messages about one request, except data, which credit limits
# The variables that the agent gets. Secrets travel in target.open only.
ENVIRONMENT = {"path", "tz", "ssl_cert_file", "ssl_cert_dir", "credentials_directory", "systemroot"}
ENVIRONMENT |= {"https_proxy", "http_proxy", "all_proxy", "no_proxy"}

Json = dict[str, Any]
Frame = tuple[Json, bytes | None]
Bytes = bytes | bytearray | memoryview
Sink = Callable[[bytes], object]


class AgentError(Exception):
    """An error response, or a failure of the agent itself, with a code `agent_...`."""

    def __init__(self, message: str, code: str = "agent_protocol", **data: Any) -> None:
        self.message, self.code, self.kind = message, code, data.get("kind", "internal")
        self.retryable, self.field = data.get("retryable", False), data.get("field")
        self.details: Json = data.get("details", {})
        super().__init__(f"{code}: {message}" + (f" (field {self.field})" if self.field else ""))


def encode(message: Json, payload: Bytes | None = None) -> list[Bytes]:
    """Returns the pieces of one frame, to be written in order."""
    head = {"jsonrpc": "2.0", **message} | ({"payload": len(payload)} if payload else {})
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"a message of {len(line)} bytes is longer than {MAX_LINE}")
    return [line, payload, b"\n"] if payload else [line]


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Returns the next frame, or None at the end. After an invalid one, the output is unusable."""
    while (line := stream.readline(MAX_LINE)).lstrip(b"\r") == b"\n":
        pass
    if not line:
        return None
    if not line.endswith(b"\n") and len(line) < MAX_LINE:
        raise AgentError("the output ends inside a line", "agent_gone", retryable=True)
    message = None
    with contextlib.suppress(ValueError, RecursionError):
        # NaN and infinity are not JSON, and int() rejects both.
        message = json.loads(line.decode() if line.endswith(b"\n") else "", parse_constant=int)
    if not isinstance(message, dict):
        raise AgentError(f"not a line with a JSON object: {line[:200]!r}")
    if "payload" not in message:
        return message, None
    length = message["payload"]
    if type(length) is not int or not 1 <= length <= MAX_PAYLOAD:
        raise AgentError(f"a payload of {length!r} bytes")
    payload = stream.read(length)
    if not (end := stream.read(1)):
        raise AgentError("the output ends inside a payload", "agent_gone", retryable=True)
    if end != b"\n":
        raise AgentError("no line feed follows a payload: its length is wrong")
    return message, payload


class Request:
    """A running request: its ID, and the inbox for the agent's messages about it."""

    def __init__(self, agent: "Agent", number: int) -> None:
        self.id, self.answered, self._agent = number, False, agent
        self.granted, self.arrived = 0, 0  # bytes of a download
        self.inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def next(self, timeout: float | None = None) -> Frame:
        """Waits for the next message. The last one is the result, or is raised as an error."""
        try:
            frame = self.inbox.get(timeout=timeout)
        except queue.Empty:
            raise AgentError(f"nothing came within {timeout} seconds") from None
        self.answered = frame is None or "method" not in frame[0]
        if frame is None:
            raise self._agent.fault
        if "error" in frame[0]:
            error = frame[0]["error"]
            raise AgentError(error["message"], **error.get("data", {}))
        return frame

    def result(self) -> Json:
        while not self.answered:
            message, _ = self.next()
        return dict(message["result"])

    def cancel(self, reason: str) -> None:
        """Cancels unless answered, and waits for the response: it comes after the cleanup."""
        with contextlib.suppress(AgentError):
            if not self.answered:
                self._agent.notify("cancel", id=self.id, reason=reason)
            while not self.answered:
                self.next(timeout=15)


class Agent:
    """A running agent. Several threads may call its methods at once."""

    def __init__(self, command: Sequence[str]) -> None:
        env = {k: v for k, v in os.environ.items() if k.lower() in ENVIRONMENT}
        try:
            self._process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pipesize=1 << 20,  # space for a payload; Linux only, ignored elsewhere
                start_new_session=True,  # Ctrl-C in our terminal must not reach the agent
            )
        except OSError as error:
            raise AgentError(str(error), "agent_start_failed") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._stdin = self._process.stdin
        self.fault = AgentError("the agent does not read", "agent_gone", retryable=True)
        self._write_lock = threading.Lock()  # frames must not mix
        self._numbers = itertools.count(1)
        greeting = Request(self, 0)  # 0 is not an ID: this one waits for hello
        self._requests = {0: greeting}
        self._log = collections.deque[bytes](maxlen=50)
        pipes = [self._process.stdout, self._process.stderr]
        self._reader = threading.Thread(target=self._read, args=pipes, daemon=True)
        self._reader.start()
        try:
            match greeting.next(timeout=10)[0].get("params"):
                case {"protocol": "backup-agent", "versions": [*versions], **rest} if 1 in versions:
                    match rest.get("limits"):
                        case {"max_payload": int(most)} if most > 0:
                            self.max_payload = min(MAX_PAYLOAD, most)
                        case _:
                            self.max_payload = 65_536
                case other:
                    raise AgentError(f"not an agent of version 1: {str(other)[:200]}")
            client = {"name": "reference-host", "version": "1"}
            ours = {"max_line": MAX_LINE, "max_payload": MAX_PAYLOAD}
            self.start("initialize", protocol=1, client=client, limits=ours).next(timeout=10)
        except BaseException:
            self._process.kill()
            self.close()
            raise

    def close(self) -> int:
        """Ends the agent, by force if it takes too long, and returns its exit code."""
        # Timers, because a write to an agent that hangs would block this thread.
        agent = self._process
        timers = [threading.Timer(15, agent.terminate), threading.Timer(20, agent.kill)]
        for timer in timers:
            timer.start()
        with contextlib.suppress(AgentError):
            self.start("shutdown", mode="abort").next(timeout=10)
        with contextlib.suppress(OSError):
            self._stdin.close()
        exit_code = agent.wait()
        self._reader.join(timeout=5)
        for timer in timers:
            timer.cancel()
        return exit_code

    def _read(self, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        """Sorts messages into inboxes. Never waits for a consumer, so no response is delayed."""
        lines = iter(lambda: stderr.readline(MAX_LOG_LINE), b"")
        log_reader = threading.Thread(target=self._log.extend, args=[lines], daemon=True)
        log_reader.start()
        message, code = "the agent has ended", "agent_gone"
        with stdout, stderr:
            try:
                while frame := read_frame(stdout):
                    request = None
                    match frame[0]:
                        case {"method": "hello"}:
                            request = self._requests.pop(0, None)
                        case {"method": _, "params": {"id": int(number)}}:
                            request = self._requests.get(number)
                        case {"id": int(number), "result": {}} | {
                            "id": int(number),
                            "error": {"message": _, "data": {"code": _}},
                        }:
                            request = self._requests.pop(number, None)
                        case {"id": None, "error": error}:
                            raise AgentError(f"the agent has given up: {error}", "agent_gone")
                        case response if "method" not in response:
                            raise AgentError(f"neither a result nor an error: {response}")
                    if request and frame[0].get("method") == "stream.data":
                        request.arrived += len(frame[1] or b"")
                        if request.arrived > request.granted:
                            raise AgentError("more data came than was granted")
                    elif request and request.inbox.qsize() > MAX_INBOX:
                        raise AgentError("the agent sent more messages than the host takes")
                    if request:  # else it is answered, or the method is newer than this program
                        request.inbox.put(frame)
            except AgentError as error:
                message, code = error.message, error.code
                self._process.kill()
            message += f", exit code {self._process.wait()}"
            log_reader.join()
        log = b"".join(self._log).decode(errors="replace").strip()
        self.fault = AgentError(f"{message}; its log: {log}", code, retryable=code == "agent_gone")
        for request in list(self._requests.values()):
            request.inbox.put(None)

    def send(self, message: Json, payload: Bytes | None = None) -> None:
        """Writes one frame."""
        pieces = encode(message, payload)
        with self._write_lock:
            try:
                self._stdin.writelines(pieces)
                self._stdin.flush()
            except (OSError, ValueError) as error:
                self._reader.join(timeout=10)
                raise self.fault from error
            except BaseException:
                self._process.terminate()  # after half a frame it cannot read another
                raise

    def notify(self, method: str, payload: Bytes | None = None, **params: Any) -> None:
        """Sends a notification, which gets no response."""
        self.send({"method": method, "params": params}, payload)

    def start(self, method: str, **params: Any) -> Request:
        """Sends a request without waiting."""
        request = Request(self, next(self._numbers))
        request.granted = params.get("up_to", 0)
        self._requests[request.id] = request
        self.send({"id": request.id, "method": method, "params": params})
        return request

    def call(self, method: str, **params: Any) -> Json:
        """Sends a request and waits for its result."""
        return self.start(method, **params).result()

    def list(self, target: str, cursor: str | None = None) -> Json:
        """Returns all pages of `backup.list` together; `skipped` names unreadable objects."""
        page = self.call("backup.list", target=target, cursor=cursor)
        if page["next"]:
            rest = self.list(target, page["next"])
            page |= {name: page[name] + rest[name] for name in ("backups", "skipped")}
        return page

    def upload(self, target: str, backup: Json, chunks: Iterable[Bytes], **options: Any) -> Json:
        """Stores the bytes that `chunks` yields as `backup`, a {"id", "name", "metadata"}.

        Nothing is stored if `chunks` raises, or yields less than the announced `size`.
        """
        request = self.start("backup.upload", target=target, backup=backup, **options)
        try:
            # The first credit is the go-ahead. Do not touch the source before.
            sent, credit = 0, self._credit(request, 0, 0)
            for chunk in chunks:
                rest = memoryview(chunk)
                while rest:
                    credit = self._credit(request, sent, credit)
                    piece = rest[: min(self.max_payload, credit - sent)]
                    self.notify("stream.data", piece, id=request.id, offset=sent)
                    sent += len(piece)
                    rest = rest[len(piece) :]
            self.notify("stream.end", id=request.id, length=sent)
            return request.result()
        except BaseException:
            request.cancel("source_failed")
            raise

    def _credit(self, request: Request, sent: int, credit: int) -> int:
        """Handles the messages about an upload, and waits while the credit is used up."""
        while credit <= sent or not request.inbox.empty():
            message, _ = request.next()
            if message.get("method") == "stream.credit":
                credit = max(credit, message["params"]["up_to"])
            elif request.answered:
                raise AgentError("a result came before the end of the data")
        return credit

    def download(self, target: str, backup_id: str, sink: Sink, window: int = 4 << 20) -> Json:
        """Passes the bytes of a backup to `sink`. Use them only after this returns."""
        received = 0
        request = self.start("backup.download", target=target, backup_id=backup_id, up_to=window)
        try:
            lengths = []
            while not request.answered:
                message, payload = request.next()
                match message:
                    case {"method": "stream.begin" | "stream.end", "params": params}:
                        lengths.append(params["length"])
                    case {"method": "stream.data", "params": params} if payload:
                        if params["offset"] != received or len(lengths) != 1:
                            raise AgentError(f"data out of turn at byte {received}")
                        sink(payload)
                        received += len(payload)
                        if request.granted - received <= window - window // 4:
                            request.granted = received + window
                            self.notify("stream.credit", id=request.id, up_to=request.granted)
            result: Json = message["result"]
            if [*lengths, result["length"]] != [received] * 3:
                raise AgentError(f"{received} bytes came where {lengths} were announced")
            return result
        except BaseException:
            request.cancel("sink_failed")
            raise


def serve_program(words: Sequence[str]) -> int:
    """Runs one command with the agent that the environment names.

    BACKUP_AGENT is the agent's command as a JSON array, BACKUP_AGENT_CONFIG a file with the
    config of the target. Returns the exit code: 1 if the agent answered with an error, 2 if
    there is no working agent; the first line of standard error is then the error code.
    """
    try:
        config = json.loads(Path(os.environ["BACKUP_AGENT_CONFIG"]).read_text("utf-8"))
        with contextlib.closing(Agent(json.loads(os.environ["BACKUP_AGENT"]))) as agent:
            agent.call("target.open", target="t1", config=config)
            match words:
                case ["list"]:
                    for backup in agent.list("t1")["backups"]:
                        print(backup["id"])
                case ["upload", backup_id]:
                    chunks = iter(lambda: os.read(0, MAX_PAYLOAD), b"")
                    agent.upload("t1", {"id": backup_id, "name": backup_id}, chunks)
                case ["download", backup_id]:
                    agent.download("t1", backup_id, sys.stdout.buffer.write)
                case ["delete", backup_id]:
                    agent.call("backup.delete", target="t1", backup_id=backup_id)
                case ["validate"]:
                    result = agent.call("target.validate", target="t1", level="write")
                    for check in result["checks"]:
                        if check["status"] == "failed":
                            error = dict(check["error"])
                            said = [error.pop("message"), *advice(result)]
                            raise AgentError("; ".join(said), **error)
                case _:
                    sys.exit("commands: list | upload ID | download ID | delete ID | validate")
        sys.stdout.flush()
    except AgentError as error:
        print(error.code, error.message, sep="\n", file=sys.stderr)
        return 2 if error.code.startswith("agent_") else 1
    return 0


def report(result: Json) -> Iterator[str]:
    """Returns the findings of `target.validate` as lines for people."""
    for check in result["checks"]:
        said = [f"{check['name']} {check['status']}", check.get("message")]
        said.append(check.get("error", {}).get("message"))
        yield ": ".join(filter(None, said))
    yield from advice(result)


def advice(result: Json) -> list[str]:
    """Returns the settings that `target.validate` suggests, if any."""
    settings = result.get("suggestion", {}).items()
    return [f"it works with {', '.join(f'{k} {v}' for k, v in settings)}"] if settings else []


def main() -> None:
    commands = "validate | list | upload FILE | download ID FILE | delete ID"
    parser = argparse.ArgumentParser(epilog=f"commands: {commands}")
    parser.add_argument(
        "--config", type=Path, required=True, help="JSON file with the `config` of target.open"
    )
    parser.add_argument("--agent", metavar="COMMAND", default="s3-backup-agent serve")
    parser.add_argument("--metadata", type=Path, help="JSON file to store with an upload")
    parser.add_argument("command", nargs="+")
    options = parser.parse_intermixed_args()
    try:
        config = json.loads(options.config.read_text("utf-8"))
        metadata = json.loads(options.metadata.read_text("utf-8")) if options.metadata else {}
        with contextlib.closing(Agent(shlex.split(options.agent))) as agent:
            agent.call("target.open", target="t1", config=config)
            match options.command:
                case ["validate"]:
                    result = agent.call("target.validate", target="t1", level="write")
                    print(*report(result), sep="\n", file=sys.stderr)
                case ["list"]:
                    result = agent.list("t1")
                case ["upload", path]:
                    name = Path(path).name.removesuffix(".tar")
                    uid = metadata.get("backup_id") or hashlib.sha256(name.encode()).hexdigest()[:8]
                    backup = {"id": uid, "name": name, "metadata": metadata}
                    with Path(path).open("rb") as file:
                        chunks = iter(lambda: file.read(MAX_PAYLOAD), b"")
                        result = agent.upload("t1", backup, chunks, size=Path(path).stat().st_size)
                case ["download", backup_id, path]:
                    part = Path(f"{path}.part")  # half a backup must not look complete
                    try:
                        with part.open("wb") as file:
                            result = agent.download("t1", backup_id, file.write)
                        part.replace(path)
                    finally:
                        part.unlink(missing_ok=True)
                case ["delete", backup_id]:
                    result = agent.call("backup.delete", target="t1", backup_id=backup_id)
                case _:
                    parser.error(f"no such command; there are {commands}")
        print(json.dumps(result, indent=2, ensure_ascii=False))
        sys.exit(0 if result.get("ok", True) else 1)
    except (AgentError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    if "BACKUP_AGENT" in os.environ:
        sys.exit(serve_program(sys.argv[1:]))
    main()
