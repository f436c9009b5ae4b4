"""Receives a backup from the agent as an asynchronous iterator that grants credit as it is read."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from .errors import AgentError, AgentProtocolError, AgentTimeout, Kind
from .exchange import Exchange
from .frame import MAX_PAYLOAD, Piece
from .models import Backup, Json
from .session import GRACE, Session

WINDOW = 4 << 20  # bytes that may be in transit or buffered
CHUNK = MAX_PAYLOAD  # frames are joined up to this size, never split


class _Download(Exchange):
    """The exchange of a download. It buffers at most `WINDOW` bytes that were not read yet."""

    def __init__(self) -> None:
        super().__init__("backup.download")
        self.begun: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.length = 0
        self._frames = deque[tuple[int, Sequence[Piece]]]()
        self._buffered = 0
        self._received = 0
        self._granted = WINDOW
        self._complete = False
        self._discarded = False
        self._changed = asyncio.Event()
        self.answer.add_done_callback(lambda _: self._changed.set())

    def receive(self, method: str, params: Json, payload: Sequence[Piece] | None) -> None:
        if self._discarded:
            return
        match method:
            case "stream.begin":
                self._begin(params)
            case "stream.data":
                self._data(params, payload or ())
            case "stream.end":
                self._end(params)

    def _begin(self, params: Json) -> None:
        length = params.get("length")
        if type(length) is not int or length < 0 or self.begun.done():
            raise AgentProtocolError("the agent sent an invalid stream.begin")
        self.length = length
        self.begun.set_result(params)

    def _data(self, params: Json, payload: Sequence[Piece]) -> None:
        length = sum(map(len, payload))
        received = self._received + length
        if not self.begun.done() or self._complete or params.get("offset") != self._received:
            text = f"the agent sent download data at a wrong offset instead of {self._received}"
            raise AgentProtocolError(text)
        if received > self._granted or received > self.length:
            raise AgentProtocolError(f"the agent sent {received} bytes, more than it may")
        self._received = received
        self._buffered += length
        self._frames.append((length, payload))
        if self._buffered >= CHUNK:
            self._changed.set()

    def _end(self, params: Json) -> None:
        self._complete = True
        if params.get("length") != self._received:
            text = f"the agent sent {self._received} bytes, but names another length"
            raise AgentProtocolError(text)
        self._changed.set()

    async def next(self) -> bytes:
        """The next chunk; empty at the end of a complete download."""
        while self._buffered < CHUNK and not self._complete and not self.answer.done():
            self._changed.clear()
            await self._changed.wait()
        if self.answer.done():
            self._verify(self.answer.result())
        if self._frames:
            return self._take()
        while not self.answer.done():
            self._changed.clear()
            await self._changed.wait()
        self._verify(self.answer.result())
        return b""

    def _verify(self, result: Json) -> None:
        counts = {self.length, result.get("length")}
        if not self._discarded and (not self._complete or counts != {self._received}):
            raise AgentError(
                f"the download has {self._received} bytes instead of {self.length}",
                code="length_mismatch",
                kind=Kind.INTEGRITY,
                details={"expected": self.length, "actual": self._received},
            )

    def _take(self) -> bytes:
        size, pieces = 0, list[Piece]()
        while self._frames and (not size or size + self._frames[0][0] <= CHUNK):
            length, frame = self._frames.popleft()
            size += length
            pieces += frame
        self._buffered -= size
        return b"".join(pieces)

    def more_credit(self) -> int | None:
        """The credit to grant, after a quarter of the window was read."""
        up_to = min(self._received - self._buffered + WINDOW, self.length)
        step = min(WINDOW // 4, self.length - self._granted)
        if step <= 0 or up_to - self._granted < step:
            return None
        self._granted = up_to
        return up_to

    def discard(self) -> None:
        """Drops all data, also data that arrives later."""
        self._discarded = True
        self._frames.clear()
        self._buffered = 0
        self._changed.set()


class DownloadStream(AsyncIterator[bytes]):
    """The bytes of a backup, in chunks of about 1 MiB. `async for chunk in stream`.

    The backup is complete only if the iteration ends without an error: the agent may report an
    error after the last byte. Reading again after an error raises it again. The transfer stops at
    the end, at an error, with `aclose`, and when the stream is garbage-collected.
    """

    def __init__(self, session: Session, exchange: _Download, begin: Json) -> None:
        self._session = session
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._ended = False
        self.backup = Backup.parse(begin.get("backup"))
        self.length: int = exchange.length

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._error:
            raise self._error
        if self._ended:
            raise StopAsyncIteration
        try:
            chunk = await self._exchange.next()
        except BaseException as error:
            if not self._ended:
                # Another task must not see the cancellation of this one.
                self._error = error if isinstance(error, Exception) else _interrupted()
            self._exchange.discard()
            await self._session.cancel(self._exchange, "cancelled")
            raise
        if not chunk:
            self._ended = True
            raise StopAsyncIteration
        if up_to := self._exchange.more_credit():
            self._session.notify("stream.credit", {"id": self._exchange.id, "up_to": up_to})
        return chunk

    async def aclose(self) -> None:
        """Stops the transfer. Reading again ends at once, or raises an earlier error."""
        self._ended = True
        self._exchange.discard()
        await self._session.cancel(self._exchange, "closed")

    def __del__(self) -> None:
        # Runs in any thread, also if the constructor failed.
        exchange = getattr(self, "_exchange", None)
        if exchange and not exchange.answer.done():
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(_abandon, self._session, exchange)


def _abandon(session: Session, exchange: _Download) -> None:
    exchange.discard()
    session.send_cancel(exchange, "closed")


def _interrupted() -> AgentError:
    return AgentError("the download was interrupted", code="cancelled", kind=Kind.CANCELLED)


async def open_download(
    session: Session, params: Mapping[str, Any], *, retry_for: float, deadline: float | None
) -> DownloadStream:
    """Starts a download and waits for its `stream.begin`."""
    exchange = _Download()
    await session.slot(exchange)
    options = {"up_to": WINDOW}
    if retry_for:
        options["retry_for_ms"] = round(retry_for * 1000)
    session.send(exchange, {**params, **options}, deadline=deadline)
    timeout = None if deadline is None else deadline + GRACE
    try:
        await asyncio.wait(
            (exchange.begun, exchange.answer),
            timeout=timeout,
            return_when=asyncio.FIRST_COMPLETED,
        )
    except asyncio.CancelledError:
        await session.cancel(exchange, "cancelled")
        raise
    if exchange.begun.done():
        return DownloadStream(session, exchange, exchange.begun.result())
    if exchange.answer.done():
        exchange.answer.result()  # raises the error of the agent
        raise AgentProtocolError("the agent answered a download without data")
    error = AgentTimeout(f"the download did not start within {timeout:g} seconds")
    session.abandon(exchange, error)
    raise error
