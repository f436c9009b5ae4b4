#!/usr/bin/env python3
"""Tests whether a program follows the Backup Agent Protocol, version 1.

    conform.py agent [--config FILE] -- COMMAND...    tests the agent that COMMAND starts
    conform.py host -- COMMAND...                     tests a host with scripted agents
    conform.py coverage [--markdown]                  lists the checks of each rule

Needs only Python 3.11 or newer. README.md in this directory describes the requirements for the
programs. The name of a check begins with the rules of PROTOCOL.md that it tests, joined by `+`:
`F1+F7.line-65537`.

Parts of this file: frames; checks and how they run; a session with an agent under test; the checks
of agents; the scripted agent; the checks of hosts; the rules and the command line.
"""

# Lambdas in loops are called before the loop continues:
# ruff: noqa: B023, E731

import argparse
import collections
import contextlib
import fcntl
import fnmatch
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NoReturn

MIB = 1 << 20
MAX_LINE = 65_536  # bytes of a line with its line feed
MAX_PAYLOAD = MIB
# Limits for programs that never stop sending.
MAX_MESSAGES = 100_000  # of one session
MAX_OUTPUT = 64 * MIB  # of a host, of a log, and of data beyond their credit
PATIENCE = 20  # seconds for the first handshake; H2 and H3 say 1 s and 10 s
GIVE_UP = 4  # handshakes in a row that may fail
LIFETIME = 900  # seconds of a scripted agent
MAX_CONFIG = MIB
# The exceptions that a message of an unexpected form causes.
ODD_SHAPE = (LookupError, TypeError, ValueError, AttributeError)
MAX_INTEGER = (1 << 53) - 1
CODES_OF_HOSTS = ("agent_gone", "agent_protocol", "agent_start_failed")
CLEANUPS = (None, "complete", "kept", "pending", "failed")
KINDS = "config connect auth permission not_found conflict integrity transient limit cancelled"
KINDS += " protocol internal"
PHASES = "queued starting transferring finalizing verifying aborting"
NUMBERS = {
    "parse_error": -32700,
    "invalid_request": -32600,
    "duplicate_id": -32600,
    "method_not_found": -32601,
    "invalid_params": -32602,
}  # of all other codes: -32000

Json = dict[str, Any]
Frame = tuple[Json, bytes]


# Frames


class Failed(Exception):  # noqa: N818 - it is a result
    """A check found an error. The text says what it saw and what it expected."""


class Skipped(Exception):  # noqa: N818 - it is a result
    """The check does not apply to this program or machine."""


class Unusable(Exception):  # noqa: N818 - it is a result
    """The program under test does not work at all, so further checks are pointless."""


def expect(right: bool, saw: object, expected: object) -> None:
    if not right:
        raise Failed(f"saw {brief(saw)}, expected {brief(expected)}")


def equal(saw: object, expected: object, what: str = "") -> None:
    expect(saw == expected, f"{what}{' ' if what else ''}{brief(saw)}", brief(expected))


def brief(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= 300 else f"{text[:300]}..."


def pattern(size: int, offset: int = 0) -> bytes:
    """Test data: byte n is n mod 251."""
    start = offset % 251
    return (bytes(range(251)) * (size // 251 + 2))[start : start + size]


def encode(message: Json, payload: bytes = b"") -> bytes:
    head = {"jsonrpc": "2.0", **message} | ({"payload": len(payload)} if payload else {})
    line = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    return line + payload + (b"\n" if payload else b"")


def notice(method: str, payload: bytes = b"", /, **params: object) -> bytes:
    """The bytes of a notification."""
    return encode({"method": method, "params": params}, payload)


class Observed:
    """Violations seen in all sessions of a run, independent of the check that ran."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.sessions = 0

    def fault(self, name: str, text: str) -> None:
        self.faults.setdefault(name, text)


def no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    if len(message := dict(pairs)) < len(pairs):
        raise ValueError("a member came twice")
    return message


def give_default_signals() -> None:
    """Starts programs under test with the default signals.

    A background job of a shell without job control ignores SIGINT, `nohup` ignores SIGHUP, and
    child processes inherit that. A handler that does nothing is not inherited.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def read_frame(stream: IO[bytes], note: Callable[[str, str], None]) -> Frame | None:
    """Returns the next frame, or None at the end. Raises Failed for invalid frames."""
    while not (line := stream.readline(MAX_LINE + 1)).strip(b"\r\n"):
        if not line:
            return None
    if len(line) > MAX_LINE:
        note("F1.longest-line", f"saw a line of more than {MAX_LINE} bytes")
        line += stream.readline(MIB)
        if not line.endswith(b"\n") and len(line) > MIB:
            raise Failed(f"saw a line without an end: {brief(line)}")
    if not line.endswith(b"\n"):
        raise Failed(f"saw an end of the output inside the line {brief(line)}")
    text = line.decode(errors="replace")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise Failed(f"saw {brief(line)} instead of a line of JSON") from None
    if not isinstance(message, dict):
        raise Failed(f"saw {brief(line)} instead of a JSON object")
    try:
        json.loads(line.decode(), object_pairs_hook=no_duplicates)
    except ValueError as error:
        note("F4.compact", f"saw the line {brief(text)}: {error}")
    if re.search(r"[ \t\r]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        note("F4.compact", f"saw {brief(text)}, expected no blanks between tokens")
    payload = b""
    if "payload" in message:
        length = message["payload"]
        if type(length) is not int or not 1 <= length <= MAX_PAYLOAD:
            raise Failed(f"saw a payload of {brief(length)} bytes")
        payload = stream.read(length)
        if len(payload) < length or (end := stream.read(1)) != b"\n":
            raise Failed(f"saw a payload that is cut short, or followed by {end!r}")
    return message, payload


# Checks, and how they run


class Check:
    def __init__(self, name: str, act: "Act", **options: bool) -> None:
        self.name, self.act = name, act
        self.title = " ".join((act.__doc__ or "").split()).rstrip(".")
        self.slow = options.get("slow", False)  # takes longer than seconds
        self.alone = options.get("alone", False)  # needs the target for itself
        self.last = options.get("last", False)  # evaluates all sessions


AGENT_CHECKS: list[Check] = []
HOST_CHECKS: list[Check] = []
Act = Callable[[Any], object]  # may return a remark


def agent_check(name: str, **options: bool) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        AGENT_CHECKS.append(Check(name, act, **options))
        return act

    return add


def host_check(name: str, **options: bool) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        HOST_CHECKS.append(Check(name, act, **options))
        return act

    return add


def observed_check(checks: list[Check], name: str, title: str) -> None:
    """Adds a check that evaluates all sessions of the run."""

    def act(run: "AgentRun | HostRun") -> None:
        if not run.observed.sessions:
            raise Skipped("no session ran")
        if fault := run.observed.faults.get(name):
            raise Failed(fault)

    act.__doc__ = title
    checks.append(Check(name, act, last=True))


class Verdict:
    def __init__(self, check: Check, status: str, message: str, ms: int) -> None:
        self.check, self.status, self.message, self.ms = check, status, message, ms

    def tap(self, number: int) -> str:
        text = f"{number} - {self.check.name}: "
        match self.status:
            case "passed":
                return f"ok {text}{self.check.title}{self.message and f' ({self.message})'}"
            case "skipped":
                return f"ok {text}{self.check.title} # SKIP {self.message}"
            case _:
                return f"not ok {text}{self.message.replace('#', '')}"

    def json(self) -> Json:
        names = {"check": self.check.name, "title": self.check.title}
        return names | {"status": self.status, "message": self.message, "ms": self.ms}


def verdict(check: Check, run: object) -> Verdict:
    begin = time.monotonic()
    try:
        status, message = "passed", str(check.act(run) or "")
    except Skipped as reason:
        status, message = "skipped", str(reason)
    except Failed as reason:
        status, message = "failed", str(reason)
    except (OSError, *ODD_SHAPE) as error:
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        where = f"line {trace.tb_lineno} of the kit" if trace else "the kit"
        status, message = "failed", brief(f"saw {type(error).__name__}: {error}, at {where}")
    return Verdict(check, status, message, int((time.monotonic() - begin) * 1000))


def perform(checks: list[Check], run: "AgentRun | HostRun", options: argparse.Namespace) -> int:
    """Runs the checks and prints the results in order. Returns the exit code."""
    together = [check for check in checks if not check.alone and not check.last]
    verdicts: dict[str, Verdict] = {}
    if not options.json:
        print(f"TAP version 13\n1..{len(checks)}", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        try:
            run.try_out()
            pending: dict[str, Future[Verdict]] = {
                check.name: pool.submit(verdict, check, run) for check in together
            }
            for number, check in enumerate(sorted(checks, key=lambda c: (c.last, c.alone)), 1):
                in_pool = pending.get(check.name)
                done = in_pool.result() if in_pool else verdict(check, run)
                verdicts[check.name] = done
                if not options.json:
                    print(done.tap(number), flush=True)
        except Unusable as reason:
            pool.shutdown(cancel_futures=True)
            # These two words end a run in TAP.
            print(f"Bail out! {reason}", file=sys.stderr if options.json else sys.stdout)
            return 1
    if options.json:
        print(json.dumps([done.json() for done in verdicts.values()], indent=1))
    return 1 if any(done.status == "failed" for done in verdicts.values()) else 0


# A session with an agent under test


class AgentRun:
    """State shared by the checks of an agent."""

    def __init__(self, command: Sequence[str], config: Json, options: argparse.Namespace) -> None:
        self.command, self.timeout, self.jobs = command, options.timeout, options.jobs
        self.observed = Observed()
        self.mark = f"kit-{uuid.uuid4().hex[:8]}"
        self.numbers = itertools.count(1)
        self.sessions: set[Session] = set()  # that have a process
        self.failed_handshakes = 0  # since the last one that worked
        self.unusable = ""
        self.config_given = bool(options.config)
        names = ("secret", "token", "password")
        given = {
            str(v) for k, v in config.items() if isinstance(v, str) and any(n in k for n in names)
        }
        # Agents ignore unknown members, so every agent can be given a secret to leak.
        self.config = config if given else config | {"x_secret": f"canary-{uuid.uuid4().hex}"}
        self.secrets = [s.encode() for s in given or {self.config["x_secret"]}]
        path = Path(__file__).resolve().parent.parent / "errors.json"
        known = json.loads(path.read_text("utf-8")) if path.exists() else []
        self.codes = {entry["code"]: entry for entry in known}

    def new_id(self) -> str:
        return f"{self.mark}-{next(self.numbers)}"

    def try_out(self) -> None:
        """Makes one handshake before all checks, because without it every check would fail."""
        try:
            session = Session(self)
        except OSError as error:
            self.unusable = f"the agent cannot be started: {error}"
        else:
            self.unusable = session.try_out()
            session.kill()
        if self.unusable:
            raise Unusable(self.unusable)

    def handshake_failed(self, reason: Failed) -> None:
        """Ends the run after several failed handshakes."""
        self.failed_handshakes += 1
        if self.failed_handshakes == GIVE_UP:
            self.unusable = f"the last {GIVE_UP} handshakes failed: {self.without_secrets(reason)}"
            for session in list(self.sessions):
                session.kill_group()

    def without_secrets(self, text: object) -> str:
        shown = str(text)
        for secret in self.secrets:
            shown = shown.replace(secret.decode(), "***")
        return brief(shown)

    @contextlib.contextmanager
    def session(self, **options: Any) -> Iterator["Session"]:
        """Runs a session that has to end with exit code 0 at the end of the input."""
        if self.unusable:
            raise Unusable(self.unusable)
        session = Session(self, **options)
        try:
            try:
                session.begin()
                self.failed_handshakes = 0
            except Failed as reason:
                self.handshake_failed(reason)
                raise
            yield session
            session.clean_up()
            session.finish()
        finally:
            session.kill()

    def backups(self) -> list[str]:
        """Returns the backup IDs of this run that a new session lists."""
        with self.session() as session:
            return session.list_ids()

    def clean_up(self) -> None:
        with contextlib.suppress(Failed, Unusable, OSError), self.session() as session:
            for backup_id in session.list_ids():
                session.call("backup.delete", target="t1", backup_id=backup_id)


class Session:
    """One process of the agent under test, and all its messages."""

    def __init__(
        self,
        run: AgentRun,
        *,
        initialize: bool = True,
        target: bool = True,
        limits: Json | None = None,
        read: bool = True,
        read_log: bool = True,
        log_level: str = "info",
    ) -> None:
        self.run, self.opens = run, (initialize, target)
        self.read, self.read_log = read, read_log
        self.initialize_params = {"protocol": 1, "log_level": log_level}
        self.initialize_params |= {"limits": limits} if limits else {}
        self.numbers = itertools.count(1)
        self.changed = threading.Condition()
        self.frames: list[Json] = []
        self.hello: Json = {}
        self.answers: dict[int, Json] = {}
        self.anonymous: list[Json] = []  # responses with the ID null
        self.credits: dict[int, int] = collections.defaultdict(int)  # of uploads
        self.granted: dict[int, int] = {}  # to downloads
        self.begins: dict[int, Json] = {}
        self.data: dict[int, bytearray] = collections.defaultdict(bytearray)
        self.ends: dict[int, int] = {}
        self.reports: dict[int, list[Json]] = collections.defaultdict(list)
        self.sent: dict[int, Json] = {}  # requests
        self.times: dict[int, float] = {}
        self.stored: set[str] = set()
        self.log = bytearray()
        self.broken = ""
        self.over = False
        run.observed.sessions += 1
        self.process = subprocess.Popen(
            run.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        run.sessions.add(self)
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        # A write to an agent that does not read would block forever.
        self.watchdog = threading.Timer(4 * run.timeout, self.kill_group)
        self.watchdog.daemon = True
        self.watchdog.start()
        self.threads: list[threading.Thread] = []
        if read_log:
            self.thread(self.read_stderr, self.process.stderr)
        if read:
            self.thread(self.read_stdout)

    def thread(self, act: Callable[..., None], *values: object) -> None:
        thread = threading.Thread(target=act, args=values, daemon=True)
        self.threads.append(thread)
        thread.start()

    # Input

    def read_stderr(self, stderr: IO[bytes]) -> None:
        while chunk := stderr.read(65_536):
            if len(self.log) < MAX_OUTPUT:
                self.log += chunk

    def read_stdout(self) -> None:
        stdout = os.fdopen(os.dup(self.stdout.fileno()), "rb", buffering=MIB)
        try:
            with stdout:
                while frame := read_frame(stdout, self.run.observed.fault):
                    with self.changed:
                        self.observe(*frame)
                        self.changed.notify_all()
        except Failed as reason:
            self.broken = str(reason)
            self.run.observed.fault("L4.frames-only", self.broken)
        except ODD_SHAPE as error:
            self.broken = f"saw a message of an unexpected form: {brief(error)}: {brief(frame)}"
            self.run.observed.fault("M1.messages", self.broken)
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def fault(self, name: str, saw: object, expected: object) -> None:
        self.run.observed.fault(name, f"saw {brief(saw)}, expected {brief(expected)}")

    def observe(self, message: Json, payload: bytes) -> None:
        """Records a message, and the rules that it violates."""
        if any(secret in compact(message) for secret in self.run.secrets):
            self.fault("K3.secrets", message, "no secret in it")
        if not self.frames and message.get("method") == "hello":
            self.hello = message["params"]
        self.frames.append(message)
        if len(self.frames) > MAX_MESSAGES:
            raise Failed(f"saw more than {MAX_MESSAGES} messages in one session")
        if payload and message.get("method") != "stream.data":
            self.fault("F3.payload", message, "a payload after stream.data only")
        match message:
            case {"method": str(method), "params": {"id": int(number)} as params}:
                if number not in self.sent:
                    self.fault("M2.known-ids", message, "the id of a request")
                elif number in self.answers:
                    self.fault("O3.response-last", message, "nothing after the response")
                else:
                    self.observe_notification(number, method, params, payload)
            case {"method": "hello"}:
                if len(self.frames) > 1:
                    self.fault("H2.hello", "a second hello", "one")
            case {"method": str(method)}:
                if "id" in message:
                    self.fault("M3.no-requests", message, "no request of the agent")
            case {"id": None, "error": error}:
                self.anonymous.append(message)
                self.observe_error(error)
            case {"id": int(number)}:
                if number not in self.sent or number in self.answers:
                    self.fault("C1.one-response", message, "one response to each request")
                self.answers[number] = message
                self.observe_answer(number, message)
            case _:
                self.fault("M1.messages", message, "a notification or a response")

    def observe_notification(self, number: int, method: str, params: Json, payload: bytes) -> None:
        match method:
            case "stream.credit":
                self.credits[number] = max(self.credits[number], params["up_to"])
            case "stream.begin":
                if set(params) < {"id", "length", "offset", "backup"}:
                    self.fault("S5.begin", params, "id, length, offset and backup")
                self.begins[number] = params
            case "stream.data":
                data = self.data[number]
                if number not in self.begins or number in self.ends:
                    self.fault(
                        "S7.order", "data", "stream.begin before it, and stream.end after it"
                    )
                if params["offset"] != len(data):
                    self.fault("S1.offset", params["offset"], len(data))
                data += payload
                if len(data) > self.granted.get(number, 0):
                    self.fault("S2.credit", f"{len(data)} bytes", self.granted.get(number, 0))
                if len(data) > self.granted.get(number, 0) + MAX_OUTPUT:
                    raise Failed(f"saw {len(data)} bytes of data far beyond the credit")
            case "stream.end":
                if params["length"] != len(self.data[number]) or number not in self.begins:
                    self.fault(
                        "S7.order", params, f"stream.begin, and {len(self.data[number])} bytes"
                    )
                self.ends[number] = params["length"]
            case "progress":
                self.observe_progress(number, params)

    def observe_progress(self, number: int, params: Json) -> None:
        asked = self.sent[number].get("params", {})
        names = {"id", "phase", "done", "total", "waiting_for", "retries"}
        if not names <= set(params) or params["phase"] not in PHASES.split():
            self.fault("P8.shape", params, f"{', '.join(sorted(names))}")
        if "progress_ms" not in asked:
            self.fault("P2.asked-for", params, "reports for requests with progress_ms only")
        before = self.reports[number]
        if before and before[-1]["done"] > params["done"]:
            self.fault("P4.done", f"{before[-1]['done']}, then {params['done']}", "no decrease")
        before.append(params)
        elapsed = (time.monotonic() - self.times[number]) * 1000
        if len(before) > elapsed / asked.get("progress_ms", 1) + 2:
            self.fault(
                "P2.not-too-often", f"{len(before)} in {elapsed:.0f} ms", "progress_ms apart"
            )

    def observe_answer(self, number: int, message: Json) -> None:
        if "error" in message:
            self.observe_error(message["error"])
            return
        if "result" not in message:
            self.fault("M1.messages", message, "a result or an error")
            return
        request = self.sent.get(number, {})
        length = message.get("result", {}).get("length")
        if request.get("method") == "backup.download" and length != self.ends.get(number):
            self.fault("S7.order", message, "an earlier stream.end with the same length")
        if "progress_ms" in request.get("params", {}) and not self.reports[number]:
            self.fault("P3.last-report", request, "a report before the response")

    def observe_error(self, error: Json) -> None:
        problems = error_problems(error, self.run.codes)
        if problems:
            self.fault(
                "C5+E3+E1.errors", f"{problems} in {error}", "an error as in the section Errors"
            )

    # Output

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self.stdin.write(view) or 0 :]
        except (OSError, ValueError):
            self.wait(lambda: self.over, "an agent that reads")
            raise Failed(f"saw an agent that does not read: {self.ending()}") from None

    def start(self, method: str, /, **params: Any) -> int:
        """Sends a request and returns its ID."""
        number = next(self.numbers)
        self.write(self.request(number, method, **params))
        return number

    def request(self, number: int, method: str, /, **params: Any) -> bytes:
        """Registers a request and returns its bytes."""
        message = {"id": number, "method": method, "params": params}
        with self.changed:
            self.sent[number] = message
            self.times[number] = time.monotonic()
            if method == "backup.download":
                self.granted[number] = params["up_to"]
        if method == "backup.upload":
            self.stored.add(params["backup"]["id"])
        return encode(message)

    def notify(self, method: str, payload: bytes = b"", /, **params: Any) -> None:
        if method == "stream.credit" and isinstance(params.get("up_to"), int):
            with self.changed:
                self.granted[params["id"]] = max(params["up_to"], self.granted[params["id"]])
        self.write(notice(method, payload, **params))

    # Waiting

    def wait(self, ready: Callable[[], object], what: str, timeout: float | None = None) -> None:
        """Waits until `ready`. Raises Failed if the agent ends before or takes too long."""
        patience = timeout or self.run.timeout
        with self.changed:
            self.changed.wait_for(lambda: ready() or self.over, patience)
            if ready():
                return
        if self.over:
            raise Failed(f"saw {self.ending()}, expected {what}")
        raise Failed(f"saw nothing for {patience:.3g} s, expected {what}")

    def ending(self) -> str:
        if self.broken:
            return self.broken.removeprefix("saw ")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        log = bytes(self.log[-300:]).decode(errors="replace")
        code = self.process.returncode
        end = f"signal {-code}" if (code or 0) < 0 else f"exit code {code}"
        what = "closed its output and did not end" if code is None else f"ended with {end}"
        return f"an agent that {what}, log: {brief(log) or 'none'}"

    def answer(self, number: int, timeout: float | None = None) -> Json:
        method = self.sent[number].get("method")
        self.wait(lambda: number in self.answers, f"a response to {method}", timeout)
        return self.answers[number]

    def result(self, number: int, timeout: float | None = None) -> Json:
        answer = self.answer(number, timeout)
        expect("result" in answer, answer, f"a result of {self.sent[number].get('method')}")
        return dict(answer["result"])

    def error(self, number: int, *codes: str) -> Json:
        """Returns the data of the error that answers a request."""
        answer = self.answer(number)
        what = f"the error {' or '.join(codes)} for {brief(self.sent[number])}"
        expect("error" in answer and answer["error"]["data"]["code"] in codes, answer, what)
        return dict(answer["error"]["data"])

    def call(self, method: str, /, **params: Any) -> Json:
        return self.result(self.start(method, **params))

    def fails(self, code: str, method: str, /, **params: Any) -> Json:
        return self.error(self.start(method, **params), code)

    def ping(self) -> None:
        equal(self.call("ping"), {}, "result of ping")

    def anonymous_error(self, code: str) -> None:
        """Waits for the error without a request ID."""
        found = lambda: [m for m in self.anonymous if m["error"]["data"]["code"] == code]
        self.wait(found, f'the error {code} with "id":null')

    def fatal(self, frames: bytes, code: str = "parse_error") -> None:
        """Sends frames that have to end the session, possibly before the agent reads them all."""
        with contextlib.suppress(OSError):
            self.stdin.write(frames)
        self.anonymous_error(code)
        self.exit_code(76)

    # From hello to the end

    def begin(self) -> None:
        initialize, target = self.opens
        if not self.read:
            return
        self.wait(lambda: self.frames, "hello")
        expect(bool(self.hello), self.frames[0], "hello")
        if initialize:
            equal(self.call("initialize", **self.initialize_params), {"protocol": 1})
        if initialize and target:
            self.call("target.open", target="t1", config=self.run.config)

    def try_out(self) -> str:
        """Makes a handshake and a listing. Returns the problem, or an empty text."""
        step, begin = "is not an agent", time.monotonic()
        patience: float = min(self.run.timeout, PATIENCE)

        def left() -> float:
            return max(begin + patience - time.monotonic(), 0.1)

        try:
            self.wait(lambda: self.frames, "hello", left())
            hello = self.frames[0]
            expect(hello.get("method") == "hello", hello, "hello")
            step = "does not speak version 1 of the protocol"
            expect(self.hello["protocol"] == "backup-agent", hello, '"protocol":"backup-agent"')
            expect(1 in self.hello["versions"], hello, "version 1")
            number = self.start("initialize", **self.initialize_params)
            equal(self.result(number, left()), {"protocol": 1}, "response to initialize")
            step = "refuses the config of target.open"
            if not self.run.config_given:
                step += ', which is {"type":"memory"} unless you pass one with --config FILE'
            self.called(left(), "target.open", config=self.run.config)
            step = "cannot list the backups of its target"
            self.called(self.run.timeout, "backup.list")
        except Failed as reason:
            return f"the program {step}: {self.run.without_secrets(reason)}"
        except ODD_SHAPE:
            shown = self.run.without_secrets(json.dumps(self.frames[-1]))
            return f"the program {step}: saw a message of an unexpected form: {shown}"
        return ""

    def called(self, timeout: float, method: str, **params: Any) -> None:
        """Calls with the target `t1`. Raises Failed with the code and message of an error."""
        answer = self.answer(self.start(method, target="t1", **params), timeout)
        if "error" in answer:
            error = answer["error"]
            raise Failed(f"{error['data']['code']}: {error['message']}")

    def exit_code(self, *expected: int, what: str = "exit code") -> int:
        """Waits for the end of the process."""
        try:
            saw = self.process.wait(self.run.timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"saw an agent that does not end, expected {what} {expected}") from None
        expect(saw in expected, f"{what} {saw}", " or ".join(map(str, expected)))
        return saw

    def close_input(self) -> None:
        with contextlib.suppress(OSError):
            self.stdin.close()

    def clean_up(self) -> None:
        """Deletes the backups that this session stored."""
        if self.process.poll() is None and not self.stdin.closed and self.opens == (True, True):
            for backup_id in self.stored & set(self.list_ids()):
                self.call("backup.delete", target="t1", backup_id=backup_id)

    def finish(self) -> None:
        """Ends the session in order, unless the check has ended it."""
        if self.process.poll() is None:
            self.close_input()
            self.exit_code(0, what="at the end of the input, exit code")
        self.join()
        expect(not self.broken, self.broken, "frames")

    def join(self) -> None:
        for thread in self.threads:
            thread.join(self.run.timeout)
        if any(secret in self.log for secret in self.run.secrets):
            self.fault("K3.secrets", bytes(self.log), "no secret in the log")
        for line in bytes(self.log).splitlines():
            if problem := log_problem(line):
                self.fault("L1.lines", f"{problem}: {line!r}", "JSON with ts, level and msg")

    def kill(self) -> None:
        self.kill_group()
        self.process.wait()
        self.watchdog.cancel()
        self.run.sessions.discard(self)
        for thread in self.threads:
            thread.join(2)  # its pipe has ended, unless another session holds it
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()

    def kill_group(self) -> None:
        """Kills the agent and its children, which may hold its pipes."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)

    # Backups

    def begin_upload(self, backup_id: str | None = None, **options: Any) -> int:
        """Starts an upload and waits for its first credit."""
        number = self.start_upload(backup_id, **options)
        self.wait(lambda: self.credits[number] or number in self.answers, "the first credit")
        expect(number not in self.answers, self.answers.get(number), "the first credit")
        return number

    def start_upload(self, backup_id: str | None = None, **options: Any) -> int:
        backup_id = backup_id or self.run.new_id()
        backup = {"id": backup_id, "name": backup_id} | options.pop("backup", {})
        return self.start("backup.upload", target="t1", backup=backup, **options)

    def feed(self, number: int, data: bytes, step: int = 1 << 18, sent: int = 0) -> int:
        """Sends data within the credit, and returns the total number of bytes sent."""
        view = memoryview(data)
        most = min(step, self.hello["limits"]["max_payload"])
        while view and number not in self.answers:
            self.wait(lambda: self.credits[number] > sent or number in self.answers, "credit")
            piece = view[: min(most, self.credits[number] - sent)]
            self.notify("stream.data", bytes(piece), id=number, offset=sent)
            sent += len(piece)
            view = view[len(piece) :]
        return sent

    def upload(self, data: bytes, backup_id: str | None = None, **options: Any) -> Json:
        step = options.pop("step", 1 << 18)
        number = self.start_upload(backup_id, **options)
        self.wait(lambda: self.credits[number] or number in self.answers, "the first credit")
        self.notify("stream.end", id=number, length=self.feed(number, data, step))
        return dict(self.result(number)["backup"])

    def download(self, backup_id: str, window: int = 4 * MIB, **options: Any) -> bytes:
        number = self.start(
            "backup.download", target="t1", backup_id=backup_id, up_to=window, **options
        )
        return self.drain(number, window)

    def drain(self, number: int, window: int) -> bytes:
        """Completes a download, and grants the credit for it."""
        data = self.data[number]
        while number not in self.answers:
            low = self.granted[number] - max(window // 2, 1)
            self.wait(lambda: len(data) > low or number in self.answers, "data")
            if number not in self.ends and number not in self.answers:
                self.notify("stream.credit", id=number, up_to=len(data) + window)
        equal(self.result(number)["length"], len(data), "length")
        return bytes(data)

    def list_backups(self, **options: Any) -> list[Json]:
        """Returns the listed backups of this run from all pages."""
        backups: list[Json] = []
        cursor: Json = {"refresh": True}
        while True:
            page = self.call("backup.list", target="t1", **cursor, **options)
            backups += [b for b in page["backups"] if b["id"].startswith(self.run.mark)]
            if page["next"] is None:
                return backups
            expect({"cursor": page["next"]} != cursor, "the same cursor again", "another page")
            cursor = {"cursor": page["next"]}

    def list_ids(self) -> list[str]:
        return [backup["id"] for backup in self.list_backups()]


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def error_problems(error: Json, codes: dict[str, Json]) -> str:
    """Returns the problems in the form of an error, or an empty text."""
    data = error.get("data")
    if not isinstance(error.get("message"), str) or not isinstance(data, dict):
        return "no message or no data"
    code, known = data.get("code"), codes.get(data.get("code", ""))
    texts = [text for text in (data.get("details") or {}).values() if isinstance(text, str)]
    texts += [text for text in (data.get("upstream") or {}).values() if isinstance(text, str)]
    checks = {
        "no code": isinstance(code, str),
        "another number": error.get("code") == NUMBERS.get(str(code), -32000),
        "an unknown kind": data.get("kind") in KINDS.split(),
        "no retryable": isinstance(data.get("retryable"), bool),
        "another kind than the code has": known is None or known["kind"] == data.get("kind"),
        "an unknown cleanup": data.get("cleanup") in CLEANUPS,
        "a long detail": all(len(text.encode()) <= 2048 for text in texts),
        "a control character in a detail": not any(c < " " for text in texts for c in text),
    }
    return ", ".join(problem for problem, right in checks.items() if not right)


def check_problems(check: Json, codes: dict[str, Json]) -> str:
    """Returns the problems in the optional members of a check, or an empty text."""
    message, details = check.get("message", "x"), check.get("details", {})
    data = check.get("error")
    if not isinstance(message, str) or not isinstance(details, dict):
        return "a message that is no text, or details that are no object"
    if data is not None and not isinstance(data, dict):
        return "an error that is no object"
    texts = [message, *(text for text in details.values() if isinstance(text, str))]
    problems = {
        "an empty message": message == "",
        "a long text": any(len(text.encode()) > 2048 for text in texts),
        "a control character": any(c < " " for text in texts for c in text),
    }
    found = [problem for problem, there in problems.items() if there]
    if data is not None:
        # Here `message` is next to the details, and there is no number.
        number = NUMBERS.get(str(data.get("code")), -32000)
        error = {"code": number, "message": data.get("message"), "data": data}
        found.append(error_problems(error, codes))
    return ", ".join(filter(None, found))


def failed_checks(result: Json) -> str:
    """Returns the failed checks of `target.validate` with code and message, or an empty text."""
    found = []
    for check in result["checks"]:
        if check["status"] == "failed":
            error = check.get("error") or {}
            said = error.get("message") or check.get("message") or "no message"
            found.append(f"{check['name']} after {check['ms']} ms: {error.get('code')}: {said}")
    return "; ".join(found)


def log_problem(line: bytes) -> str:
    if len(line) > 8191:
        return "a line of more than 8,192 bytes"
    try:
        entry = json.loads(line)
        levels = ("error", "warning", "info", "debug")
        shape = isinstance(entry["ts"], str) and isinstance(entry["msg"], str)
        return "" if shape and entry["level"] in levels else "a line without its members"
    except (ValueError, LookupError, TypeError):
        return "a line that is not JSON"


# The checks of agents: frames


@agent_check("F9.one-byte-writes")
def one_byte_writes(run: AgentRun) -> None:
    """The agent understands a session written byte by byte."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        data = notice("stream.data", b"a\n{}", id=number, offset=0)
        for byte in data + notice("stream.end", id=number, length=4):
            session.write(bytes([byte]))
        equal(session.result(number)["backup"]["stored_size"], 4, "stored_size")


@agent_check("F9+O1.in-one-breath")
def glued_writes(run: AgentRun) -> None:
    """The agent understands a session in one write: initialize, open, list, ping, close."""
    with run.session(initialize=False) as session:
        frames = [
            session.request(1, "initialize", protocol=1),
            session.request(2, "target.open", target="t1", config=run.config),
            session.request(3, "backup.list", target="t1"),
            notice("x-unknown", b"{}\n", id=3),
            session.request(4, "ping"),
            session.request(5, "target.close", target="t1"),
            session.request(6, "backup.list", target="t1"),
        ]
        session.write(b"".join(frames))
        for number in range(1, 6):
            session.result(number)
        session.error(6, "target_unknown")


@agent_check("F4+F9.blank-lines")
def blank_lines(run: AgentRun) -> None:
    """The agent ignores blank lines, and CR before LF."""
    with run.session(target=False) as session:
        first, second = session.request(90, "ping"), session.request(91, "ping")
        session.write(b"\n\r\n\r\r\n" + first[:-1] + b"\r\n" + b"\n" + second)
        session.result(90)
        session.result(91)


def padded(size: int, number: int) -> bytes:
    """Returns a ping with a line of `size` bytes."""
    line = encode({"id": number, "method": "ping", "params": {"x": ""}})
    return line.replace(b'"x":""', b'"x":"' + b"y" * (size - len(line)) + b'"')


@agent_check("F1.line-65536")
def longest_line(run: AgentRun) -> None:
    """The agent reads a line of 65,536 bytes, and one of max_line bytes."""
    with run.session(target=False) as session:
        for number, size in ((90, MAX_LINE), (91, session.hello["limits"]["max_line"])):
            session.request(number, "ping")
            session.write(padded(size, number))
            session.result(number)


@agent_check("F1+F7.line-65537")
def line_too_long(run: AgentRun) -> None:
    """A line of more than max_line bytes is fatal."""
    with run.session(target=False) as session:
        session.fatal(padded(session.hello["limits"]["max_line"] + 1, 90))


@agent_check("F2.payload-sizes")
def payload_sizes(run: AgentRun) -> None:
    """The agent reads payloads of 1 byte and of max_payload bytes."""
    with run.session(target=False) as session:
        for size in (1, 2, MAX_LINE, session.hello["limits"]["max_payload"]):
            session.write(notice("x-unknown", pattern(size), x=1))
        session.ping()


@agent_check("F2+F7.bad-payload")
def bad_payload(run: AgentRun) -> None:
    """A payload of 0, too large, negative or not an integer is fatal."""
    for value in ("0", "-1", "1.5", '"1"', "true", "[1]", "too large"):
        with run.session(target=False) as session:
            if value == "too large":
                value = str(session.hello["limits"]["max_payload"] + 1)
            session.fatal(b'{"method":"x","payload":' + value.encode() + b"}\n")


@agent_check("F2+F7.missing-lf")
def missing_line_feed(run: AgentRun) -> None:
    """A payload without a following LF is fatal."""
    with run.session(target=False) as session:
        session.fatal(b'{"method":"x","payload":3}\n1234\n')


@agent_check("F3.payload-of-a-request")
def payload_of_a_request(run: AgentRun) -> None:
    """The agent reads and drops the payload of any message."""
    with run.session(target=False) as session:
        session.request(90, "ping")
        session.write(encode({"id": 90, "method": "ping"}, b'{"id":91,"method":"ping"}\n'))
        session.result(90)
        session.ping()


@agent_check("F3+F4.payload-like-messages")
def payload_like_messages(run: AgentRun) -> None:
    """A payload full of messages and line feeds is stored unchanged."""
    data = b'\r\n {"jsonrpc":"2.0","id":1,"result":{}}\n\n{"payload":7}\n\0\xff' * 500 + b"\r\n\r\n"
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(data, backup_id, step=999)
        expect(session.download(backup_id) == data, "other bytes", "the stored bytes")


@agent_check("F6+O2+M8.stalled-download")
def stalled_download(run: AgentRun) -> None:
    """A download without credit blocks no other request, and sends nothing."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(pattern(300_000), backup_id)
        number = session.start("backup.download", target="t1", backup_id=backup_id, up_to=1000)
        session.wait(lambda: len(session.data[number]) >= 1000, "1000 bytes")
        for _ in range(20):
            session.ping()
        session.call("backup.get", target="t1", backup_id=backup_id)
        equal(len(session.data[number]), 1000, "bytes beyond the credit:")
        expect(
            session.drain(number, 100_000) == pattern(300_000), "other bytes", "the stored bytes"
        )


@agent_check("F7.no-frame")
def no_frame(run: AgentRun) -> None:
    """A line that is not one JSON object in UTF-8 is fatal."""
    deep = b'{"id":90,"method":"ping","params":' + b'{"x":' * 31 + b"1" + b"}" * 31 + b"}\n"
    for line in (
        b"oops, a print statement\n",
        b"7\n",
        b'"text"\n',
        b"null\n",
        b'{"id":90,"method":"ping"} {}\n',
        b'{"id":90,"method":"pi\xff"}\n',
        b'\xef\xbb\xbf{"id":90,"method":"ping"}\n',
        b'{"id":90,"method":"ping","params":{"x":NaN}}\n',
        b"{'id':90}\n",
        deep.replace(b"1}", b"{}}"),
        b"[" * 60_000 + b"\n",
    ):
        with run.session(target=False) as session:
            session.fatal(line)
    with run.session(target=False) as session:
        session.request(90, "ping")
        session.write(deep)
        session.result(90)


@agent_check("F7+B1.fault-in-upload")
def fault_in_upload(run: AgentRun) -> None:
    """An invalid frame during an upload ends the agent, and nothing is stored."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        session.feed(number, pattern(100_000))
        session.fatal(b"oops\n")
    expect(backup_id not in run.backups(), "a backup", "none")


def end_of_input(run: AgentRun, wire: bytes, offsets: Sequence[int], upload: bool) -> set[str]:
    """Ends the input after each of these offsets. Returns the IDs of the uploads."""
    ids = {offset: run.new_id() for offset in offsets}
    edges = {0, len(wire)}
    stream_offset = 0
    while stream_offset < len(wire):
        end = wire.index(b"\n", stream_offset) + 1
        length = json.loads(wire[stream_offset:end]).get("payload")
        stream_offset = end + (length + 1 if length else 0)
        edges.add(stream_offset)

    def end_at(offset: int) -> None:
        session = Session(run, target=upload, initialize=upload)
        try:
            session.begin()
            if upload:
                equal(session.begin_upload(ids[offset]), 3, "the id of the upload")
            else:
                session.request(1, "initialize")
                session.request(2, "ping")
            session.write(wire[:offset])
            session.close_input()
            session.exit_code(0 if offset in edges else 76, what=f"at byte {offset}, exit code")
            session.join()
            if offset not in edges:
                codes = [m["error"]["data"]["code"] for m in session.anonymous]
                equal(codes, ["parse_error"], f"at byte {offset}")
        finally:
            session.kill()

    with ThreadPoolExecutor(run.jobs) as pool:
        list(pool.map(end_at, ids))
    return set(ids.values())


@agent_check("F7+X2.end-of-input-everywhere")
def end_of_input_everywhere(run: AgentRun) -> None:
    """The input may end after any byte: exit code 0 between frames, 76 inside a frame."""
    wire = encode({"id": 1, "method": "initialize", "params": {"protocol": 1}})
    wire += b'{"method":"x","payload":2}\n{}\n{"id":2,"method":"ping"}\n'
    end_of_input(run, wire, range(len(wire) + 1), upload=False)


@agent_check("F7+X2+B1.end-of-input-in-upload")
def end_of_input_in_upload(run: AgentRun) -> None:
    """The input may end anywhere in an upload: only complete backups are listed."""
    # The id of the upload is 3, after initialize and target.open.
    first = notice("stream.data", b"ab\ncd", id=3, offset=0)
    wire = first + notice("stream.end", id=3, length=5)
    edges = [0, 1, first.index(b"\n"), first.index(b"\n") + 1, len(first) - 1, len(first)]
    offsets = [*edges, *range(10, len(wire), 17), len(wire) - 1, len(wire)]
    mine = end_of_input(run, wire, offsets, upload=True)
    with run.session() as session:
        backups = [backup for backup in session.list_backups() if backup["id"] in mine]
        equal([backup["stored_size"] for backup in backups], [5] * len(backups), "stored_size")
        session.stored |= mine


@agent_check("F8+X8.bad-messages")
def bad_messages(run: AgentRun) -> None:
    """A valid frame with an invalid message is answered, and the session continues."""
    with run.session() as session:
        for message in ({"id": 90}, {"jsonrpc": "2.0"}, {"id": 90, "method": 7}):
            before = len(session.anonymous)
            session.write(encode(message))
            session.wait(lambda: len(session.anonymous) > before, 'an error with "id":null')
            equal(session.anonymous[-1]["error"]["data"]["code"], "invalid_request")
        broken: list[Any] = [[], "x", 5, {"target": 5}, {}]
        for params in broken:
            number = next(session.numbers)
            session.request(number, "backup.list")
            session.write(encode({"id": number, "method": "backup.list", "params": params}))
            session.error(number, "invalid_params")
        session.ping()


# The checks of agents: messages, handshake, order


@agent_check("M2.duplicate-id")
def duplicate_id(run: AgentRun) -> None:
    """Reusing the ID of a running request is fatal."""
    with run.session() as session:
        number = session.begin_upload()
        frame = {"id": number, "method": "backup.list", "params": {"target": "t1"}}
        session.fatal(encode(frame), "duplicate_id")


@agent_check("M3.batch")
def batch(run: AgentRun) -> None:
    """A JSON array gets invalid_request, and the session continues."""
    with run.session(target=False) as session:
        session.write(b'[{"jsonrpc":"2.0","id":90,"method":"ping"}]\n')
        session.anonymous_error("invalid_request")
        session.ping()


@agent_check("M4+F8.ids")
def ids(run: AgentRun) -> None:
    """An ID is an integer from 1 to 2^53-1; anything else gets invalid_request."""
    with run.session(target=False) as session:
        for value in ("0", "-1", "1.5", '"7"', str(MAX_INTEGER + 1), "true", "[]"):
            before = len(session.anonymous)
            session.write(b'{"id":' + value.encode() + b',"method":"ping"}\n')
            session.wait(lambda: len(session.anonymous) > before, f"an error for {value}")
            equal(session.anonymous[-1]["error"]["data"]["code"], "invalid_request", value)
        session.write(session.request(MAX_INTEGER, "ping"))
        session.result(MAX_INTEGER)


@agent_check("M5.unknown")
def unknown(run: AgentRun) -> None:
    """Unknown members and notifications are ignored; an unknown request gets method_not_found."""
    with run.session() as session:
        number = next(session.numbers)
        session.request(number, "ping")
        unknown_members = {"id": number, "method": "ping", "params": {"x": [1]}, "x_new": {"y": 1}}
        session.write(encode(unknown_members))
        session.result(number)
        session.notify("x-vendor.thing", b'{"id":7}\n\n', id=number, x="y")
        session.notify("x-vendor.other")
        session.fails("method_not_found", "backup.copy", target="t1")
        session.fails("method_not_found", "cancel", id=1)
        session.call("backup.list", target="t1", x_new=None)


@agent_check("M7.broken-notification")
def broken_notification(run: AgentRun) -> None:
    """A malformed notification is ignored; the next data reveals the gap."""
    with run.session() as session:
        number = session.begin_upload()
        session.notify("cancel", id="x")
        session.notify("cancel")
        session.notify("stream.end", id=number, length="5")
        session.notify("stream.data", b"abcde", id=number, offset="0")
        session.notify("stream.data", b"fgh", id=number, offset=5)
        session.error(number, "stream_violation")


@agent_check("H2.hello")
def hello(run: AgentRun) -> None:
    """The first frame is hello with all its members, before the host sends anything."""
    with run.session(initialize=False) as session:
        params = session.hello
        equal(params["protocol"], "backup-agent", "protocol")
        expect(1 in params["versions"], params, "the version 1")
        texts = (params["agent"]["name"], params["agent"]["version"])
        expect(all(isinstance(text, str) for text in texts), params, "name and version")
        features = params["capabilities"].values()
        expect(all(isinstance(f, dict) for f in features), params, "an object for each capability")
        least = {"max_line": MAX_LINE, "max_payload": 65_536, "max_requests": 1, "max_transfers": 1}
        for name, limit in least.items():
            value = params["limits"][name]
            expect(type(value) is int and value >= limit, f"{name} {value}", f"{limit} or more")


@agent_check("H4.before-initialize")
def before_initialize(run: AgentRun) -> None:
    """Requests before initialize get not_initialized, and notifications are ignored."""
    with run.session(initialize=False) as session:
        for method in ("ping", "target.open", "backup.list", "shutdown", "backup.copy"):
            session.fails("not_initialized", method, target="t1", config=run.config)
        session.notify("cancel", id=1)
        session.notify("stream.data", b"x", id=1, offset=0)
        session.call("initialize", protocol=1)
        session.ping()


@agent_check("H4+H5+V1.initialize")
def initialize(run: AgentRun) -> None:
    """initialize can be repeated after an error; a second one gets invalid_request."""
    with run.session(initialize=False) as session:
        data = session.fails("unsupported_protocol", "initialize", protocol=99)
        expect(1 in data["details"]["supported"], data, "the supported versions in the details")
        for params in (
            {},
            {"protocol": "1"},
            {"protocol": 1, "limits": {"max_line": 65_535}},
            {"protocol": 1, "limits": {"max_payload": 65_535}},
            {"protocol": 1, "log_level": "x-loud"},
        ):
            session.fails("invalid_params", "initialize", **params)
        client = {"name": "kit", "version": "1", "x_new": 1}
        equal(session.call("initialize", protocol=1, client=client)["protocol"], 1)
        session.fails("invalid_request", "initialize", protocol=1)
        session.ping()


@agent_check("F2+H5.max-payload")
def max_payload(run: AgentRun) -> None:
    """No payload is larger than the host's limits.max_payload."""
    with run.session(limits={"max_payload": 65_536}) as session:
        backup_id = run.new_id()
        session.upload(pattern(300_000), backup_id)
        number = session.start("backup.download", target="t1", backup_id=backup_id, up_to=300_000)
        session.result(number)
        expect(session.data[number] == pattern(300_000), "other bytes", "the stored bytes")
        sizes = [m["payload"] for m in session.frames if m.get("method") == "stream.data"]
        expect(max(sizes) <= 65_536, f"a payload of {max(sizes)} bytes", "at most 65,536")


def fill_places(session: Session, count: int) -> tuple[list[int], list[int]]:
    """Starts this many uploads; returns the running and the queued ones, in order."""
    numbers = [session.start_upload(progress_ms=100) for _ in range(count)]

    def is_queued(number: int) -> bool:
        return any(report["phase"] == "queued" for report in session.reports[number])

    settled = lambda n: session.credits[n] or is_queued(n) or n in session.answers
    session.wait(lambda: all(map(settled, numbers)), "credit or the phase queued for each upload")
    expect(not session.answers.keys() & set(numbers), session.answers, "no answers")
    running = [number for number in numbers if session.credits[number]]
    return running, [number for number in numbers if number not in running]


@agent_check("O4.line")
def line(run: AgentRun) -> None:
    """Further transfers wait in a queue in order, can be canceled, and report queued."""
    with run.session() as session:
        limit = session.hello["limits"]["max_transfers"]
        if limit > 50:
            raise Skipped(f"max_transfers is {limit}")
        running, queued = fill_places(session, limit + 3)
        expect(1 <= len(running) <= limit, f"{len(running)} running", f"1 to {limit}")
        last = queued.pop()
        session.notify("cancel", id=last)
        session.error(last, "cancelled")
        while queued:
            first = queued.pop(0)
            session.notify("cancel", id=running.pop(0))
            line = [first, *queued]
            session.wait(
                lambda: any(session.credits[n] for n in line), "credit for a queued upload"
            )
            got = [n for n in line if session.credits[n]]
            expect(first in got, f"credit for {got} of {line}", "credit for the first in the queue")
            running.append(first)
        for number in running:
            session.notify("cancel", id=number)
            session.error(number, "cancelled")


@agent_check("S9.flow-violation")
def flow_violation(run: AgentRun) -> None:
    """Data without credit gets flow_violation."""
    with run.session() as session:
        limit = session.hello["limits"]["max_transfers"]
        if limit > 50:
            raise Skipped(f"max_transfers is {limit}")
        running, queued = fill_places(session, limit + 1)
        session.notify("stream.data", b"x", id=queued[0], offset=0)
        session.error(queued[0], "flow_violation")
        for number in running:
            session.notify("cancel", id=number)
            session.error(number, "cancelled")


@agent_check("O4.busy")
def busy(run: AgentRun) -> None:
    """One request more than max_requests gets busy; ping is still answered."""
    with run.session() as session:
        limit = session.hello["limits"]["max_requests"]
        if limit > 500:
            raise Skipped(f"max_requests is {limit}")
        numbers = [session.start_upload() for _ in range(limit)]
        session.fails("busy", "backup.list", target="t1")
        session.ping()
        for number in numbers:
            session.notify("cancel", id=number)
        for number in numbers:
            session.error(number, "cancelled")
        session.call("backup.list", target="t1")


@agent_check("O2+O4.parallel-transfers")
def parallel_transfers(run: AgentRun) -> None:
    """Transfers run concurrently without mixing their bytes."""
    with run.session() as session:
        running, queued = fill_places(session, min(4, session.hello["limits"]["max_transfers"]))
        for number in queued:
            session.notify("cancel", id=number)
            session.error(number, "cancelled")
        contents = {number: pattern(200_000 + number, number) for number in running}
        for offset in range(0, 210_000, 30_000):
            for number, content in contents.items():
                session.feed(number, content[offset : offset + 30_000], sent=offset)
        for number, content in contents.items():
            session.notify("stream.end", id=number, length=len(content))
        backups = {session.result(n)["backup"]["id"]: c for n, c in contents.items()}
        numbers = {
            session.start("backup.download", target="t1", backup_id=backup_id, up_to=1000): content
            for backup_id, content in backups.items()
        }
        # Each continues only when all have reached this point.
        for up_to in (50_000, 100_000, 150_000, 300_000):
            for number in numbers:
                session.notify("stream.credit", id=number, up_to=up_to)
            if up_to < 200_000:
                arrived = lambda: all(len(session.data[n]) >= up_to for n in numbers)
                session.wait(arrived, f"{up_to} bytes of each download")
        for number, content in numbers.items():
            session.result(number)
            expect(session.data[number] == content, f"other bytes in {number}", "the stored bytes")


# The checks of agents: targets


@agent_check("T4.names")
def target_names(run: AgentRun) -> None:
    """A target's name has 1 to 200 bytes, and an unknown one gets target_unknown."""
    with run.session() as session:
        for name in ("t" * 200, "ä 日本"):
            equal(session.call("target.open", target=name, config=run.config), {"target": name})
            equal(session.call("target.close", target=name), {"target": name})
        for wrong in ("", "t" * 201, "ä" * 101, 5):
            session.fails("invalid_params", "target.open", target=wrong, config=run.config)
        session.fails("target_unknown", "target.close", target="nobody")
        session.fails("target_unknown", "backup.list", target="nobody\n" + "x" * 5000)


@agent_check("T1.replace")
def target_replace(run: AgentRun) -> None:
    """A target can be replaced while requests run; a failed open leaves the old one."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        session.call("target.open", target="t1", config=run.config)
        data = session.fails("invalid_config", "target.open", target="t1", config={"type": "x-no"})
        equal(data.get("field"), "type", "field")
        session.fails("invalid_params", "target.open", target="t1", config="x")
        session.fails("invalid_params", "target.open", target="t1")
        session.call("target.open", target="t2", config=run.config)
        session.call("target.close", target="t1")
        session.fails("target_unknown", "backup.list", target="t1")
        session.notify("stream.end", id=number, length=session.feed(number, b"abc"))
        session.result(number)
        session.call("target.open", target="t1", config=run.config)
        expect(backup_id in session.list_ids(), "nothing", "the backup in the target")


@agent_check("T3+O1.update")
def target_update(run: AgentRun) -> None:
    """target.update changes the named limits or none, in order, while an upload runs."""
    names = {"bandwidth_limit", "concurrency", "memory"}
    with run.session() as session:
        if "target.update" not in session.hello["capabilities"]:
            raise Skipped("the agent does not have the capability target.update")

        def update(**limits: object) -> Json:
            result = session.call("target.update", target="t1", limits=limits)
            equal(result["target"], "t1", "target")
            return dict(result["limits"])

        before = update()
        expect(names <= before.keys(), before, f"limits with {sorted(names)}")
        number = session.begin_upload(run.new_id())
        some = {"bandwidth_limit": 1 << 30, "concurrency": 3}
        equal(update(**some, x_unknown=[1]), before | some, "limits")
        some |= {"memory": 64 * MIB}
        equal(update(memory=64 * MIB), before | some, "limits")
        for name, wrong in (
            ("bandwidth_limit", 65_535),
            ("concurrency", 0),
            ("concurrency", 65),
            ("memory", 32 * MIB - 1),
        ):
            limits = {"bandwidth_limit": None, "concurrency": 5} | {name: wrong}
            data = session.fails("invalid_config", "target.update", target="t1", limits=limits)
            equal(data.get("field"), name, "field")
        odd_ones: list[object] = [{"concurrency": 5, "memory": "64"}, [], None]
        for odd in odd_ones:
            session.fails("invalid_params", "target.update", target="t1", limits=odd)
        session.fails("invalid_params", "target.update", target="t1")
        session.fails("target_unknown", "target.update", target="nobody", limits={})
        equal(update(), before | some, "limits after the refused update")
        defaults = {"bandwidth_limit": None, "concurrency": 16}
        defaults |= {"memory": 96 * MIB}
        equal(update(**dict.fromkeys(names)), before | defaults, "limits after null")
        session.notify("stream.end", id=number, length=session.feed(number, b"abc"))
        session.result(number)
        first, second, third = (next(session.numbers) for _ in range(3))
        parts = {"concurrency": 7}
        frames = [
            session.request(first, "target.open", target="t2", config=run.config),
            session.request(second, "target.update", target="t2", limits=parts),
            session.request(third, "target.update", target="t2", limits={}),
        ]
        session.write(b"".join(frames))
        session.result(first)
        equal(session.result(second)["limits"]["concurrency"], 7, "concurrency")
        equal(session.result(third)["limits"]["concurrency"], 7, "concurrency")
        equal(update(), before | defaults, "limits of the other target")


@agent_check("T5+V4.shape")
def validate(run: AgentRun) -> None:
    """target.validate has its members, passes here, and refuses an unknown level."""
    with run.session() as session:
        for level in ({}, {"level": "read"}, {"level": "write"}):
            result = session.call("target.validate", target="t1", **level)
            failed = failed_checks(result)
            expect(not failed, f"failed checks: {failed}", "none")
            equal(result["ok"], True, "ok")
            expect(isinstance(result["details"], dict), result, "details")
            for check in result["checks"]:
                known = check["status"] in ("passed", "warning", "skipped")
                expect(known and isinstance(check["name"], str), check, "a name and a status")
                expect(type(check["ms"]) is int, check, "ms")
                equal(check_problems(check, run.codes), "", f"check {check['name']}")
            suggestion = result.get("suggestion", {"x": 1})
            is_right = isinstance(suggestion, dict) and suggestion != {}
            expect(is_right, result, "settings in the suggestion, or no suggestion")
        session.fails("invalid_params", "target.validate", target="t1", level="x-deep")


@agent_check("T8.shape")
def cleanup(run: AgentRun) -> None:
    """target.cleanup finds nothing here, and touches no backup."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(b"abc", backup_id)
        for options in ({}, {"dry_run": True}, {"older_than_s": 31_536_000, "dry_run": False}):
            result = session.call("target.cleanup", target="t1", **options)
            expect(isinstance(result["items"], list), result, "items")
            equal(result["more"], False, "more")
        for wrong in ({"older_than_s": -1}, {"older_than_s": 31_536_001}, {"dry_run": 1}):
            session.fails("invalid_params", "target.cleanup", target="t1", **wrong)
        expect(session.download(backup_id) == b"abc", "other bytes", "the stored bytes")


# The checks of agents: backups


@agent_check("B1.listed-when-whole")
def listed_when_whole(run: AgentRun) -> None:
    """A backup is listed when its upload is answered, and not before."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        sent = session.feed(number, pattern(100_000))
        expect(backup_id not in session.list_ids(), "a partial backup", "none")
        session.fails("not_found", "backup.get", target="t1", backup_id=backup_id)
        session.notify("stream.end", id=number, length=sent)
        shown = session.result(number)["backup"]
        equal([b for b in session.list_backups() if b["id"] == backup_id], [shown], "listed")
        got = session.call("backup.get", target="t1", backup_id=backup_id)["backup"]
        equal(got, shown, "backup.get")


@agent_check("B1.killed")
def killed(run: AgentRun) -> None:
    """After SIGKILL during an upload, the next session lists nothing of it."""
    backup_id = run.new_id()
    with run.session() as session:
        number = session.begin_upload(backup_id)
        session.feed(number, pattern(MIB))
        session.process.kill()
        session.exit_code(-signal.SIGKILL)
    expect(backup_id not in run.backups(), "a backup", "none")


@agent_check("B2+N4.missing")
def missing(run: AgentRun) -> None:
    """A missing backup gets not_found, and so does a second deletion."""
    with run.session() as session:
        backup_id = run.new_id()
        for missing_id in (backup_id, "x\n\x00" * 40, "y" * 5000):
            session.fails("not_found", "backup.get", target="t1", backup_id=missing_id)
        session.fails("not_found", "backup.delete", target="t1", backup_id=backup_id)
        session.fails("not_found", "backup.download", target="t1", backup_id=backup_id, up_to=9)
        session.upload(b"abc", backup_id)
        deleted = session.call("backup.delete", target="t1", backup_id=backup_id)
        equal(deleted, {"deleted": True})
        session.fails("not_found", "backup.delete", target="t1", backup_id=backup_id)
        expect(backup_id not in session.list_ids(), "a backup", "none")


@agent_check("S2.sizes-and-windows")
def sizes(run: AgentRun) -> None:
    """A download returns the uploaded bytes, for any size and frame size."""
    with run.session() as session:
        for size, step, window in ((1, 1, 1), (251, 10, 1), (600_000, 524_288, 262_144)):
            backup_id = run.new_id()
            backup = session.upload(pattern(size), backup_id, step=step, size=size)
            expect(
                {"name", "size", "has_checksums", "metadata"} <= set(backup), backup, "its members"
            )
            equal((backup["id"], backup["stored_size"]), (backup_id, size))
            content = session.download(backup_id, window)
            expect(content == pattern(size), f"{len(content)} other bytes", f"{size} bytes stored")
        # More than a window, so that the agent has to grant more.
        backup_id = run.new_id()
        session.upload(pattern(9 * MIB + 1), backup_id, step=MIB)
        expect(
            session.download(backup_id) == pattern(9 * MIB + 1), "other bytes", "the stored bytes"
        )


@agent_check("U3.metadata")
def metadata(run: AgentRun) -> None:
    """Names and metadata in any script are returned unchanged and in order."""
    given = {"z": [1, -2.5, True, None, {"ä": '日本 🏠\n\t"'}], "a": {}, "m": 9007199254740991}
    with run.session() as session:
        backup_id = run.new_id() + " ä🏠"
        metadata = {"backup_id": backup_id, **given}
        shown = session.upload(b"abc", backup_id, backup={"name": "Büro 🏠", "metadata": metadata})
        kept = {name: shown["metadata"].get(name) for name in metadata}
        equal(kept, metadata, "metadata")
        order = [name for name in shown["metadata"] if name in metadata]
        equal(order, list(metadata), "the order of the members")
        expect(bool(shown["name"]), shown, "a name")
        other = session.upload(b"abc", backup={"name": "Büro 🏠"})
        expect(other["name"] != shown["name"], "two backups with one name", "different names")


@agent_check("U5.limits")
def upload_limits(run: AgentRun) -> None:
    """IDs of 200 characters and metadata of 32,768 bytes and 24 levels are the maximum."""
    with run.session() as session:
        deep: Json = {}
        for _ in range(22):
            deep = {"x": deep}
        long_id = run.new_id() + "-"
        full = {"x": "y" * (32_768 - len(compact({"x": ""})))}
        session.upload(b"a", long_id + "ä" * (200 - len(long_id)))
        session.upload(b"a", backup={"metadata": full})
        session.upload(b"a", backup={"metadata": {"deep": deep}})
        refused: list[Json] = [
            {"id": ""},
            {"id": "x" * 201},
            {"id": "a\nb"},
            {"id": 5},
            {"name": 5},
            {"metadata": []},
            {"metadata": {"backup_id": "another"}},
            {"metadata": {"x": full["x"] + "y"}},
            {"metadata": {"deeper": {"x": deep}}},
        ]
        for wrong in refused:
            session.error(session.start_upload(backup=wrong), "invalid_params")
        for options in (
            {"size": 0},
            {"size": -1},
            {"exact": 1},
            {"if_exists": "x-merge"},
            {"retry_for_ms": -1},
            {"retry_for_ms": 3_600_001},
        ):
            session.error(session.start_upload(**options), "invalid_params")


@agent_check("U1.length")
def length(run: AgentRun) -> None:
    """Too few bytes get length_mismatch, too many only with exact; nothing is stored."""
    with run.session() as session:
        for size, exact, sent in ((10, False, 3), (10, False, 0), (None, False, 0), (3, True, 4)):
            backup_id = run.new_id()
            options = {"exact": exact} | ({"size": size} if size else {})
            number = session.begin_upload(backup_id, **options)
            session.feed(number, pattern(sent))
            session.notify("stream.end", id=number, length=sent)
            session.error(number, "length_mismatch")
            expect(backup_id not in session.list_ids(), "a backup", "none")
        equal(session.upload(pattern(12), size=10)["stored_size"], 12, "stored_size")
        equal(session.upload(pattern(10), size=10, exact=True)["stored_size"], 10, "stored_size")


@agent_check("U2+S4.exists")
def exists(run: AgentRun) -> None:
    """An existing ID gets already_exists before the first credit; replace replaces it."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(b"first", backup_id)
        number = session.start_upload(backup_id)
        session.wait(lambda: session.credits[number] or number in session.answers, "an answer")
        equal(session.credits[number], 0, "credit")
        session.error(number, "already_exists")
        equal(session.download(backup_id), b"first")
        session.upload(b"second", backup_id, if_exists="replace")
        equal(session.download(backup_id), b"second")
        equal(session.list_ids().count(backup_id), 1, "backups of this id")


@agent_check("U4.same-id")
def same_id(run: AgentRun) -> None:
    """A second concurrent upload of an ID gets already_exists, also with replace."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        session.error(session.start_upload(backup_id), "already_exists")
        session.error(session.start_upload(backup_id, if_exists="replace"), "already_exists")
        session.notify("stream.end", id=number, length=session.feed(number, b"abc"))
        session.result(number)


@agent_check("U6+U7.interrupted")
def interrupted_upload(run: AgentRun) -> None:
    """Kept data is not listed, and the next upload stores the bytes that it gets."""
    with run.session() as session:
        if "upload.resume" not in session.hello["capabilities"]:
            raise Skipped("the agent does not have the capability upload.resume")
        backup_id, size = run.new_id(), 21 * MIB
        number = session.start_upload(backup_id, size=size, resume_s=600, deadline_ms=3000)
        session.feed(number, pattern(18 * MIB))
        data = session.error(number, "timeout")
        if data.get("cleanup") == "kept":
            until = data["details"].get("kept_until")
            expect(isinstance(until, str), until, "kept_until")
        found = [backup["id"] for backup in session.list_backups()]
        expect(backup_id not in found, found, "no incomplete backup")
        other = bytearray(pattern(size))
        other[MIB] ^= 1
        session.upload(bytes(other), backup_id, size=size)
        expect(session.download(backup_id) == other, "other bytes", "the bytes that were sent last")
        for wrong in (-1, 86_401, "1h"):
            session.error(session.start_upload(resume_s=wrong), "invalid_params")


@agent_check("N1.pages", alone=True)
def pages(run: AgentRun) -> None:
    """A listing comes in pages, ordered by name, with each backup once."""
    with run.session() as session:
        mine = [run.new_id() for _ in range(5)]
        for backup_id in reversed(mine):
            session.upload(b"a", backup_id, backup={"metadata": {"x": "y" * 20_000}})
        for options in ({}, {"page_size": 1}, {"page_size": 2}, {"page_size": 1000}):
            backups = [b for b in session.list_backups(**options) if b["id"] in mine]
            equal(sorted(b["id"] for b in backups), sorted(mine), f"with {options}")
            names = [b["name"] for b in backups]
            equal(names, sorted(names), "the order")
        page = session.call("backup.list", target="t1", page_size=2)
        entries = len(page["backups"]) + len(page["skipped"])
        expect(1 <= entries <= 2, f"{entries} entries", "at most 2")
        for wrong in ({"page_size": 0}, {"page_size": 1001}, {"cursor": 5}, {"refresh": 1}):
            session.fails("invalid_params", "backup.list", target="t1", **wrong)


@agent_check("D1.offset")
def offset(run: AgentRun) -> None:
    """A download can begin at any offset up to the end; its stream begins at 0."""
    with run.session() as session:
        if "download.range" not in session.hello["capabilities"]:
            raise Skipped("the agent does not have the capability download.range")
        backup_id, size = run.new_id(), 600_000
        session.upload(pattern(size), backup_id)
        for start in (0, 1, 599_990, size):
            number = session.start(
                "backup.download", target="t1", backup_id=backup_id, up_to=size, offset=start
            )
            equal(session.result(number)["length"], size - start, "length")
            begin = session.begins[number]
            equal((begin["length"], begin["offset"]), (size - start, start), "stream.begin")
            equal(begin["backup"]["id"], backup_id, "stream.begin")
            expect(session.data[number] == pattern(size - start, start), "other bytes", "the rest")
        behind = {"backup_id": backup_id, "up_to": 9, "offset": size + 1}
        session.fails("invalid_params", "backup.download", target="t1", **behind)
        refused: list[Json] = [{}, {"up_to": -1}, {"up_to": "9"}, {"up_to": 9, "offset": -1}]
        for wrong in refused:
            number = next(session.numbers)
            params = {"target": "t1", "backup_id": backup_id, **wrong}
            session.request(number, "ping")
            session.write(encode({"id": number, "method": "backup.download", "params": params}))
            session.error(number, "invalid_params")


# The checks of agents: streams


@agent_check("S2.credit-is-absolute")
def credit_is_absolute(run: AgentRun) -> None:
    """Credit is absolute: it can be repeated, and a lower value is ignored."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(pattern(10_000), backup_id)
        number = session.start("backup.download", target="t1", backup_id=backup_id, up_to=0)
        session.wait(lambda: number in session.begins, "stream.begin without credit")
        for up_to in (2000, 2000, 1000, 2000, 0):
            session.notify("stream.credit", id=number, up_to=up_to)
        session.wait(lambda: len(session.data[number]) >= 2000, "2000 bytes")
        session.ping()
        equal(len(session.data[number]), 2000, "bytes")
        session.notify("stream.credit", id=number, up_to=MAX_INTEGER)
        session.result(number)


@agent_check("S3.credit-at-size")
def credit_at_size(run: AgentRun) -> None:
    """The agent grants more credit after all of the announced size was sent."""
    with run.session() as session:
        size = 4 * MIB
        number = session.begin_upload(size=size)
        sent = session.feed(number, pattern(size))
        session.wait(lambda: session.credits[number] > sent, "credit beyond the announced size")
        session.notify("stream.end", id=number, length=sent)
        session.result(number)


@agent_check("S6+S9.end-of-stream")
def end_of_stream(run: AgentRun) -> None:
    """An end with another length than the data gets length_mismatch."""
    with run.session() as session:
        for announced in (2, 4):
            number = session.begin_upload()
            session.feed(number, b"abc")
            session.notify("stream.end", id=number, length=announced)
            session.error(number, "length_mismatch")


@agent_check("S9.gaps-and-overlaps")
def gaps_and_overlaps(run: AgentRun) -> None:
    """Data at a wrong offset or without bytes gets stream_violation; the session continues."""
    with run.session() as session:
        for wrong in (2, 4, 0):
            backup_id = run.new_id()
            number = session.begin_upload(backup_id)
            session.feed(number, b"abc")
            session.notify("stream.data", b"defg", id=number, offset=wrong)
            session.error(number, "stream_violation")
            expect(backup_id not in session.list_ids(), "a backup", "none")
        number = session.begin_upload()
        session.notify("stream.data", id=number, offset=0)
        session.error(number, "stream_violation")
        session.ping()


@agent_check("S9.after-the-end")
def after_the_end(run: AgentRun) -> None:
    """Data or a second end after the end gets stream_violation, unless already answered."""
    with run.session() as session:
        extra = [notice("stream.end", id=0, length=3), notice("stream.data", b"d", id=0, offset=3)]
        for frame in extra:
            backup_id = run.new_id()
            number = session.begin_upload(backup_id)
            end = notice("stream.end", id=number, length=session.feed(number, b"abc"))
            session.write(end + frame.replace(b'"id":0', f'"id":{number}'.encode()))
            answer = session.answer(number)
            if "error" in answer:
                session.error(number, "stream_violation")
            stored = backup_id in session.list_ids()
            equal(stored, "result" in answer, f"{brief(answer)}, listed")


@agent_check("S9.data-for-a-download")
def data_for_a_download(run: AgentRun) -> None:
    """Data for a request that takes none gets stream_violation."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(b"abc", backup_id)
        number = session.start("backup.download", target="t1", backup_id=backup_id, up_to=0)
        session.notify("stream.data", b"x", id=number, offset=0)
        session.error(number, "stream_violation")


@agent_check("S8.late-frames")
def late_frames(run: AgentRun) -> None:
    """Late messages for an answered request are silently dropped."""
    with run.session() as session:
        number = session.begin_upload()
        session.notify("cancel", id=number)
        session.error(number, "cancelled")
        before = len(session.frames)
        # Right after the response, and after the agent had time to forget the request.
        for _ in range(2):
            session.notify("stream.data", b"late", id=number, offset=0)
            session.notify("stream.end", id=number, length=4)
            session.notify("cancel", id=number)
            session.write(notice("stream.credit", id=number, up_to=9))
            session.ping()
        equal(len(session.frames) - before, 2, "messages")


@agent_check("S8.error-in-upload")
def error_in_upload(run: AgentRun) -> None:
    """After an error during an upload, data in transit is dropped."""
    with run.session() as session:
        backup_id = run.new_id()
        number = session.begin_upload(backup_id)
        frames = [
            notice("stream.data", pattern(50_000), id=number, offset=o) for o in (0, 9, 50_000)
        ]
        session.write(b"".join(frames) + notice("stream.end", id=number, length=100_000))
        session.error(number, "stream_violation")
        session.ping()
        expect(backup_id not in session.list_ids(), "a backup", "none")
        session.upload(b"again", backup_id)


# The checks of agents: progress, deadlines, cancel


@agent_check("P2+P3.upload-progress")
def upload_progress(run: AgentRun) -> None:
    """An upload reports progress while it waits for its host, and before its response."""
    with run.session() as session:
        number = session.begin_upload(progress_ms=100)
        session.wait(lambda: session.reports[number], "a report")
        session.notify("stream.end", id=number, length=session.feed(number, pattern(500_000)))
        session.result(number)
        last = session.reports[number][-1]
        equal(last["done"], 500_000, "done of the last report")


@agent_check("P2+P3.download-progress")
def download_progress(run: AgentRun) -> None:
    """A download reports progress while it waits for credit, and before its response."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(pattern(500_000), backup_id)
        number = session.start(
            "backup.download", target="t1", backup_id=backup_id, up_to=1000, progress_ms=100
        )
        waits = lambda: [r for r in session.reports[number] if r["waiting_for"] == "host"]
        session.wait(waits, "a report with waiting_for host")
        session.drain(number, MIB)
        equal(session.reports[number][-1]["done"], 500_000, "done of the last report")


@agent_check("P3+P1.any-request")
def progress_ranges(run: AgentRun) -> None:
    """progress_ms is 100 to 60,000, and every request on a target accepts it."""
    with run.session() as session:
        for wrong in ({"progress_ms": 99}, {"progress_ms": 60_001}, {"deadline_ms": -1}):
            session.fails("invalid_params", "backup.list", target="t1", **wrong)
        number = session.start("backup.list", target="t1", progress_ms=100, deadline_ms=MAX_INTEGER)
        session.result(number)


@agent_check("P2.heartbeat", slow=True)
def heartbeat(run: AgentRun) -> None:
    """A request without changes reports every ten seconds."""
    with run.session() as session:
        number = session.begin_upload(progress_ms=1000)
        session.wait(lambda: len(session.reports[number]) > 3, "more reports")
        session.notify("cancel", id=number)
        session.error(number, "cancelled")


@agent_check("P5.deadline")
def deadline(run: AgentRun) -> None:
    """A request ends in timeout at its deadline, also in the queue; nothing is stored."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(b"abc", backup_id)
        upload = session.start_upload(deadline_ms=300)
        download = {"backup_id": backup_id, "up_to": 0, "deadline_ms": 300}
        for number in (upload, session.start("backup.download", target="t1", **download)):
            details = session.error(number, "timeout").get("details", {})
            equal(details.get("stage"), "deadline", "stage")
        equal(session.list_ids().count(backup_id), 1, "backups")
        limit = session.hello["limits"]["max_transfers"]
        if limit <= 50:
            numbers = [session.start_upload(deadline_ms=300) for _ in range(limit + 2)]
            for number in numbers:
                session.error(number, "timeout")


@agent_check("C1.cancel-upload")
def cancel_upload(run: AgentRun) -> None:
    """A canceled upload gets cancelled and the reason, and nothing is stored."""
    with run.session() as session:
        backup_id = run.new_id()
        for sent in (0, 700_000):
            number = session.begin_upload(backup_id, size=MIB)
            session.feed(number, pattern(sent))
            session.notify("cancel", id=number, reason="source_failed")
            details = session.error(number, "cancelled").get("details", {})
            equal(details.get("reason"), "source_failed", "reason")
            expect(backup_id not in session.list_ids(), "a backup", "none")
        session.upload(b"again", backup_id)


@agent_check("C1+C4.cancel-download")
def cancel_download(run: AgentRun) -> None:
    """A canceled download is answered, with or without credit."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(pattern(600_000), backup_id)
        for up_to in (0, 1000):
            number = session.start("backup.download", target="t1", backup_id=backup_id, up_to=up_to)
            session.wait(lambda: len(session.data[number]) >= up_to, f"{up_to} bytes")
            session.notify("cancel", id=number, reason="user")
            session.error(number, "cancelled")
        expect(session.download(backup_id) == pattern(600_000), "other bytes", "the stored bytes")


@agent_check("C1.cancel-after-the-end")
def cancel_after_the_end(run: AgentRun) -> None:
    """A cancel after the end gets a result or cancelled, and the listing matches it."""
    with run.session() as session:
        for _ in range(3):
            backup_id = run.new_id()
            number = session.begin_upload(backup_id)
            end = notice("stream.end", id=number, length=session.feed(number, b"abc"))
            session.write(end + notice("cancel", id=number))
            answer = session.answer(number)
            if "error" in answer:
                session.error(number, "cancelled")
            equal(backup_id in session.list_ids(), "result" in answer, "listed")
        number = session.start("backup.list", target="t1")
        session.notify("cancel", id=number)
        if "error" in session.answer(number):
            session.error(number, "cancelled")


@agent_check("C3.harmless-cancels")
def harmless_cancels(run: AgentRun) -> None:
    """Cancels of unknown IDs and of ping are ignored, and repeated ones have no effect."""
    with run.session() as session:
        session.notify("cancel", id=12345, reason="x")
        number = next(session.numbers)
        session.write(session.request(number, "ping") + notice("cancel", id=number))
        session.result(number)
        upload = session.begin_upload()
        session.write(notice("cancel", id=upload) * 3)
        session.error(upload, "cancelled")
        session.ping()


@agent_check("C2.reason")
def long_reason(run: AgentRun) -> None:
    """A reason of more than 1,000 bytes is truncated."""
    with run.session() as session:
        number = session.begin_upload()
        session.notify("cancel", id=number, reason="ä" * 5000)
        reason = session.error(number, "cancelled")["details"]["reason"]
        expect(len(reason.encode()) <= 1000, f"{len(reason.encode())} bytes", "1,000 at most")
        expect(set(reason) == {"ä"}, reason, "a part of the reason")


# The checks of agents: log and end


@agent_check("L3.log-unread")
def log_unread(run: AgentRun) -> None:
    """The agent continues if its log is not read."""
    with run.session(read_log=False, log_level="debug") as session:
        for _ in range(40):
            numbers = [session.start("x-unknown." + "y" * 100) for _ in range(50)]
            for number in numbers:
                session.error(number, "method_not_found")
        session.ping()


@agent_check("X1.drain")
def shutdown_drain(run: AgentRun) -> None:
    """shutdown with drain lets requests finish, refuses new ones, and is answered last."""
    with run.session() as session:
        number = session.begin_upload()
        end = session.start("shutdown", mode="drain", timeout_ms=600_000)
        session.fails("shutting_down", "backup.list", target="t1")
        session.notify("stream.end", id=number, length=session.feed(number, pattern(100_000)))
        session.result(number)
        equal(session.result(end), {"aborted": []})
        order = [message.get("id") for message in session.frames if "method" not in message]
        expect(order.index(number) < order.index(end), order, "the response to shutdown last")
        session.close_input()
        session.exit_code(0)


@agent_check("X1.abort")
def shutdown_abort(run: AgentRun) -> None:
    """shutdown with abort, or a drain that takes too long, cancels running requests."""
    for params in ({"mode": "abort"}, {"mode": "drain", "timeout_ms": 200}):
        with run.session() as session:
            number = session.begin_upload()
            end = session.start("shutdown", **params)
            session.error(number, "shutting_down")
            equal(session.result(end), {"aborted": [number]})
            session.close_input()
            session.exit_code(0)
    with run.session() as session:
        for wrong in ({"mode": "x-now"}, {"timeout_ms": -1}):
            session.fails("invalid_params", "shutdown", **wrong)
        equal(session.call("shutdown"), {"aborted": []})
        session.close_input()
        session.exit_code(0)


@agent_check("X2+B1.end-in-transfers")
def end_in_transfers(run: AgentRun) -> None:
    """End of input, SIGTERM and SIGINT end the agent with 0, and nothing partial is stored."""
    backup_id = run.new_id()
    for number in (None, signal.SIGTERM, signal.SIGINT):
        with run.session() as session:
            upload = session.begin_upload(backup_id)
            session.feed(upload, pattern(100_000))
            if number is None:
                session.close_input()
            else:
                session.process.send_signal(number)
            session.exit_code(0, what=f"after {number or 'the end of the input'}, exit code")
    expect(backup_id not in run.backups(), "a backup", "none")


@agent_check("X2.signal-while-unread")
def signal_while_unread(run: AgentRun) -> None:
    """SIGTERM ends an agent whose responses are not read."""
    with run.session(read=False) as session:
        frames = [session.request(1, "initialize", protocol=1)]
        frames += [session.request(number, "ping") for number in range(2, 20_000)]
        os.read(session.stdout.fileno(), 1)  # it has started

        def write() -> None:
            with contextlib.suppress(OSError, ValueError):
                session.stdin.write(b"".join(frames))

        threading.Thread(target=write, daemon=True).start()
        session.process.send_signal(signal.SIGTERM)
        session.exit_code(0)


@agent_check("X3.output-closed")
def output_closed(run: AgentRun) -> None:
    """An agent whose output is closed ends with exit code 74."""
    with run.session(read=False) as session:
        os.read(session.stdout.fileno(), 1)
        session.stdout.close()
        # Another check that is starting a process may briefly hold a copy of the pipe, so the
        # write of a later response may be the one that fails.
        with contextlib.suppress(OSError):
            for number in range(1, 50):
                session.stdin.write(encode({"id": number, "method": "ping"}))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    session.process.wait(run.timeout / 50)
                    break
        session.exit_code(74)


# The checks of agents: slow ones


def resident(pid: int) -> int:
    """Returns the memory of a process in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        raise Skipped("this system has no /proc") from None
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def when_still(run: "AgentRun | HostRun", value: Callable[[], int]) -> int:
    """Returns the value once it has not increased for two seconds."""
    highest, since = value(), time.monotonic()
    begin = since
    while time.monotonic() - since < 2 and time.monotonic() - begin < run.timeout:
        time.sleep(0.05)
        if (now := value()) > highest:
            highest, since = now, time.monotonic()
    return highest


@agent_check("S3+F6.memory", slow=True, alone=True)
def memory(run: AgentRun) -> str:
    """Four downloads without further credit do not fill the agent's memory."""
    with run.session() as session:
        backup_id = run.new_id()
        session.upload(pattern(256 * MIB), backup_id, step=MIB)
        before = resident(session.process.pid)
        downloads = [
            session.start("backup.download", target="t1", backup_id=backup_id, up_to=4 * MIB)
            for _ in range(4)
        ]
        grown = when_still(run, lambda: resident(session.process.pid)) - before
        for number in downloads:
            session.notify("cancel", id=number)
            session.error(number, "cancelled")
        expect(grown < 192 * MIB, f"{grown // MIB} MiB more", "less than 192 MiB")
        return f"{grown // MIB} MiB more than before"


@agent_check("S10.throughput", slow=True, alone=True)
def throughput(run: AgentRun) -> str:
    """Reports the throughput, without a limit."""
    size = 256 * MIB
    with run.session() as session:
        backup_id, data = run.new_id(), pattern(256 * MIB)
        begin = time.monotonic()
        session.upload(data, backup_id, step=MIB)
        middle = time.monotonic()
        expect(session.download(backup_id, 8 * MIB) == data, "other bytes", "the stored bytes")
        up, down = size / (middle - begin) / 1e6, size / (time.monotonic() - middle) / 1e6
        return f"up {up:.0f} MB/s, down {down:.0f} MB/s"


for _name, _title in (
    ("F1.longest-line", "No line is longer than 65,536 bytes"),
    ("F3.payload", "Only stream.data has a payload"),
    ("F4.compact", "Lines are compact JSON without duplicate members"),
    ("M1.messages", "Every message is a notification or a response"),
    ("M2.known-ids", "Notifications name existing requests"),
    ("M3.no-requests", "The agent sends no requests"),
    ("O3.response-last", "The response is the last message about a request"),
    ("C1.one-response", "Each request has exactly one response"),
    ("S1.offset", "The data of downloads has no gaps"),
    ("S2.credit", "Downloads stay within their credit"),
    ("S5.begin", "stream.begin has its members"),
    ("S7.order", "A download is begin, data, end and response"),
    ("P8.shape", "Reports have their members"),
    ("P2.asked-for", "Reports come for requests with progress_ms only"),
    ("P2.not-too-often", "Reports are progress_ms apart"),
    ("P3.last-report", "A report precedes each success"),
    ("P4.done", "Progress never decreases"),
    ("C5+E3+E1.errors", "Errors have code, kind, retryable, and safe details"),
    ("K3.secrets", "No message and no line of the log contains a secret"),
    ("L1.lines", "Each line of the log is JSON"),
    ("L4.frames-only", "Standard output contains only frames"),
):
    observed_check(AGENT_CHECKS, _name, _title)


# The scripted agent for the checks of hosts


class Play:
    """An agent that follows a script and records the actions of its host.

    Each scenario below changes a part of it. It stores nothing: it only measures uploads, and
    each download has the bytes of `pattern`.
    """

    size = 600_000  # of the backup that can be downloaded
    step = 1 << 18  # of its data frames
    window = 4 * MIB  # credit of uploads
    pages: Sequence[Sequence[str]] = (("b1", "b2 ä"),)
    limits = {"max_line": MAX_LINE, "max_payload": MIB, "max_requests": 32, "max_transfers": 4}  # noqa: RUF012
    versions: Sequence[int] = (1,)

    def __init__(self, report: IO[str], stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.report, self.stdin, self.stdout = report, stdin, stdout
        self.ids: set[int] = set()
        self.running: dict[int, str] = {}
        self.methods: list[str] = []
        self.credit: dict[int, int] = {}
        self.granted: dict[int, int] = {}
        self.received: dict[int, int] = {}
        self.digests: dict[int, Any] = {}

    def write_down(self, **what: object) -> None:
        if self.report.tell() > MAX_OUTPUT:
            sys.exit(76)  # the host never stops
        self.report.write(json.dumps(what) + "\n")
        self.report.flush()

    def fault(self, name: str, text: str) -> None:
        self.write_down(fault=name, text=text)

    # To the host

    def write(self, data: bytes) -> None:
        self.stdout.write(data)
        self.stdout.flush()

    def say(self, method: str, payload: bytes = b"", /, **params: object) -> None:
        self.write(notice(method, payload, **params))

    def answer(self, request: Json, result: Json) -> None:
        self.running.pop(request["id"], None)
        self.write(encode({"id": request["id"], "result": result}))

    def refuse(self, request: Json, code: str, kind: str = "transient") -> None:
        self.running.pop(request["id"], None)
        data = {"code": code, "kind": kind, "retryable": False}
        error = {"code": NUMBERS.get(code, -32000), "message": f"it is {code}", "data": data}
        self.write(encode({"id": request["id"], "error": error}))

    def die(self) -> NoReturn:
        """Ends as after a crash."""
        os._exit(3)

    # From the host

    def receive(self) -> Frame:
        """Returns the next frame; ends this program if there is none."""
        try:
            frame = read_frame(self.stdin, self.fault)
        except Failed as reason:
            self.fault("F7.frames", str(reason))
            sys.exit(76)
        if frame is None:
            self.write_down(end="end of the input")
            sys.exit(0)
        self.observe(*frame)
        return frame

    def observe(self, message: Json, payload: bytes) -> None:
        method, params = message.get("method"), message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            self.fault(
                "M1.messages", f"saw {brief(message)}, expected a method with its parameters"
            )
            sys.exit(76)
        shown = params if method != "target.open" else {}  # its config has secrets
        self.write_down(got=method, params=shown, size=len(payload))
        if "id" in message:
            number = message["id"]
            if type(number) is not int or not 1 <= number <= MAX_INTEGER or number in self.ids:
                self.fault("M2.ids", f"saw the id {number!r}, expected a new one")
            if (not self.methods) != (method == "initialize"):
                self.fault(
                    "H4.first", f"saw {method}, expected initialize as the first request, once"
                )
            self.ids.add(number)
            self.running[number] = method
            self.methods.append(method)
        elif params.get("id") in self.running:
            self.observe_stream(method, params, payload)

    def observe_stream(self, method: str, params: Json, payload: bytes) -> None:
        number = params["id"]
        match method:
            case "stream.data":
                received = self.received.get(number, 0)
                if params.get("offset") != received or not payload:
                    self.fault("S1.offset", f"saw {params}, expected the offset {received}")
                received += len(payload)
                if received > self.granted.get(number, 0):
                    self.fault("S2.credit", f"saw {received} bytes with {self.granted} granted")
                if len(payload) > self.limits["max_payload"]:
                    self.fault("F2.max-payload", f"saw a payload of {len(payload)} bytes")
                self.received[number] = received
                self.digests.setdefault(number, hashlib.sha256()).update(payload)
            case "stream.end":
                if params.get("length") != self.received.get(number, 0):
                    self.fault(
                        "S6.length", f"saw {params}, expected {self.received.get(number, 0)}"
                    )
            case "stream.credit":
                self.credit[number] = max(self.credit.get(number, 0), params["up_to"])

    # The script

    def main(self) -> None:
        self.hello()
        while True:
            self.handle(*self.receive())

    def hello(self) -> None:
        self.say(
            "hello",
            protocol="backup-agent",
            versions=list(self.versions),
            agent={"name": "scripted-agent", "version": "1"},
            capabilities={"target.memory": {}},
            limits=self.limits,
        )

    def handle(self, message: Json, payload: bytes) -> None:
        name = message["method"].replace(".", "_")
        act = getattr(self, f"on_{name}", None)
        if act:
            act(message)
        elif "id" in message:
            self.refuse(message, "method_not_found", "protocol")

    def on_initialize(self, request: Json) -> None:
        self.answer(request, {"protocol": 1})

    def on_ping(self, request: Json) -> None:
        self.answer(request, {})

    def on_target_open(self, request: Json) -> None:
        self.answer(request, {"target": request["params"]["target"]})

    on_target_close = on_target_open

    def on_target_validate(self, request: Json) -> None:
        checks = [
            {"name": "list", "status": "passed", "ms": 1, "message": "m", "details": {"x": 1}}
        ]
        self.answer(request, {"ok": True, "checks": checks, "details": {}})

    def on_backup_list(self, request: Json) -> None:
        page = int(request["params"].get("cursor") or 0)
        backups = [self.backup(backup_id) for backup_id in self.pages[page]]
        following = str(page + 1) if page + 1 < len(self.pages) else None
        self.answer(request, {"backups": backups, "next": following, "skipped": []})

    def on_backup_get(self, request: Json) -> None:
        self.answer(request, {"backup": self.backup(request["params"]["backup_id"])})

    def on_backup_delete(self, request: Json) -> None:
        self.answer(request, {"deleted": True})

    def on_shutdown(self, request: Json) -> None:
        self.answer(request, {"aborted": []})

    def on_cancel(self, message: Json) -> None:
        number = message["params"]["id"]
        if number in self.running:
            self.refuse({"id": number}, "cancelled", "cancelled")

    def on_backup_upload(self, request: Json) -> None:
        self.grant(request["id"], self.window)

    def grant(self, number: int, up_to: int) -> None:
        self.granted[number] = max(up_to, self.granted.get(number, 0))
        self.say("stream.credit", id=number, up_to=up_to)

    def on_stream_data(self, message: Json) -> None:
        number = message["params"]["id"]
        if (
            number in self.running
            and self.granted[number] - self.received[number] <= self.window // 2
        ):
            self.grant(number, self.received[number] + self.window)

    def on_stream_end(self, message: Json) -> None:
        number = message["params"]["id"]
        if number in self.running:
            self.stored(number)

    def stored(self, number: int) -> None:
        digest = self.digests.get(number, hashlib.sha256()).hexdigest()
        self.write_down(stored=self.received.get(number, 0), sha256=digest)
        self.answer({"id": number}, {"backup": self.backup("b1", self.received.get(number, 0))})

    def on_backup_download(self, request: Json) -> None:
        self.credit[request["id"]] = request["params"]["up_to"]
        self.begin(request)
        if self.send(request["id"], self.size):
            self.end(request)

    def begin(self, request: Json, **changes: object) -> None:
        backup = self.backup(request["params"]["backup_id"])
        params = {"id": request["id"], "length": self.size, "offset": 0, "backup": backup}
        self.say("stream.begin", **params | changes)

    def send(self, number: int, end: int, start: int = 0) -> bool:
        """Sends data within the credit. Returns whether the request still runs."""
        while start < end:
            while self.credit[number] <= start and number in self.running:
                self.handle(*self.receive())
            if number not in self.running:
                return False
            size = min(self.step, end - start, self.credit[number] - start)
            self.say("stream.data", pattern(size, start), id=number, offset=start)
            start += size
        return number in self.running

    def end(self, request: Json) -> None:
        self.say("stream.end", id=request["id"], length=self.size)
        self.answer(request, {"length": self.size, "verified": True})

    def backup(self, backup_id: str, size: int | None = None) -> Json:
        length = self.size if size is None else size
        names = {"id": backup_id, "name": f"Backup_{backup_id}", "size": length}
        return names | {"stored_size": length, "has_checksums": True, "metadata": {}}


class Silent(Play):
    def hello(self) -> None:
        self.receive()


class SlowHello(Play):
    def hello(self) -> None:
        time.sleep(0.7)  # a second is allowed
        super().hello()


class Banner(Play):
    def hello(self) -> None:
        self.write(b"Welcome to the machine\n")
        super().hello()


class OtherProtocol(Play):
    def hello(self) -> None:
        self.say("hello", protocol="mail", versions=[1], limits=self.limits)
        self.receive()


class OtherVersion(Play):
    versions = (2, 7)


class RefusedVersion(Play):
    def on_initialize(self, request: Json) -> None:
        self.refuse(request, "unsupported_protocol", "protocol")


class NoLimits(Play):
    limits = {"max_payload": 65_536}  # noqa: RUF012 - the defaults

    def hello(self) -> None:
        agent = {"name": "scripted-agent", "version": "1"}
        params = {"protocol": "backup-agent", "versions": [1], "agent": agent, "capabilities": {}}
        self.say("hello", **params)


class ManyPages(Play):
    pages = (("b1", "b2"), (), ("b3",), ("b4",))


class Empty(Play):
    pages = ((),)


class Newer(Play):
    """Sends elements that do not exist yet."""

    def hello(self) -> None:
        capabilities = {"target.memory": {"x": 1}, "x-new": {}}
        self.say(
            "hello",
            protocol="backup-agent",
            versions=[2, 1],
            agent={"name": "scripted-agent", "version": "1", "x": 1},
            capabilities=capabilities,
            limits=self.limits | {"x": 1},
            x_new=[1],
        )

    def write(self, data: bytes) -> None:
        super().write(data + notice("x-news", b'{"id":1,"result":{}}\n', x=1))

    def answer(self, request: Json, result: Json) -> None:
        report = {"done": 0, "total": None, "waiting_for": None, "retries": 0}
        self.say("progress", id=request["id"], phase="x-dreaming", **report)
        self.say("x-more", b"\n\n", id=request["id"])
        super().answer(request, result | {"x_new": 1})


class LongLine(Play):
    def on_backup_list(self, request: Json) -> None:
        line = notice("x-news", text="")
        self.write(line.replace(b'""', b'"' + b"y" * (MAX_LINE - len(line)) + b'"'))
        super().on_backup_list(request)


class TooLongLine(Play):
    def on_backup_list(self, request: Json) -> None:
        line = notice("x-news", text="")
        self.write(line.replace(b'""', b'"' + b"y" * (MAX_LINE + 1 - len(line)) + b'"'))
        super().on_backup_list(request)


class Garbage(Play):
    def on_backup_list(self, request: Json) -> None:
        self.write(b"a stray print\n")
        super().on_backup_list(request)


class WrongPayload(Play):
    step = 1000

    def send(self, number: int, end: int, start: int = 0) -> bool:
        self.write(b'{"method":"stream.data","params":{"id":%d,"offset":0},"payload":3}\n' % number)
        self.write(b"1234\n")
        return super().send(number, end, start)


def noise() -> None:
    """Writes a megabyte to standard error."""
    for number in range(10_000):
        text = {"ts": "2026-11-20T03:00:00Z", "level": "info", "msg": f"line {number}"}
        print(json.dumps(text | {"filler": "x" * 40}), file=sys.stderr)
    print("a line of the loader", file=sys.stderr, flush=True)


class Noisy(Play):
    def hello(self) -> None:
        noise()
        super().hello()

    def end(self, request: Json) -> None:
        noise()
        super().end(request)

    def on_stream_end(self, message: Json) -> None:
        noise()
        super().on_stream_end(message)


class SmallFrames(Play):
    size, step = 1500, 1


class LargeFrames(Play):
    size, step = 3 * MIB + 17, MIB


class NoBytes(Play):
    size = 0


class SmallWindow(Play):
    window = 1000
    limits = Play.limits | {"max_payload": 65_536}


class SmallPayload(Play):
    limits = Play.limits | {"max_payload": 65_536}


class Full(Play):
    """Ends an upload early."""

    def on_stream_data(self, message: Json) -> None:
        number = message["params"]["id"]
        if number in self.running:
            self.refuse({"id": number}, "quota_exceeded", "limit")


class Exists(Play):
    def on_backup_upload(self, request: Json) -> None:
        self.refuse(request, "already_exists", "conflict")


class Missing(Play):
    def on_backup_download(self, request: Json) -> None:
        self.refuse(request, "not_found", "not_found")

    on_backup_delete = on_backup_download


class NewCode(Play):
    def on_backup_list(self, request: Json) -> None:
        self.refuse(request, "x_new_code", "transient")


class BadTarget(Play):
    def on_target_validate(self, request: Json) -> None:
        error = {"message": "no", "code": "invalid_credentials", "kind": "auth", "retryable": False}
        checks = [
            {"name": "list", "status": "failed", "ms": 1, "message": "m", "error": error},
            {"name": "write", "status": "passed", "ms": 1},
        ]
        suggestion = {"region": "r", "x-new": [1]}
        self.answer(
            request, {"ok": False, "checks": checks, "details": {}, "suggestion": suggestion}
        )


class OddTarget(Play):
    """Validates with warnings."""

    def on_target_validate(self, request: Json) -> None:
        error = {"message": "no", "code": "clock_skew", "kind": "auth", "retryable": False}
        checks = [
            {"name": "clock", "status": "warning", "ms": 1, "error": error},
            {"name": "list", "status": "skipped", "ms": 0, "message": "m"},
            {"name": "x-new", "status": "x-odd", "ms": 1, "error": error},
        ]
        suggestion = {"endpoint": "memory:"}
        self.answer(
            request, {"ok": True, "checks": checks, "details": {}, "suggestion": suggestion}
        )


class BadConfig(Play):
    def on_target_open(self, request: Json) -> None:
        self.refuse(request, "invalid_config", "config")


class NotWhole(Play):
    """Sends all bytes, then an error."""

    def end(self, request: Json) -> None:
        self.say("stream.end", id=request["id"], length=self.size)
        self.refuse(request, "integrity_mismatch", "integrity")


class CutOff(Play):
    """Answers with a success, although half of the stream is missing."""

    def on_backup_download(self, request: Json) -> None:
        self.credit[request["id"]] = request["params"]["up_to"]
        self.begin(request)
        self.send(request["id"], self.size // 2)
        self.answer(request, {"length": self.size, "verified": True})


class ShortStream(Play):
    """Sends a shorter stream than announced in stream.begin."""

    def on_backup_download(self, request: Json) -> None:
        self.credit[request["id"]] = request["params"]["up_to"]
        self.begin(request, length=self.size + 1)
        if self.send(request["id"], self.size):
            self.end(request)


class WrongEnd(Play):
    def end(self, request: Json) -> None:
        self.say("stream.end", id=request["id"], length=self.size + 1)
        self.answer(request, {"length": self.size, "verified": True})


class Gap(Play):
    def send(self, number: int, end: int, start: int = 0) -> bool:
        self.say("stream.data", pattern(5), id=number, offset=0)
        return super().send(number, end, 10)


class NoBegin(Play):
    def begin(self, request: Json, **changes: object) -> None:
        """Sends nothing."""


class TooMuch(Play):
    """Sends more than its credit."""

    size = 1 << 26

    def send(self, number: int, end: int, start: int = 0) -> bool:
        self.credit[number] = end
        return super().send(number, end, start)


class GivesUp(Play):
    """Rejects each message as an invalid frame."""

    def on_backup_list(self, request: Json) -> None:
        data = {"code": "parse_error", "kind": "protocol", "retryable": False}
        error = {"code": -32700, "message": "this is no frame", "data": data}
        self.write(encode({"id": None, "error": error}))
        sys.exit(76)


class EndsInLine(Play):
    def on_backup_list(self, request: Json) -> None:
        self.write(b'{"jsonrpc":"2.0","id":')
        self.die()

    def on_backup_download(self, request: Json) -> None:
        self.begin(request)
        self.write(notice("stream.data", pattern(1000), id=request["id"], offset=0)[:-2])
        self.die()


class NoAnswer(Play):
    """Responds with neither a result nor a code."""

    def on_backup_list(self, request: Json) -> None:
        self.write(encode({"id": request["id"], "error": {"code": -32000, "message": "no"}}))

    def on_backup_delete(self, request: Json) -> None:
        self.write(encode({"id": request["id"]}))


class StrangeAnswers(Play):
    """Responds to unknown IDs, and sends a request itself."""

    def answer(self, request: Json, result: Json) -> None:
        self.write(encode({"id": 900_000_000, "result": {}}))
        self.refuse({"id": 900_000_001}, "x_new_code")
        self.write(encode({"id": request["id"] + 900_000_002, "method": "x-ask", "params": {}}))
        super().answer(request, result)


class DiesAtStart(Play):
    def hello(self) -> None:
        print("no such library", file=sys.stderr, flush=True)
        self.die()


class DiesAfterHello(Play):
    def on_initialize(self, request: Json) -> None:
        self.die()


class DiesInOpen(Play):
    def on_target_open(self, request: Json) -> None:
        self.die()


class DiesInRequest(Play):
    def on_backup_list(self, request: Json) -> None:
        self.die()

    on_backup_delete = on_target_validate = on_backup_upload = on_backup_list
    on_backup_download = on_backup_list


class DiesInStream(Play):
    def on_stream_data(self, message: Json) -> None:
        self.die()

    def on_backup_download(self, request: Json) -> None:
        self.begin(request)
        self.say("stream.data", pattern(5), id=request["id"], offset=0)
        self.die()


class DiesAtTheEnd(Play):
    def stored(self, number: int) -> None:
        self.die()

    def end(self, request: Json) -> None:
        self.say("stream.end", id=request["id"], length=self.size)
        self.die()


class NoMoreCredit(Play):
    """Grants one MiB and no more, until the kit sends a signal."""

    window = MIB

    def on_stream_data(self, message: Json) -> None:
        """Grants nothing."""


class Endless(Play):
    size, step = 1 << 40, MIB


class Stubborn(Play):
    """Ends only by force."""

    def main(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            super().main()
        except SystemExit:
            while True:
                signal.pause()

    def on_shutdown(self, request: Json) -> None:
        """Sends no response."""


def play(name: str, report_path: str) -> None:
    """Plays one scenario."""
    signal.alarm(LIFETIME)  # in case the host does not end its agent
    kinds: list[type[Play]] = [Play, *Play.__subclasses__()]
    scenario = {kind.__name__: kind for kind in kinds}[name]
    # Locked while this process runs, so that the kit notices its end.
    with Path(report_path).open("a") as report:
        fcntl.flock(report, fcntl.LOCK_EX)
        stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
        actor = scenario(report, stdin, stdout)
        actor.write_down(argv=sys.argv, environment=dict(os.environ))
        try:
            actor.main()
        except OSError:  # the host no longer reads
            os._exit(74)


# A host under test


class Outcome:
    """The result of a host, and the records of its agent."""

    def __init__(self, exit_code: int, stdout: bytes, stderr: bytes, report: Path) -> None:
        self.exit_code, self.stdout = exit_code, stdout
        self.stderr = stderr.decode(errors="replace")
        text = report.read_text() if report.exists() else ""
        # The last line may be incomplete.
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        self.report: list[Json] = [json.loads(line) for line in lines]

    def methods(self) -> list[str]:
        return [entry["got"] for entry in self.report if "got" in entry]

    def __repr__(self) -> str:
        return f"exit code {self.exit_code}, stderr {self.stderr!r}"

    def succeeded(self, stdout: bytes = b"") -> None:
        expect(self.exit_code == 0, self, "exit code 0")
        expect(self.stdout == stdout, f"{len(self.stdout)} bytes {self.stdout[:50]!r}", stdout[:50])

    def failed(self, exit_code: int, *codes: str) -> None:
        expect(self.exit_code == exit_code, self, f"exit code {exit_code}")
        first = self.stderr.partition("\n")[0].strip()
        expect(not codes or first in codes, self, f"{' or '.join(codes)} on standard error")


class HostRun:
    """State shared by the checks of a host."""

    def __init__(self, command: Sequence[str], options: argparse.Namespace) -> None:
        self.command, self.timeout = command, options.timeout
        self.observed = Observed()
        self.secret = f"canary-{uuid.uuid4().hex}"
        self.folder = tempfile.TemporaryDirectory()  # exists as long as this object

    @contextlib.contextmanager
    def start(self, scenario: str | None, *words: str) -> Iterator["Running"]:
        with tempfile.TemporaryDirectory(dir=self.folder.name) as folder:
            running = Running(self, scenario, Path(folder), words)
            try:
                yield running
            finally:
                running.kill()

    def try_out(self) -> None:
        """Runs one command before all checks, because without it nearly every check would fail."""
        try:
            with self.start("Play", "list") as running:
                outcome = running.finish(timeout=min(self.timeout, PATIENCE))
            outcome.succeeded("b1\nb2 ä\n".encode())
        except OSError as error:
            raise Unusable(f"the host cannot be started: {error}") from None
        except Failed as reason:
            shown = str(reason).replace(self.secret, "***")
            raise Unusable(f"the host cannot list the backups of an agent: {shown}") from None

    def host(self, scenario: str | None, *words: str, data: bytes = b"") -> Outcome:
        """Runs the host to its end."""
        with self.start(scenario, *words) as running:
            return running.finish(data)


class Running:
    def __init__(
        self, run: HostRun, scenario: str | None, folder: Path, words: Sequence[str]
    ) -> None:
        self.run, self.report = run, folder / "report"
        config = folder / "config.json"
        config.write_text(json.dumps({"type": "memory", "x_secret": run.secret}))
        # An import, so that it is compiled once and not for each agent.
        here = str(Path(__file__).resolve().parent)
        program = f"import sys; sys.path.insert(0, {here!r}); import conform; conform.main()"
        cache = f"pycache_prefix={sys.pycache_prefix or run.folder.name}"
        agent = [sys.executable, "-X", cache, "-c", program, "play", scenario, str(self.report)]
        command = agent if scenario else [str(folder / "no-such-program")]
        names = {"BACKUP_AGENT": json.dumps(command), "BACKUP_AGENT_CONFIG": str(config)}
        self.process = subprocess.Popen(
            [*run.command, *words],
            env=os.environ | names,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    def finish(self, data: bytes = b"", timeout: float | None = None) -> Outcome:
        """Sends this input, and waits for the end."""
        patience = timeout or self.run.timeout
        stdout, stderr = bytearray(), bytearray()
        threads = [
            threading.Thread(target=self.feed, args=[data], daemon=True),
            threading.Thread(target=self.read, args=[self.process.stdout, stdout], daemon=True),
            threading.Thread(target=self.read, args=[self.process.stderr, stderr], daemon=True),
        ]
        for thread in threads:
            thread.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
            for thread in threads:
                thread.join(patience)
        for text in (stdout, stderr):
            is_much = len(text) > MAX_OUTPUT
            expect(not is_much, f"endless output {brief(bytes(text[:50]))}", "an end of the output")
        if any(thread.is_alive() for thread in threads):
            raise Failed(f"saw a host that does not end within {patience:.3g} s")
        return self.outcome(bytes(stdout), bytes(stderr))

    def feed(self, data: bytes) -> None:
        pipe = self.process.stdin
        with contextlib.suppress(OSError, ValueError):
            view = memoryview(data)
            while view and pipe:
                view = view[pipe.write(view) or 0 :]
        with contextlib.suppress(OSError):
            if pipe:
                pipe.close()

    def read(self, pipe: IO[bytes] | None, data: bytearray) -> None:
        """Reads all output. A host that writes more than MAX_OUTPUT is killed."""
        with contextlib.suppress(OSError, ValueError):
            while pipe and (chunk := pipe.read(MIB)):
                data += chunk
                if len(data) > MAX_OUTPUT:
                    self.kill_group()
                    break

    def finish_waiting(self) -> Outcome:
        """Waits for the end with open pipes. The host must not write much."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.run.timeout)
            return self.finish()
        raise Failed(f"saw a host that does not end within {self.run.timeout} s")

    def outcome(self, stdout: bytes, stderr: bytes) -> Outcome:
        """Also waits for the end of the agent."""
        outcome = Outcome(self.process.returncode, stdout, stderr, self.report)
        self.run.observed.sessions += 1
        if self.report.exists():
            begin = time.monotonic()
            with self.report.open() as report:
                while not unlocked(report):
                    if time.monotonic() - begin > self.run.timeout:
                        fault = f"saw an agent that goes on after its host has ended: {outcome}"
                        self.run.observed.fault("X4.agent-ends", fault)
                        break
                    time.sleep(0.02)
        outcome = Outcome(self.process.returncode, stdout, stderr, self.report)
        for entry in outcome.report:
            if "fault" in entry:
                self.run.observed.fault(entry["fault"], entry["text"])
            if "argv" in entry and self.run.secret in json.dumps(entry):
                self.run.observed.fault("K2.secrets", "saw the secret in arguments or environment")
        if self.run.secret in outcome.stderr:
            self.run.observed.fault("K3.secrets", "saw the secret on standard error")
        return outcome

    def seen(self) -> list[Json]:
        """Returns the records of the agent so far."""
        return Outcome(0, b"", b"", self.report).report

    def wait_for(self, ready: Callable[[list[Json]], object], what: str) -> None:
        """Waits for a record of the agent."""
        begin = time.monotonic()
        while not ready(self.seen()):
            if self.process.poll() is not None or time.monotonic() - begin > self.run.timeout:
                raise Failed(f"saw a host with exit code {self.process.returncode} before {what}")
            time.sleep(0.02)

    def kill_group(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        self.kill_group()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


def unlocked(file: IO[str]) -> bool:
    """Returns whether the agent that wrote this report has ended."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# The checks of hosts


@host_check("H4.commands")
def commands(run: HostRun) -> None:
    """list, delete and validate work."""
    run.host("Play", "list").succeeded("b1\nb2 ä\n".encode())
    run.host("Empty", "list").succeeded()
    run.host("Play", "validate").succeeded()
    deleted = run.host("Play", "delete", "b1")
    deleted.succeeded()
    asked = [entry["params"] for entry in deleted.report if entry.get("got") == "backup.delete"]
    equal([params["backup_id"] for params in asked], ["b1"], "backup.delete")


@host_check("N1.pages")
def host_pages(run: HostRun) -> None:
    """The host follows next until it is null."""
    run.host("ManyPages", "list").succeeded(b"b1\nb2\nb3\nb4\n")


def stored(outcome: Outcome, data: bytes) -> None:
    """Expects a successful upload with these bytes."""
    outcome.succeeded()
    found = [(e["stored"], e["sha256"]) for e in outcome.report if "stored" in e]
    expected = [(len(data), hashlib.sha256(data).hexdigest())]
    expect(found == expected, f"stored {found}", f"{expected}")


@host_check("S1+S6.upload")
def host_upload(run: HostRun) -> None:
    """An upload delivers all bytes, for any content and size."""
    for data in (b"a", b"\r\n{}\n\n" * 5000, pattern(9 * MIB + 1)):
        stored(run.host("Play", "upload", "b1", data=data), data)


@host_check("S2.small-steps")
def small_steps(run: HostRun) -> None:
    """The host accepts credit in steps of a few hundred bytes."""
    stored(run.host("SmallWindow", "upload", "b1", data=pattern(100_000)), pattern(100_000))


@host_check("F2+H3.small-payload")
def small_payload(run: HostRun) -> None:
    """No payload is larger than the agent's max_payload, which is 65,536 by default."""
    data = pattern(3 * MIB)
    for scenario in ("SmallPayload", "NoLimits"):
        outcome = run.host(scenario, "upload", "b1", data=data)
        stored(outcome, data)
        sizes = [entry["size"] for entry in outcome.report if "got" in entry]
        expect(max(sizes) <= 65_536, f"a payload of {max(sizes)} bytes", "at most 65,536")


@host_check("S3.download")
def host_download(run: HostRun) -> None:
    """The host accepts downloads in frames of 1 byte, of 1 MiB, and empty ones."""
    scenarios: list[type[Play]] = [Play, SmallFrames, LargeFrames, NoBytes]
    for scenario in scenarios:
        outcome = run.host(scenario.__name__, "download", "b1")
        outcome.succeeded(pattern(scenario.size))


@host_check("M5+V2+V4.newer-agent")
def newer_agent(run: HostRun) -> None:
    """The host ignores unknown members, notifications with payload, capabilities and phases."""
    run.host("Newer", "list").succeeded("b1\nb2 ä\n".encode())
    run.host("Newer", "download", "b1").succeeded(pattern(600_000))
    stored(run.host("Newer", "upload", "b1", data=pattern(300_000)), pattern(300_000))


@host_check("E2.errors")
def host_errors(run: HostRun) -> None:
    """An error gives exit code 1 and its code, also for unknown codes."""
    run.host("Missing", "download", "b1").failed(1, "not_found")
    run.host("Missing", "delete", "b1").failed(1, "not_found")
    run.host("NewCode", "list").failed(1, "x_new_code")
    run.host("BadConfig", "list").failed(1, "invalid_config")
    run.host("BadTarget", "validate").failed(1, "invalid_credentials")


@host_check("T5+V4.warnings")
def host_warnings(run: HostRun) -> None:
    """A warning, also with an error, or an unknown status is not a failure."""
    run.host("OddTarget", "validate").succeeded()


@host_check("S4.refused-upload")
def refused_upload(run: HostRun) -> None:
    """The host sends no data for a refused upload."""
    outcome = run.host("Exists", "upload", "b1", data=pattern(300_000))
    outcome.failed(1, "already_exists")
    expect("stream.data" not in outcome.methods(), "data", "none")


@host_check("S8.error-in-upload")
def host_error_in_upload(run: HostRun) -> None:
    """The host reports an error during an upload, and sends no more data."""
    outcome = run.host("Full", "upload", "b1", data=pattern(64 * MIB))
    outcome.failed(1, "quota_exceeded")
    sent = sum(entry["size"] for entry in outcome.report if "got" in entry)
    expect(sent <= Play.window, f"{sent} bytes", f"at most the credit of {Play.window}")


@host_check("S7.bad-verdict")
def bad_verdict(run: HostRun) -> None:
    """An error after the end of a download is a failure."""
    run.host("NotWhole", "download", "b1").failed(1, "integrity_mismatch")


@host_check("D2+S7+S11.incomplete-download")
def incomplete_download(run: HostRun) -> None:
    """A truncated download, or one with a wrong length, is a failure."""
    for scenario in ("CutOff", "ShortStream", "WrongEnd"):
        run.host(scenario, "download", "b1").failed(2, "agent_protocol")


@host_check("S1+S2+S5+S11.broken-stream")
def broken_stream(run: HostRun) -> None:
    """A gap, data before stream.begin, and data beyond the credit are failures."""
    for scenario in ("Gap", "NoBegin"):
        run.host(scenario, "download", "b1").failed(2, "agent_protocol")
    with run.start("TooMuch", "download", "b1") as running:
        # A host whose output is not read grants no more.
        running.wait_for(lambda r: any(e.get("got") == "backup.download" for e in r), "a download")
        when_still(run, lambda: len(running.seen()))
        running.finish().failed(2, "agent_protocol")


@host_check("M6.responses")
def responses(run: HostRun) -> None:
    """Unexpected responses and requests are dropped; an error without a code is agent_protocol."""
    run.host("StrangeAnswers", "list").succeeded("b1\nb2 ä\n".encode())
    run.host("NoAnswer", "list").failed(2, "agent_protocol")
    run.host("NoAnswer", "delete", "b1").failed(2, "agent_protocol")


@host_check("H3.not-an-agent")
def not_an_agent(run: HostRun) -> None:
    """The host detects and ends a program that is not an agent."""
    for scenario in ("Banner", "OtherProtocol", "OtherVersion", "DiesAtStart"):
        run.host(scenario, "list").failed(2, *CODES_OF_HOSTS)
    run.host(None, "list").failed(2, "agent_start_failed")
    outcome = run.host("RefusedVersion", "list")
    expect(outcome.exit_code in (1, 2), outcome, "exit code 1 or 2")


@host_check("H3.no-hello")
def no_hello(run: HostRun) -> None:
    """The host limits the time that it waits for hello."""
    run.host("SlowHello", "list").succeeded("b1\nb2 ä\n".encode())
    run.host("Silent", "list").failed(2, *CODES_OF_HOSTS)


@host_check("X6.agent-dies")
def agent_dies(run: HostRun) -> None:
    """An agent that ends too early at any point is agent_gone."""
    run.host("DiesAfterHello", "list").failed(2, *CODES_OF_HOSTS)
    run.host("DiesInOpen", "list").failed(2, "agent_gone")
    for command in (["list"], ["validate"], ["delete", "b1"], ["download", "b1"]):
        run.host("DiesInRequest", *command).failed(2, "agent_gone")
    for scenario in ("DiesInRequest", "DiesInStream", "DiesAtTheEnd"):
        run.host(scenario, "upload", "b1", data=pattern(300_000)).failed(2, "agent_gone")
    for scenario in ("DiesInStream", "DiesAtTheEnd"):
        run.host(scenario, "download", "b1").failed(2, "agent_gone")


@host_check("F7+X6.agent-gives-up")
def agent_gives_up(run: HostRun) -> None:
    """An end inside a frame, and a response with "id":null, are agent_gone."""
    run.host("EndsInLine", "list").failed(2, "agent_gone")
    run.host("EndsInLine", "download", "b1").failed(2, "agent_gone")
    run.host("GivesUp", "list").failed(2, "agent_gone")


@host_check("F1.long-line")
def host_long_line(run: HostRun) -> None:
    """The host reads a line of 65,536 bytes."""
    run.host("LongLine", "list").succeeded("b1\nb2 ä\n".encode())


@host_check("F7.no-frame")
def host_no_frame(run: HostRun) -> None:
    """An invalid frame is agent_protocol, and the host ends the agent."""
    run.host("Garbage", "list").failed(2, "agent_protocol")
    run.host("TooLongLine", "list").failed(2, "agent_protocol")
    run.host("WrongPayload", "download", "b1").failed(2, "agent_protocol")


@host_check("L2.log")
def host_log(run: HostRun) -> None:
    """A megabyte of log before hello and during a transfer blocks nothing."""
    run.host("Noisy", "download", "b1").succeeded(pattern(600_000))
    stored(run.host("Noisy", "upload", "b1", data=pattern(300_000)), pattern(300_000))


@host_check("S6.interrupted")
def interrupted(run: HostRun) -> None:
    """A host interrupted during an upload does not send stream.end."""
    with run.start("NoMoreCredit", "upload", "b1") as running:
        assert running.process.stdin
        with contextlib.suppress(OSError):
            running.process.stdin.write(pattern(60_000))
        running.wait_for(lambda r: any(e.get("got") == "backup.upload" for e in r), "an upload")
        running.process.send_signal(signal.SIGINT)
        # Its source stays open without more data.
        outcome = running.finish_waiting()
    expect(outcome.exit_code != 0, outcome, "an exit code other than 0")
    expect("stream.end" not in outcome.methods(), "stream.end", "none")


@host_check("S7.closed-sink")
def closed_sink(run: HostRun) -> None:
    """A host whose output is closed ends with a failure."""
    with run.start("Endless", "download", "b1") as running:
        assert running.process.stdout
        running.process.stdout.read(10)
        running.process.stdout.close()
        running.process.stdout = None
        outcome = running.finish()
    expect(outcome.exit_code != 0, outcome, "an exit code other than 0")


@host_check("F6+S3.slow-sink")
def slow_sink(run: HostRun) -> None:
    """A host whose output is not read does not grant endless credit."""
    most = 64 * MIB

    def granted() -> int:
        seen = [entry["params"] for entry in running.seen() if "params" in entry]
        return max((params.get("up_to", 0) for params in seen), default=0)

    with run.start("Endless", "download", "b1") as running:
        running.wait_for(lambda r: any(e.get("got") == "backup.download" for e in r), "a download")
        highest = 0
        while (now := granted()) <= most and now > highest:
            highest = when_still(run, lambda: min(granted(), most + 1))
        expect(now <= most, f"credit of {now} bytes", f"at most {most}")
        assert running.process.stdout
        running.process.stdout.close()
        running.process.stdout = None
        running.finish()


@host_check("S2+S4.slow-agent")
def slow_agent(run: HostRun) -> None:
    """The host does not read its source much faster than the agent grants credit."""
    most = 32 * MIB
    with run.start("NoMoreCredit", "upload", "b1") as running:
        taken = 0
        pipe = running.process.stdin
        assert pipe

        def write() -> None:
            nonlocal taken
            with contextlib.suppress(OSError, ValueError):
                while taken <= most:
                    taken += pipe.write(pattern(65_536)) or 0

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        when_still(run, lambda: taken)
        running.kill()
        thread.join()
    expect(taken <= most, f"{taken} bytes taken with 1 MiB granted", f"at most {most}")


@host_check("X4.stubborn-agent", slow=True)
def stubborn_agent(run: HostRun) -> None:
    """The host kills an agent that does not end."""
    run.host("Stubborn", "list").succeeded("b1\nb2 ä\n".encode())


for _name, _title in (
    ("F1.longest-line", "No line is longer than 65,536 bytes"),
    ("F4.compact", "Lines are compact JSON without duplicate members"),
    ("F7.frames", "The host writes only frames"),
    ("M1.messages", "Every message has a method and an object as parameters"),
    ("M2.ids", "IDs are integers, and none is used twice"),
    ("H4.first", "initialize is the first request, and is sent once"),
    ("F2.max-payload", "No payload is larger than max_payload"),
    ("S1.offset", "The data of uploads has no gaps"),
    ("S2.credit", "Uploads stay within their credit"),
    ("S6.length", "stream.end has the length of the stream"),
    ("K2.secrets", "The agent's arguments and environment contain no secrets"),
    ("K3.secrets", "Standard error contains no secret"),
    ("X4.agent-ends", "The agent ends with its host, or soon after"),
):
    observed_check(HOST_CHECKS, _name, _title)


# The rules, and the command line

# The reason why a rule has no check, and the transcript or the test (file and name) that tests it
# instead.
NO_CHECK: dict[str, tuple[str, ...]] = {
    "F5": ("tested by every session that works; mixed frames would violate F7",),
    "H1": (
        "how a host starts an agent",
        "tests/it/cli/help_and_logs.rs::version_is_printed",
        "tests/it/cli/help_and_logs.rs::invalid_command_line_exits_with_64",
        "tests/it/protocol/schema.rs::schema_flag_prints_the_published_schema",
    ),
    "O5": (
        "advice to hosts that feed an upload with a download",
        "tests/it/e2e/streams.rs::stalled_downloads_leave_memory_for_others",
    ),
    "T2": ("the settings depend on the storage", "config-errors"),
    "T6": (
        "needs a server that fails",
        "validate-bad",
        "validate-no-bucket",
        "storage-denies-deletion",
        "tests/it/diagnosis.rs::validate_finds_each_recorded_answer_in_the_right_check",
    ),
    "T7": (
        "needs wrong settings that the agent can correct",
        "validate-region",
        "storage-wrong-region",
    ),
    "T9": (
        "advice to agents; the method depends on the storage",
        "tests/it/e2e/crash_cleanup.rs::next_agent_cleans_up_killed_upload",
    ),
    "B3": (
        "needs stored data that can be damaged without the agent",
        "download-damaged",
        "tests/it/e2e/foreign_objects.rs::download_delivers_no_damaged_byte",
        "tests/it/e2e/verify.rs::verify_names_every_change_of_an_archive",
        "tests/it/cli/verify.rs::download_of_altered_archive_is_refused",
        "tests/home_assistant/unit/test_backup.py::test_download_of_altered_backup_is_refused",
    ),
    "P6": (
        "needs a server that becomes unreachable and returns",
        "tests/it/connection/retry.rs::retry_for_continues_upload_when_server_returns",
        "tests/it/connection/retry.rs::retry_for_continues_download_when_server_returns",
        "tests/it/connection/retry.rs::retry_for_exceeded_ends_with_the_last_error",
        "tests/it/connection/retry.rs::retry_for_ends_at_cancel_and_deadline",
    ),
    "B4": (
        "needs stored data that can be damaged without the agent",
        "verify",
        "verify-broken",
        "tests/it/e2e/verify.rs::verify_names_every_change_of_an_archive",
        "tests/it/e2e/verify.rs::verify_names_metadata_problems",
        "tests/it/e2e/verify.rs::verify_that_cannot_read_is_an_error",
    ),
    "B5": ("advice to hosts: how they present a result is their choice",),
    "T10": (
        "needs stored data that can be damaged without the agent",
        "repair",
        "tests/it/e2e/repair.rs::repair_rebuilds_lost_metadata",
        "tests/it/e2e/repair.rs::repair_leaves_running_upload_alone",
    ),
    "N3": ("needs stored data that can be changed without the agent", "list-skipped"),
    "N2": (
        "needs a clock that can be changed",
        "tests/it/connection/stale_listings.rs::stale_listing_is_returned_and_refreshed_in_background",
    ),
    "P7": (
        "needs a server that fails",
        "tests/it/connection/broken_connections.rs::download_continues_after_broken_connection",
        "tests/it/connection/broken_connections.rs::throttled_request_is_retried",
    ),
    "E4": (
        "needs an agent with a bug, or a machine without free memory",
        "tests/it/protocol/panics.rs::panic_ends_one_request_and_not_the_agent",
        "tests/it/protocol/panics.rs::panic_during_upload_is_cleaned_up",
        "tests/it/protocol/limits.rs::out_of_memory_ends_one_request_and_not_the_agent",
    ),
    "E5": ("advice to hosts: when to repeat is their choice",),
    "K4": ("advice to hosts: the kit does not know which variables an agent needs",),
    "K1": (
        "needs a storage with secrets",
        "tests/it/connection/secrets.rs::secret_is_read_from_file_or_systemd_credential",
        "tests/it/protocol/bad_config.rs::invalid_setting_names_field_and_remedy",
    ),
    "X7": (
        "needs a system with few resources",
        "tests/it/protocol/limits.rs::start_with_too_few_descriptors_is_refused",
    ),
    "X5": ("advice to hosts: a property of their processes, not of their messages",),
    "V3": ("a rule for extensions of the protocol; H2.hello checks hello",),
    "V5": ("applies once there is a second version",),
}


def rules() -> dict[str, str]:
    """Returns the rules of PROTOCOL.md with their texts."""
    path = Path(__file__).resolve().parent.parent / "PROTOCOL.md"
    found = re.findall(
        r"^\*\*([A-Z]\d+)\*\* (.*?)\n(?:\n|\Z)", path.read_text("utf-8"), re.M | re.S
    )
    return dict(found)


def coverage(markdown: bool) -> int:
    """Prints each rule with its checks. Returns 1 if a rule has neither a check nor a reason."""
    known = rules()
    sides = {"agent": AGENT_CHECKS, "host": HOST_CHECKS}
    table: dict[str, dict[str, list[str]]] = {rule: {side: [] for side in sides} for rule in known}
    wrong = []
    for side, checks in sides.items():
        for check in checks:
            for rule in check.name.partition(".")[0].split("+"):
                if rule in table:
                    table[rule][side].append(check.name)
                else:
                    wrong.append(f"{side} {check.name}: {rule} is not a rule")
    checked = {rule for rule in known if any(table[rule].values())}
    wrong += [
        f"{r} has neither a check nor a reason" for r in known if r not in checked | {*NO_CHECK}
    ]
    wrong += [f"{r} has a reason but is not a rule" for r in NO_CHECK if r not in known]
    wrong += [f"{r} has both a reason and a check" for r in NO_CHECK if r in checked]
    print_coverage = print_markdown if markdown else print_lines
    print_coverage(known, table)
    for problem in wrong:
        print(f"WRONG: {problem}")
    return 1 if wrong else 0


def print_lines(known: dict[str, str], table: dict[str, dict[str, list[str]]]) -> None:
    for rule in known:
        checks = [f"{side} {name}" for side, names in table[rule].items() for name in names]
        print(f"{rule}: {', '.join(checks) or 'no check: ' + '; '.join(NO_CHECK.get(rule, ()))}")


MARKDOWN_HEAD = """\
# Tests of the protocol's rules

For each rule of [PROTOCOL.md](../PROTOCOL.md), this table lists the checks of
[conform.py](conform.py) for agents and for hosts. If a rule has no check, the table gives the
reason, and the [transcript](../transcripts/README.md) or the test of the S3 agent that tests the
rule instead, if there is one. `conform.py coverage --markdown` prints this file. The rules of
[S3.md](../S3.md) and [STORAGE.md](../STORAGE.md) have
[their own table](../STORAGE-DESIGN.md#tests-of-the-rules).

| rule | text | agents | hosts |
|---|---|---|---|"""


def print_markdown(known: dict[str, str], table: dict[str, dict[str, list[str]]]) -> None:
    print(MARKDOWN_HEAD)
    for rule, text in known.items():
        agent, host = (", ".join(f"`{name}`" for name in names) for names in table[rule].values())
        if not agent and not host:
            reason, *proofs = NO_CHECK.get(rule, ("",))
            agent = "; ".join([reason, *(f"`{proof}`" for proof in proofs)])
        print(f"| {rule} | {first_words(text)} | {agent} | {host} |")


def first_words(text: str) -> str:
    """Returns the words that fit into 60 characters, without cutting code or a link."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("|", "/").split()
    taken = words[:1]
    for word in words[1:]:
        if len(" ".join([*taken, word])) > 60:
            break
        taken.append(word)
    while " ".join(taken).count("`") % 2:
        taken.pop()
    return " ".join(taken) + ("" if taken == words else " ...")


def chosen(checks: list[Check], options: argparse.Namespace) -> list[Check]:
    def fits(check: Check) -> bool:
        skipped = any(fnmatch.fnmatch(check.name, skip) for skip in options.skip)
        if options.only:
            return not skipped and any(fnmatch.fnmatch(check.name, only) for only in options.only)
        return not skipped and (options.slow or not check.slow)

    return [check for check in checks if fits(check)]


def read_config(path: Path) -> Json:
    if not path.is_file() and path.exists():
        raise ValueError("not a regular file")
    if (size := path.stat().st_size) > MAX_CONFIG:
        raise ValueError(f"it has {size} bytes; the maximum is {MAX_CONFIG}")
    try:
        config = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON (line {error.lineno})") from None
    if not isinstance(config, dict):
        raise ValueError("not a JSON object")
    return config


def main() -> int:
    if sys.argv[1:2] == ["play"]:
        play(*sys.argv[2:4])
        return 0
    give_default_signals()
    if sys.argv[1:] in (["coverage"], ["coverage", "--markdown"]):
        return coverage(markdown=len(sys.argv) > 2)
    usage = "conform.py {agent,host} [OPTIONS] -- COMMAND..., or conform.py coverage [--markdown]"
    parser = argparse.ArgumentParser(usage=usage)
    parser.add_argument("side", choices=["agent", "host"])
    parser.add_argument("--config", type=Path, help="JSON file with the `config` of target.open")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="run only these checks; * matches anything, repeatable",
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="PATTERN", help="skip these checks"
    )
    parser.add_argument("--slow", action="store_true", help="also run slow checks")
    parser.add_argument("--list", action="store_true", help="list the checks")
    parser.add_argument("--tap", action="store_true", help="print TAP (default)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--jobs", type=int, default=4, help="number of concurrent checks (default: 4)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=60,
        help="maximum seconds to wait for anything (default: 60)",
    )
    own, command = sys.argv[1:], []
    if "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    checks = chosen(AGENT_CHECKS if options.side == "agent" else HOST_CHECKS, options)
    if options.list:
        for check in checks:
            print(f"{check.name}: {check.title}")
        return 0
    if not command:
        parser.error("the command of the program under test is missing: put it after --")
    if options.side == "host":
        return perform(checks, HostRun(command, options), options)
    config: Json = {"type": "memory"}
    if options.config:
        try:
            config = read_config(options.config)
        except (OSError, ValueError, RecursionError) as error:
            parser.error(f"--config {options.config}: {error}")
    run = AgentRun(command, config, options)
    try:
        return perform(checks, run, options)
    finally:
        run.clean_up()


if __name__ == "__main__":
    sys.exit(main())
