"""A proxy to the server that can pause at any byte, so that tests can interrupt a transfer."""

import asyncio
from urllib.parse import urlsplit


class PausingProxy:
    """Forwards connections to `endpoint`, and counts the bytes in both directions."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._target = parts.hostname, parts.port
        self._open = asyncio.Event()
        self._open.set()
        self._limits: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.passed = {"up": 0, "down": 0}
        self.closed = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close_after(self, direction: str, count: int) -> None:
        """Forwards this many more bytes in this direction, then pauses both directions."""
        self.closed.clear()
        self._limits = {direction: self.passed[direction] + count}

    def open(self) -> None:
        self._limits = {}
        self._open.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        writers = [writer]
        try:
            there, back = await asyncio.open_connection(*self._target)
            writers.append(back)
            # When one direction ends, both end.
            ways = [
                asyncio.create_task(self._pass("up", reader, back)),
                asyncio.create_task(self._pass("down", there, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError, asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            for each in writers:
                each.close()

    async def _pass(
        self, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while chunk := await source.read(1 << 16):
            await self._open.wait()
            sink.write(chunk)
            await sink.drain()
            self.passed[direction] += len(chunk)
            if direction in self._limits and self.passed[direction] >= self._limits[direction]:
                self._open.clear()
                self.closed.set()
