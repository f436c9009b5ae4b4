"""One running agent process: handshake, requests and their answers, cancellation, exit.

The reader assigns each message to its exchange and never waits for a consumer, so unread data
does not delay answers. Messages without a payload are written at once and need no lock. Data
frames share a lock: each one waits until the previous one is in the pipe.
"""

import asyncio
import copy
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .errors import (
    AgentError,
    AgentProtocolError,
    AgentStartFailed,
    AgentTimeout,
    Kind,
    parse_error,
)
from .exchange import Exchange
from .frame import MAX_PAYLOAD, Decoder, FrameError, Piece, encode
from .handshake import HandshakeError, initialize_params, no_hello, not_initialized, read_hello
from .log import LogReader, Redactor
from .models import AgentInfo, Json
from .process import AgentProcess

_LOGGER = logging.getLogger(__name__)

HELLO_TIMEOUT = 10.0  # seconds for `hello`, and for the answer to `initialize`
CANCEL_TIMEOUT = 15.0  # seconds for the answer to a canceled request; the agent needs up to 10
OPEN_DEADLINE = 15.0  # seconds for `target.open`, which uses no network
GRACE = 12.0  # seconds after a deadline for the answer; the agent needs up to 10 to clean up
PING_AFTER = 30.0  # seconds without a message from the agent, while requests run, before a ping
PING_TIMEOUT = 15.0  # seconds for the answer to the ping


class Session:
    """One agent process from start to exit. It cannot be restarted: see `AgentClient`."""

    def __init__(
        self,
        logger: logging.Logger,
        redact: Redactor,
        on_exit: Callable[[AgentError, bool], None],
    ) -> None:
        """on_exit: called when a ready agent ends; its second argument tells whether the agent
        answered a request for a target."""
        self._redact = redact
        self._on_exit = on_exit
        self._log = LogReader(logger, redact)
        self._decoder = Decoder(self._dispatch)
        self._process = AgentProcess(self._feed, self._exited, self._log)
        #: The parameters of `hello`.
        self.hello: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.hello.add_done_callback(lambda hello: hello.cancelled() or hello.exception())
        self._info: AgentInfo | None = None
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._data_lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(1)
        self._error: AgentError | None = None
        self._last_received = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._output = b""
        self._has_served = False
        self.targets: set[str] = set()  # names of the open targets

    @property
    def info(self) -> AgentInfo | None:
        """Name, version and limits of the agent, after the handshake."""
        return self._info

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def max_payload(self) -> int:
        """The largest payload that the agent accepts."""
        return min(MAX_PAYLOAD, self._info.max_payload) if self._info else MAX_PAYLOAD

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent."""
        return self._watcher is not None and self._error is None

    def can(self, capability: str) -> bool:
        """Whether the agent announced this capability."""
        return self._info is not None and capability in self._info.capabilities

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the agent's log."""
        return self._log.tail

    async def start(
        self,
        command: Sequence[str | os.PathLike[str]],
        client: Mapping[str, str],
        *,
        made_for: str | None,
        log_level: str,
    ) -> None:
        """Starts the agent. Raises `AgentNotFound` or `AgentStartFailed`."""
        try:
            await self._process.spawn(command)
            try:
                info = read_hello(await self._hello(), made_for)
                await self._initialize(initialize_params(client, log_level))
            except HandshakeError as error:
                raise self._start_failed(os.fspath(command[0]), error) from error.__cause__
        except BaseException:
            self.kill("it could not be used")
            raise
        self._info = info
        self._slots = asyncio.Semaphore(info.max_requests)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _hello(self) -> Json:
        """Waits for `hello`."""
        await asyncio.wait((self.hello,), timeout=HELLO_TIMEOUT)
        if not self.hello.done():
            text = f"did not say hello within {HELLO_TIMEOUT:g} seconds"
            raise HandshakeError("no_answer", text)
        try:
            return self.hello.result()
        except AgentError as error:
            raise no_hello(error) from error

    async def _initialize(self, params: Json) -> None:
        try:
            await self.call("initialize", params, timeout=HELLO_TIMEOUT)
        except AgentError as error:
            raise not_initialized(error) from error

    def _start_failed(self, program: str, error: HandshakeError) -> AgentStartFailed:
        text = f"{program} {error}"
        if error.reason == "wrong_program":
            output = self._output[:200].decode(errors="replace")
            text += f"; it wrote {self._redact(output)!r}"
        details = {"stderr_tail": "\n".join(self.log_tail)} | error.details
        return AgentStartFailed(text, reason=error.reason, path=program, **details)

    async def stop(self) -> None:
        """Stops the agent. It first aborts running requests and cleans up after them."""
        if self.is_ready:
            with suppress(AgentError):
                self.send(Exchange("shutdown"), {"mode": "abort"})
        await self._process.stop()

    def kill(self, reason: str) -> None:
        """Kills the agent."""
        self._process.kill(reason)

    def _exited(self, error: AgentError) -> None:
        """The process has ended."""
        self._fail(error)
        if self._watcher:
            self._watcher.cancel()

    def _fail(self, error: AgentError) -> None:
        """Answers all requests, also later ones, with the error."""
        if self.is_ready:
            self._on_exit(error, self._has_served)
        self._error = self._error or error
        if not self.hello.done():
            self.hello.set_exception(copy.copy(self._error))
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        for exchange in exchanges:
            exchange.answer.set_exception(copy.copy(self._error))

    # Requests

    async def open_target(self, name: str, config: Json) -> None:
        """Opens a target under this name."""
        params = {"target": name, "config": config}
        await self.call("target.open", params, deadline=OPEN_DEADLINE)
        self.targets.add(name)

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline: float | None = None,
        timeout: float | None = None,
    ) -> Json:
        """Sends a request and waits for its result.

        deadline, timeout: seconds after which the agent, or this method, stops.
        """
        if deadline is not None:
            timeout = deadline + GRACE
        exchange = Exchange(method)
        self.send(exchange, params, deadline=deadline)
        return await self.result(exchange, timeout=timeout)

    async def slot(self, exchange: Exchange) -> None:
        """Waits for one of the agent's request slots. The slot is free again after the answer."""
        await self._slots.acquire()
        exchange.answer.add_done_callback(lambda _: self._slots.release())

    def send(
        self, exchange: Exchange, params: Mapping[str, Any], *, deadline: float | None = None
    ) -> None:
        """Sends the request of an exchange without waiting."""
        try:
            if self._error:
                raise copy.copy(self._error)
            if deadline is not None:
                params = {**params, "deadline_ms": max(1, round(deadline * 1000))}
            exchange.id = next(self._numbers)
            message = {"id": exchange.id, "method": exchange.method, "params": params}
            try:
                line = encode(message)
            except FrameError as error:
                text = f"{exchange.method}: {error}"
                raise AgentError(text, code="too_large", kind=Kind.LIMIT) from error
            except (TypeError, ValueError) as error:
                text = f"{exchange.method} cannot be encoded as JSON: {error}"
                raise AgentError(text, code="invalid_params", kind=Kind.PROTOCOL) from error
        except AgentError as error:
            exchange.answer.set_exception(error)
            raise
        if not self._exchanges:
            self._last_received = asyncio.get_running_loop().time()
        self._exchanges[exchange.id] = exchange
        self._process.write(line)

    async def result(self, exchange: Exchange, *, timeout: float | None = None) -> Json:
        """Waits for the answer. If the task is canceled, waits until the agent has cleaned up."""
        try:
            done, _ = await asyncio.wait((exchange.answer,), timeout=timeout)
        except asyncio.CancelledError:
            await self.cancel(exchange, "cancelled")
            raise
        if not done:
            error = AgentTimeout(f"no answer to {exchange.method} within {timeout:g} seconds")
            self.abandon(exchange, error)
            raise error
        return exchange.answer.result()

    async def cancel(self, exchange: Exchange, reason: str = "cancelled") -> None:
        """Cancels a request and waits for its answer, which the agent sends after its cleanup."""
        self.send_cancel(exchange, reason)
        if not exchange.answer.done():
            await asyncio.wait((exchange.answer,), timeout=CANCEL_TIMEOUT)

    def send_cancel(self, exchange: Exchange, reason: str) -> None:
        """Cancels a running request without waiting."""
        if exchange.id in self._exchanges and not exchange.is_cancelled:
            exchange.is_cancelled = True
            self.notify("cancel", {"id": exchange.id, "reason": reason})

    def abandon(self, exchange: Exchange, error: AgentError) -> None:
        """Answers a request with this error and cancels it. Later messages for it are dropped."""
        self.send_cancel(exchange, "given_up")
        self._exchanges.pop(exchange.id, None)
        if not exchange.answer.done():
            exchange.answer.set_exception(error)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Sends a notification. Does nothing if the agent has ended."""
        self._process.write(encode({"method": method, "params": params}))

    async def send_data(self, exchange: Exchange, offset: int, data: memoryview) -> None:
        """Sends a piece of a stream after the previous one is in the pipe."""
        line = encode(
            {"method": "stream.data", "params": {"id": exchange.id, "offset": offset}}, len(data)
        )
        async with self._data_lock:
            await self._process.drain()
            if not exchange.answer.done():
                self._process.write(line, data, b"\n")
        # Without this, a source that never waits would block the event loop.
        await asyncio.sleep(0)

    # Messages from the agent

    def _feed(self, data: bytes) -> None:
        self._last_received = asyncio.get_running_loop().time()
        if self._info is None and len(self._output) < 200:
            self._output += data[:200]
        if isinstance(self._error, AgentProtocolError):
            return
        try:
            self._decoder.feed(data)
        except FrameError as error:
            self._fail(AgentProtocolError(self._redact(f"the agent sent {error}")))
            self.kill("it sent an invalid frame")

    def _dispatch(self, message: Json, payload: Sequence[Piece] | None) -> None:
        method, params = message.get("method"), message.get("params")
        if isinstance(method, str):
            if not self.hello.done():
                if method != "hello" or not isinstance(params, dict):
                    self.hello.set_exception(AgentProtocolError("the first message is not hello"))
                else:
                    self.hello.set_result(params)
            elif isinstance(params, dict) and (exchange := self._find(params.get("id"))):
                try:
                    exchange.receive(method, params, payload)
                except AgentProtocolError as error:
                    self.abandon(exchange, error)
            # Others are late messages of ended requests, or unknown to this library.
            return
        if exchange := self._find(message.get("id")):
            del self._exchanges[exchange.id]
            self._answer(exchange, message)
        elif "error" in message and message.get("id") is None:
            text = self._redact(parse_error(message["error"]).message)
            _LOGGER.error("The agent cannot read a message of this host: %s", text)
        if not self.hello.done():
            self.hello.set_exception(AgentProtocolError("the first message is not hello"))

    def _find(self, number: object) -> Exchange | None:
        return self._exchanges.get(number) if type(number) is int else None

    def _answer(self, exchange: Exchange, message: Json) -> None:
        if exchange.method.startswith(("backup.", "target.validate", "target.cleanup")):
            self._has_served = True
        if "error" in message:
            exchange.answer.set_exception(parse_error(message["error"]))
        elif isinstance(result := message.get("result"), dict):
            exchange.answer.set_result(result)
        else:
            text = f"the answer to {exchange.method} has no result"
            exchange.answer.set_exception(AgentProtocolError(text))

    async def _watch(self) -> None:
        """Kills an agent that runs but no longer answers."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(PING_AFTER)
            if not self._exchanges or now() - self._last_received < PING_AFTER:
                continue
            sent = now()
            with suppress(AgentError):
                self.send(Exchange("ping"), {})
            await asyncio.sleep(PING_TIMEOUT)
            if self._last_received < sent:
                self.kill("it no longer answered")
