"""The writing end of a pipe to a child process.

An asyncio transport copies data that does not fit into the pipe, and needs one system call per
piece. This writer keeps the pieces as they are and writes all of them with one call.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice

_MAX_PIECES = 64  # per call; the system accepts 1,024


class PipeWriter:
    """Writes to `fd` and owns it. Calls `on_broken` once, when the reading end is closed."""

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[memoryview] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_closing = False
        self._is_closed = False
        # The descriptor becomes readable only when the reading end is closed.
        self._loop.add_reader(fd, self._break)

    def write(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Writes pieces, or queues them. They must not be changed afterwards."""
        if self._is_closing:
            return
        was_empty = not self._waiting
        self._waiting.extend(memoryview(piece).cast("B") for piece in pieces)
        if was_empty:
            self._write_waiting()

    async def drain(self) -> None:
        """Waits until the queue is empty."""
        await self._empty.wait()

    def close(self) -> None:
        """Closes the pipe after the queued pieces."""
        self._is_closing = True
        if not self._waiting:
            self.abort()

    def abort(self) -> None:
        """Closes the pipe at once."""
        self._is_closing = True
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._waiting.clear()
        self._empty.set()

    def _write_waiting(self) -> None:
        pieces = list(islice(self._waiting, _MAX_PIECES))
        try:
            self._advance(os.writev(self._fd, pieces))
        except BlockingIOError:
            pass
        except OSError:
            self._break()
            return
        if self._waiting:
            if self._empty.is_set():
                self._empty.clear()
                self._loop.add_writer(self._fd, self._write_waiting)
            return
        if not self._empty.is_set():
            self._loop.remove_writer(self._fd)
            self._empty.set()
        if self._is_closing:
            self.abort()

    def _advance(self, written: int) -> None:
        while self._waiting and written >= len(self._waiting[0]):
            written -= len(self._waiting.popleft())
        if written:
            self._waiting[0] = self._waiting[0][written:]

    def _break(self) -> None:
        if not self._is_closed:
            self.abort()
            self._on_broken()


def pipe(size: int) -> tuple[int, int]:
    """The two ends of a pipe, with a buffer of `size` bytes if the system allows it."""
    reading, writing = os.pipe()
    if (set_size := getattr(fcntl, "F_SETPIPE_SZ", None)) is not None:
        with suppress(OSError):
            fcntl.fcntl(writing, set_size, size)
    return reading, writing
