"""Sends a backup to the agent: credit, frames, and failures of either side."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import Any

from .errors import AgentProtocolError
from .exchange import Exchange
from .frame import Piece
from .models import Json, Progress
from .session import Session

#: A source of bytes, and a function that opens one.
Stream = AsyncIterable[bytes]
StreamFactory = Callable[[], Awaitable[Stream]]

_LOGGER = logging.getLogger(__name__)
_PROGRESS_MS = 1000
_SMALL = 256 << 10  # smaller chunks are joined, larger ones are sent as they are
_SMALL_PER_TURN = 500  # joined chunks between two chances for other tasks to run
_STOP_TIMEOUT = 5.0  # seconds for a source to react to its cancellation


async def run_upload(
    session: Session,
    params: Mapping[str, Any],
    source: Stream | StreamFactory,
    *,
    on_progress: Callable[[Json], None],
    retry_for: float,
    resume: float,
    deadline: float | None,
) -> Json:
    """Runs one upload. After an error, the agent has cleaned up, or keeps the uploaded parts for
    `resume` seconds, so that the next upload of the same backup can resume."""
    opened: list[Stream] = []
    if isinstance(source, AsyncIterable):
        opened.append(source)
    exchange = _Upload(on_progress)
    try:
        await session.slot(exchange)
        options = {"progress_ms": _PROGRESS_MS}
        if retry_for:
            options["retry_for_ms"] = round(retry_for * 1000)
        if resume and session.can("upload.resume"):
            options["resume_s"] = round(resume)
        session.send(exchange, {**params, **options}, deadline=deadline)
        # A separate task, because the answer may arrive while the source waits.
        sending = _send_source(session, exchange, source, opened)
        sender = asyncio.get_running_loop().create_task(sending)
        try:
            await asyncio.wait((sender, exchange.answer), return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                sender.result()  # raises the error of the source
                result = await session.result(exchange)
            else:
                result = exchange.answer.result()  # raises the error of the agent
            if not exchange.is_complete:
                raise AgentProtocolError("the agent answered an upload before the end of the data")
            return result
        except BaseException:
            session.send_cancel(exchange, "source_failed" if sender.done() else "cancelled")
            await _stop(sender)
            await session.cancel(exchange)
            raise
    finally:
        for stream in opened:
            await _close(stream)


class ProgressReporter:
    """Reports progress to a callback. `done` never decreases, even if the upload starts again."""

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
    """The exchange of an upload. It keeps track of the credit."""

    def __init__(self, on_progress: Callable[[Json], None]) -> None:
        super().__init__("backup.upload")
        self.is_complete = False  # whether all data was sent
        self._on_progress = on_progress
        self._up_to = 0
        self._changed = asyncio.Event()
        self.answer.add_done_callback(lambda _: self._changed.set())

    def receive(self, method: str, params: Json, payload: Sequence[Piece] | None) -> None:
        if method == "stream.credit":
            up_to = params.get("up_to")
            if type(up_to) is not int:
                raise AgentProtocolError("the agent sent credit without a number")
            if up_to > self._up_to:
                self._up_to = up_to
                self._changed.set()
        elif method == "progress":
            self._on_progress(params)

    async def credit(self, sent: int) -> int:
        """Waits until more bytes may be sent, and returns their number; 0 after the answer."""
        while self._up_to <= sent and not self.answer.done():
            self._changed.clear()
            await self._changed.wait()
        return 0 if self.answer.done() else self._up_to - sent


class _Sender:
    """Sends chunks as frames within the credit, without copying."""

    def __init__(self, session: Session, exchange: _Upload) -> None:
        self._session = session
        self._exchange = exchange
        self.sent = 0

    async def send(self, chunk: bytes | bytearray | memoryview) -> None:
        """Sends a whole chunk. Stops early if the answer arrives."""
        rest = memoryview(chunk).cast("B")
        while rest and (credit := await self._exchange.credit(self.sent)):
            piece = rest[: min(credit, self._session.max_payload)]
            await self._session.send_data(self._exchange, self.sent, piece)
            self.sent += len(piece)
            rest = rest[len(piece) :]


async def _send_source(
    session: Session, exchange: _Upload, source: Stream | StreamFactory, opened: list[Stream]
) -> None:
    """Sends the data of the source. Raises only errors of the source."""
    # The source is not opened before the first credit.
    if not await exchange.credit(0):
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
                if count % _SMALL_PER_TURN == 0:
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


async def _stop(sender: asyncio.Task[None]) -> None:
    """Stops reading the source."""
    sender.cancel()
    await asyncio.wait((sender,), timeout=_STOP_TIMEOUT)
    if not sender.done():
        _LOGGER.warning("The source of an upload does not stop")
    elif not sender.cancelled():
        sender.exception()  # retrieved, so that asyncio does not log it


async def _close(stream: Stream) -> None:
    """Closes a source, which may have a connection or a thread."""
    try:
        if aclose := getattr(stream, "aclose", None):
            await aclose()
        elif abort := getattr(stream, "abort", None):
            abort()
    except Exception:
        _LOGGER.debug("Cannot close %r", stream, exc_info=True)
