"""The way of a backup to the agent: credit, frames, and what happens when either side fails."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any

from .errors import AgentProtocolError
from .frame import Piece
from .models import Json, Progress
from .session import Exchange, Session

#: A source of bytes, and what opens one.
Stream = AsyncIterable[bytes]
StreamFactory = Callable[[], Awaitable[Stream]]

_LOGGER = logging.getLogger(__name__)
_PROGRESS_MS = 1000
_SMALL = 256 << 10  # chunks below this are put together, larger ones are sent as they are
_SMALL_AT_ONCE = 500  # chunks put together, then the event loop gets its turn
_STOP_PATIENCE = 5.0  # seconds for a source to take its cancellation


async def run_upload(
    session: Session,
    params: Mapping[str, Any],
    source: Stream | StreamFactory,
    *,
    on_progress: Callable[[Json], None],
    outage: float,
    resume: float,
    deadline: float | None,
) -> Json:
    """One upload. When this raises, the agent has taken back what it had stored, or keeps it for so
    many seconds for the next one of the same backup to `resume`."""
    opened: list[Stream] = []
    if isinstance(source, AsyncIterable):
        opened.append(source)
    exchange = _Upload(on_progress)
    try:
        await session.slot(exchange)
        options = {"progress_ms": _PROGRESS_MS}
        if outage:
            options["retry_for_ms"] = round(outage * 1000)
        if resume and session.can("upload.resume"):
            options["resume_s"] = round(resume)
        session.begin(exchange, {**params, **options}, deadline=deadline)
        # A task of its own, because an answer may come while the source makes us wait.
        pump = asyncio.get_running_loop().create_task(_pump(session, exchange, source, opened))
        try:
            await asyncio.wait((pump, exchange.answer), return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                pump.result()  # raises what the source raised
                result = await session.result(exchange)
            else:
                result = exchange.answer.result()  # raises why the agent wants no more data
            if not exchange.is_complete:
                raise AgentProtocolError("the agent did not wait for the end of the data")
            return result
        except BaseException:
            session.tell_cancel(exchange, "source_failed" if pump.done() else "cancelled")
            await _end(pump)
            await session.cancel(exchange)
            raise
    finally:
        for stream in opened:
            await _close(stream)


class Reporter:
    """Hands progress on. What is done never decreases, not even when an upload begins anew."""

    def __init__(self, callback: Callable[[Progress], None] | None) -> None:
        self._callback = callback
        self._done = 0

    def __call__(self, params: Json) -> None:
        if self._callback is None:
            return
        progress = Progress.parse(params, at_least=self._done)
        self._done = progress.done
        try:
            self._callback(progress)
        except Exception:
            _LOGGER.exception("A progress callback failed")


class _Upload(Exchange):
    """The exchange of an upload: knows how much may be sent."""

    def __init__(self, on_progress: Callable[[Json], None]) -> None:
        super().__init__("backup.upload")
        self.is_complete = False  # whether all data was sent
        self._on_progress = on_progress
        self._credit = 0
        self._changed = asyncio.Event()
        self.answer.add_done_callback(lambda _: self._changed.set())

    def receive(self, method: str, params: Json, payload: Sequence[Piece] | None) -> None:
        if method == "stream.credit":
            up_to = params.get("up_to")
            if type(up_to) is not int:
                raise AgentProtocolError("the agent sent credit without a number")
            if up_to > self._credit:
                self._credit = up_to
                self._changed.set()
        elif method == "progress":
            self._on_progress(params)

    async def room(self, sent: int) -> int:
        """Waits until more may be sent, and says how much; 0 when the answer has come."""
        while self._credit <= sent and not self.answer.done():
            self._changed.clear()
            await self._changed.wait()
        return 0 if self.answer.done() else self._credit - sent


class _Sender:
    """Cuts chunks into frames, as many as there is credit for. Copies nothing."""

    def __init__(self, session: Session, exchange: _Upload) -> None:
        self._session = session
        self._exchange = exchange
        self.sent = 0

    async def send(self, chunk: bytes | bytearray | memoryview) -> None:
        """Sends all of a chunk, or stops when the answer has come."""
        rest = memoryview(chunk).cast("B")
        while rest and (room := await self._exchange.room(self.sent)):
            piece = rest[: min(room, self._session.max_payload)]
            await self._session.send_data(self._exchange, self.sent, piece)
            self.sent += len(piece)
            rest = rest[len(piece) :]


async def _pump(
    session: Session, exchange: _Upload, source: Stream | StreamFactory, opened: list[Stream]
) -> None:
    """Sends what the source yields. Raises only what the source raises."""
    # The first credit is the go-ahead; until it comes the source is not touched.
    if not await exchange.room(0):
        return
    if isinstance(source, AsyncIterable):
        stream = source
    else:
        stream = await source()
        opened.append(stream)
    sender = _Sender(session, exchange)
    small, count = bytearray(), 0
    async for chunk in stream:
        if len(chunk) < _SMALL:
            small += chunk
            count += 1
            if len(small) < session.max_payload - _SMALL:
                if count % _SMALL_AT_ONCE == 0:
                    await asyncio.sleep(0)
                continue
            chunk = b""
        if small:
            await sender.send(small)
            small = bytearray()
        await sender.send(chunk)
        if exchange.answer.done():
            return
    await sender.send(small)
    if not exchange.answer.done():
        exchange.is_complete = True
        session.notify("stream.end", {"id": exchange.id, "length": sender.sent})


async def _end(pump: asyncio.Task[None]) -> None:
    """Stops reading the source."""
    pump.cancel()
    await asyncio.wait((pump,), timeout=_STOP_PATIENCE)
    if not pump.done():
        _LOGGER.warning("The source of an upload does not stop")
    elif not pump.cancelled():
        pump.exception()  # known already, or of no interest any more


async def _close(stream: Stream) -> None:
    """Closes a source, which may hold a connection or a thread."""
    try:
        if aclose := getattr(stream, "aclose", None):
            await aclose()
        elif abort := getattr(stream, "abort", None):
            abort()
    except Exception:
        _LOGGER.debug("Cannot close %r", stream, exc_info=True)
