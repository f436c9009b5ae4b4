"""One running agent: the handshake, requests and their answers, cancel, and the end.

The reader sorts what comes into exchanges and never waits for a consumer, so an answer always gets
by. Messages without a payload are written at once and need no lock; data frames take turns, and
each waits until the one before it is in the pipe.
"""

import asyncio
import copy
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .errors import AgentError, AgentProtocolError, AgentTimeout, Kind, from_wire
from .frame import MAX_LINE, MAX_PAYLOAD, Decoder, FrameError, Piece, encode
from .handshake import PROTOCOL, initialize, shake_hands
from .log import LogPump, Redactor
from .models import AgentInfo, Json
from .process import AgentProcess

_LOGGER = logging.getLogger(__name__)

CANCEL_PATIENCE = 15.0  # seconds for the answer to a cancelled request; the agent takes 10 at most
OPEN_DEADLINE = 15.0  # seconds for `target.open`, which needs no network
GRACE = 12.0  # seconds after a deadline for the answer; the agent may take 10 to clean up
SILENCE = 30.0  # seconds without a message, while requests run, until the agent is asked
PING_PATIENCE = 15.0  # seconds for the answer to that


class Exchange:
    """A request on its way. Transfers derive from it to get their stream messages."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.id = 0
        self.is_cancelled = False
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        # An error that nobody waits for any more is no reason to complain.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def receive(self, method: str, params: Json, payload: Sequence[Piece] | None) -> None:
        """Takes a notification about this request. Must not block.

        Raises `AgentProtocolError` for what makes no sense; then the request is given up.
        """


class Session:
    """An agent from its start to its end; there is no way back. See `AgentClient`."""

    def __init__(
        self,
        logger: logging.Logger,
        redact: Redactor,
        died: Callable[[AgentError, bool], None],
    ) -> None:
        """died: called when a ready agent ends, with whether it ever answered about a target."""
        self._redact = redact
        self._died = died
        self._log = LogPump(logger, redact)
        self._decoder = Decoder(self._dispatch)
        self._process = AgentProcess(self._feed, self._end, self._log)
        #: The parameters of the first message.
        self.hello: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.hello.add_done_callback(lambda hello: hello.cancelled() or hello.exception())
        self._info: AgentInfo | None = None
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._turn = asyncio.Lock()  # of data frames
        self._slots = asyncio.Semaphore(1)
        self._fault: AgentError | None = None
        self._last_heard = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._output = b""
        self._has_served = False
        self.targets: set[str] = set()  # those that are open

    @property
    def info(self) -> AgentInfo | None:
        """The agent, once it has introduced itself."""
        return self._info

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def max_payload(self) -> int:
        """Largest payload that the agent takes."""
        return min(MAX_PAYLOAD, self._info.max_payload) if self._info else MAX_PAYLOAD

    @property
    def is_ready(self) -> bool:
        """Whether requests can be sent."""
        return self._watcher is not None and self._fault is None

    def can(self, capability: str) -> bool:
        """Whether the agent has announced this feature."""
        return self._info is not None and capability in self._info.capabilities

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines of its log."""
        return self._log.tail

    @property
    def first_output(self) -> str:
        """The begin of its output, for when it is no agent."""
        return self._redact(self._output[:200].decode(errors="replace"))

    # Begin and end

    async def start(
        self,
        command: Sequence[str | os.PathLike[str]],
        client: Mapping[str, str],
        *,
        made_for: str | None,
        log_level: str,
    ) -> None:
        """Starts the agent and shakes hands. Raises `AgentNotFound` or `AgentStartFailed`."""
        try:
            await self._process.spawn(command)
            info = await shake_hands(self, os.fspath(command[0]), made_for)
            limits = {"max_line": MAX_LINE, "max_payload": MAX_PAYLOAD}
            params = {"protocol": PROTOCOL, "client": client, "limits": limits}
            await initialize(self, os.fspath(command[0]), params | {"log_level": log_level})
        except BaseException:
            self.kill("it could not be used")
            raise
        self._info = info
        self._slots = asyncio.Semaphore(info.max_requests)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Ends the agent in order; what runs is aborted and cleaned up first."""
        if self.is_ready:
            with suppress(AgentError):
                self.begin(Exchange("shutdown"), {"mode": "abort"})
        await self._process.stop()

    def kill(self, reason: str) -> None:
        """Ends the agent at once."""
        self._process.kill(reason)

    def _end(self, gone: AgentError) -> None:
        """The process has ended."""
        self._fail(gone)
        if self._watcher:
            self._watcher.cancel()

    def _fail(self, fault: AgentError) -> None:
        """Nothing works any more: every request is answered with the fault."""
        if self.is_ready:
            self._died(fault, self._has_served)
        self._fault = self._fault or fault
        if not self.hello.done():
            self.hello.set_exception(copy.copy(self._fault))
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        for exchange in exchanges:
            exchange.answer.set_exception(copy.copy(self._fault))

    # Requests

    async def open_target(self, name: str, config: Json) -> None:
        """Gives a name to a bucket, in this agent."""
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

        deadline: seconds after which the agent is to give up. timeout: seconds after which we do.
        """
        if deadline is not None:
            timeout = deadline + GRACE
        exchange = Exchange(method)
        self.begin(exchange, params, deadline=deadline)
        return await self.result(exchange, timeout=timeout)

    async def slot(self, exchange: Exchange) -> None:
        """Waits for a place among the requests that the agent runs at the same time.

        The place is given back when the exchange has its answer.
        """
        await self._slots.acquire()
        exchange.answer.add_done_callback(lambda _: self._slots.release())

    def begin(
        self, exchange: Exchange, params: Mapping[str, Any], *, deadline: float | None = None
    ) -> None:
        """Sends the request of an exchange and does not wait."""
        try:
            if self._fault:
                raise copy.copy(self._fault)
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
                text = f"{exchange.method} cannot be put into JSON: {error}"
                raise AgentError(text, code="invalid_params", kind=Kind.PROTOCOL) from error
        except AgentError as error:
            exchange.answer.set_exception(error)
            raise
        if not self._exchanges:
            self._last_heard = asyncio.get_running_loop().time()
        self._exchanges[exchange.id] = exchange
        self._process.write(line)

    async def result(self, exchange: Exchange, *, timeout: float | None = None) -> Json:
        """Waits for the answer. A cancelled task first waits until the agent has cleaned up."""
        try:
            done, _ = await asyncio.wait((exchange.answer,), timeout=timeout)
        except asyncio.CancelledError:
            await self.cancel(exchange, "cancelled")
            raise
        if not done:
            error = AgentTimeout(f"no answer to {exchange.method} within {timeout:g} seconds")
            self.give_up(exchange, error)
            raise error
        return exchange.answer.result()

    async def cancel(self, exchange: Exchange, reason: str = "cancelled") -> None:
        """Cancels a request and waits for its answer, because then everything is cleaned up."""
        self.tell_cancel(exchange, reason)
        if not exchange.answer.done():
            await asyncio.wait((exchange.answer,), timeout=CANCEL_PATIENCE)

    def tell_cancel(self, exchange: Exchange, reason: str) -> None:
        """Cancels a request, unless it has ended, and does not wait."""
        if exchange.id in self._exchanges and not exchange.is_cancelled:
            exchange.is_cancelled = True
            self.notify("cancel", {"id": exchange.id, "reason": reason})

    def give_up(self, exchange: Exchange, error: AgentError) -> None:
        """Answers a request ourselves and cancels it; what still comes for it is dropped."""
        self.tell_cancel(exchange, "given_up")
        self._exchanges.pop(exchange.id, None)
        if not exchange.answer.done():
            exchange.answer.set_exception(error)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Sends a notification. Does nothing when the agent is gone."""
        self._process.write(encode({"method": method, "params": params}))

    async def send_data(self, exchange: Exchange, offset: int, data: memoryview) -> None:
        """Sends a piece of a stream, once the one before it is in the pipe."""
        line = encode(
            {"method": "stream.data", "params": {"id": exchange.id, "offset": offset}}, len(data)
        )
        async with self._turn:
            await self._process.drain()
            if not exchange.answer.done():
                self._process.write(line, data, b"\n")
        # A source that never waits would keep everybody else from their turn.
        await asyncio.sleep(0)

    # What comes

    def _feed(self, data: bytes) -> None:
        self._last_heard = asyncio.get_running_loop().time()
        if self._info is None and len(self._output) < 200:
            self._output += data[:200]
        if isinstance(self._fault, AgentProtocolError):
            return
        try:
            self._decoder.feed(data)
        except FrameError as error:
            self._fail(AgentProtocolError(self._redact(f"the agent sent {error}")))
            self.kill("it sent what is no frame")

    def _dispatch(self, message: Json, payload: Sequence[Piece] | None) -> None:
        method, params = message.get("method"), message.get("params")
        if isinstance(method, str):
            if not self.hello.done():
                if method != "hello" or not isinstance(params, dict):
                    self.hello.set_exception(AgentProtocolError("the first message is no hello"))
                else:
                    self.hello.set_result(params)
            elif isinstance(params, dict) and (exchange := self._find(params.get("id"))):
                try:
                    exchange.receive(method, params, payload)
                except AgentProtocolError as error:
                    self.give_up(exchange, error)
            return  # what is for nobody was on its way already, or is newer than this library
        if exchange := self._find(message.get("id")):
            del self._exchanges[exchange.id]
            self._answer(exchange, message)
        elif "error" in message and message.get("id") is None:
            complaint = self._redact(from_wire(message["error"]).message)
            _LOGGER.error("The agent cannot read what we sent: %s", complaint)
        if not self.hello.done():
            self.hello.set_exception(AgentProtocolError("the first message is no hello"))

    def _find(self, number: object) -> Exchange | None:
        return self._exchanges.get(number) if type(number) is int else None

    def _answer(self, exchange: Exchange, message: Json) -> None:
        if exchange.method.startswith(("backup.", "target.validate", "target.cleanup")):
            self._has_served = True
        if "error" in message:
            exchange.answer.set_exception(from_wire(message["error"]))
        elif isinstance(result := message.get("result"), dict):
            exchange.answer.set_result(result)
        else:
            text = f"the answer to {exchange.method} has no result"
            exchange.answer.set_exception(AgentProtocolError(text))

    async def _watch(self) -> None:
        """Ends an agent that runs and does not answer any more."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SILENCE)
            if not self._exchanges or now() - self._last_heard < SILENCE:
                continue
            asked = now()
            with suppress(AgentError):
                self.begin(Exchange("ping"), {})
            await asyncio.sleep(PING_PATIENCE)
            if self._last_heard < asked:
                self.kill("it did not answer any more")
