"""The cost of a transfer in the host process: memory, CPU time and event-loop lag."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from conftest import Folder
from support import MIB, backup, connected, scripted

SIZE = 256 * MIB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def waited_for_cpu() -> float:
    """Seconds that this thread was runnable but waited for a CPU."""
    path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    return int(path.read_text().split()[1]) / 1e9


@contextlib.contextmanager
def stalls() -> Iterator[list[float]]:
    """Measures the longest time for which the event loop was blocked."""
    found = [0.0]

    async def measure() -> None:
        while True:
            begin, waited = time.monotonic(), waited_for_cpu()
            await asyncio.sleep(0.002)
            late = time.monotonic() - begin - 0.002 - (waited_for_cpu() - waited)
            found.append(late)

    task = asyncio.get_running_loop().create_task(measure())
    try:
        yield found
    finally:
        task.cancel()


async def source(size: int, step: int, peak: list[int]) -> AsyncIterator[bytes]:
    block = bytes(range(256)) * (step // 256)
    for _ in range(size // step):
        yield block
        peak.append(resident())


async def test_transfer_uses_little_memory_and_cpu_time(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:

        async def upload(number: str, size: int, step: int = MIB) -> list[int]:
            peak: list[int] = []
            await client.upload("t1", backup(number), source(size, step, peak), size=size)
            return peak

        async def download(number: str) -> list[int]:
            peak: list[int] = []
            async for _ in await client.download("t1", number):
                peak.append(resident())
            return peak

        # The first transfers allocate the buffers.
        await upload("small", 24 * MIB)
        await download("small")
        before = resident()
        begin = time.process_time()
        with stalls() as up:
            peak = await upload("large", SIZE)
        middle = time.process_time()
        with stalls() as down:
            peak += await download("large")
        end = time.process_time()

        cost = [(middle - begin) * 4, (end - middle) * 4]
        print(f"CPU s per GiB: {cost[0]:.2f} up, {cost[1]:.2f} down")
        print(f"stalls: {max(up) * 1000:.1f} ms up, {max(down) * 1000:.1f} ms down")
        print(f"memory: {(max(peak) - before) / MIB:.1f} MiB more at most")
        assert max(peak) - before < 8 * MIB
        assert max(up) < 0.05
        assert max(down) < 0.05


async def test_upload_of_tiny_chunks_does_not_block_event_loop(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        with stalls() as found:
            await client.upload("t1", backup(), source(2 * MIB, 256, []), size=2 * MIB)
        assert max(found) < 0.05


async def test_log_of_one_megabyte_does_not_block_event_loop() -> None:
    async with scripted("logs_a_megabyte") as client:
        with stalls() as found:
            await client.list("t1")
        assert max(found) < 0.05
