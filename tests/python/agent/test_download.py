"""Downloads: reading, stopping, and errors that must not look like a complete backup."""

import asyncio
import threading

import pytest
from agent import AgentClient, AgentError, DownloadStream, Kind, NoSuchBackup
from conftest import Folder
from support import MIB, backup, chunks, connected, fails, random_bytes, read, scripted, until


async def store(client: AgentClient, size: int) -> bytes:
    data = random_bytes(size)
    await client.upload("t1", backup(), chunks(data), size=size)
    return data


async def test_download_yields_chunks_of_one_mebibyte(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB + 5)
        sizes = [len(chunk) async for chunk in await client.download("t1", "b1")]
        assert sizes == [MIB] * 25 + [5]


async def test_download_joins_tiny_frames() -> None:
    async with scripted("tiny_frames") as client:
        received = [chunk async for chunk in await client.download("t1", "b1")]
        assert received == [b"0123456789" * 300]


@pytest.mark.parametrize("offset", [0, 1, 20 * MIB, 25 * MIB - 1])
async def test_download_starts_at_offset(binary: str, folder: Folder, offset: int) -> None:
    async with connected(binary, folder) as client:
        data = await store(client, 25 * MIB)
        stream = await client.download("t1", "b1", offset=offset)
        assert stream.length == len(data) - offset
        assert await read(stream) == data[offset:]


async def test_download_with_slow_consumer_does_not_block_others(
    binary: str, folder: Folder
) -> None:
    async with connected(binary, folder) as client:
        data = await store(client, 25 * MIB)
        stream = await client.download("t1", "b1")
        received = await anext(stream)
        for _ in range(5):
            await client.list("t1", refresh=True, deadline=5)
        assert received + await read(stream) == data


async def test_download_read_after_end_stops(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        data = await store(client, 3 * MIB)
        stream = await client.download("t1", "b1")
        assert await read(stream) == data
        assert await read(stream) == b""
        await stream.aclose()
        assert await read(stream) == b""


async def test_download_of_missing_backup_raises_before_data(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        with pytest.raises(NoSuchBackup) as caught:
            await client.download("t1", "nothing")
        assert caught.value.details == {"backup_id": "nothing"}


# Stopping early


async def assert_transfers_end(client: AgentClient) -> None:
    """Asserts that the agent has free slots for transfers."""
    async with asyncio.timeout(30):
        streams = [await client.download("t1", "b1") for _ in range(2)]
        for stream in streams:
            await stream.aclose()


async def unfinished(client: AgentClient) -> DownloadStream:
    stream = await client.download("t1", "b1")
    assert len(await anext(stream)) == MIB
    return stream


async def test_download_aclose_stops_transfer(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB)
        for _ in range(10):
            stream = await unfinished(client)
            await stream.aclose()
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        stream = await client.download("t1", "b1")
        await stream.aclose()
        await assert_transfers_end(client)


async def test_download_aclose_ends_waiting_reader() -> None:
    async with scripted("answers_cancel") as client:
        stream = await client.download("t1", "b1")
        reading = asyncio.create_task(read(stream))
        await asyncio.sleep(0.05)
        await stream.aclose()
        with fails("cancelled"):  # an end without an error would look like a complete backup
            await reading


async def test_download_garbage_collected_stops_transfer(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB)
        for _ in range(10):
            async for chunk in await client.download("t1", "b1"):
                assert len(chunk) == MIB
                break
        await assert_transfers_end(client)


async def test_download_garbage_collected_in_thread_stops_transfer(
    binary: str, folder: Folder
) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB)
        held = [await unfinished(client) for _ in range(2)]
        thread = threading.Thread(target=held.clear)
        thread.start()
        await until(lambda: not thread.is_alive())
        await assert_transfers_end(client)


async def test_download_after_stop_raises(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB)
        stream = await unfinished(client)
    for _ in range(2):
        with pytest.raises(AgentError):
            await read(stream)


async def test_download_cancelled_stops_transfer(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await store(client, 25 * MIB)
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
            streams: list[DownloadStream] = []

            async def consume(streams: list[DownloadStream] = streams) -> None:
                streams.append(await client.download("t1", "b1"))
                while await anext(streams[0]):
                    pass

            task = asyncio.create_task(consume())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for stream in streams:
                # The other task was not cancelled, and must not see the end of the stream.
                with fails("cancelled"):
                    await anext(stream)
        await assert_transfers_end(client)


# Errors that must not look like a complete backup


async def test_download_error_after_last_byte_is_raised() -> None:
    async with scripted("error_after_the_last_byte") as client:
        stream = await client.download("t1", "b1")
        for _ in range(3):
            with fails("integrity_mismatch") as caught:
                await read(stream)
            assert caught.value.details == {"where": "object"}
        await stream.aclose()
        with fails("integrity_mismatch"):
            await read(stream)


@pytest.mark.parametrize("scenario", ["ends_early", "omits_end"])
async def test_download_with_wrong_length_raises(scenario: str) -> None:
    async with scripted(scenario) as client:
        stream = await client.download("t1", "b1")
        for _ in range(2):
            with fails("length_mismatch") as caught:
                await read(stream)
            assert caught.value.kind is Kind.INTEGRITY
            assert caught.value.details["actual"] == MIB


@pytest.mark.parametrize("scenario", ["skips_offset", "ignores_credit"])
async def test_download_with_wrong_offset_raises(scenario: str) -> None:
    async with scripted(scenario) as client:
        stream = await client.download("t1", "b1")
        await asyncio.sleep(0.3)
        for _ in range(2):
            with fails("agent_protocol"):
                await read(stream)


async def test_download_cancel_without_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.session.CANCEL_TIMEOUT", 0.2)
    async with scripted("never_begins") as client:
        task = asyncio.create_task(client.download("t1", "b1"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def test_download_without_begin_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.download.GRACE", 0.1)
    async with scripted("never_begins") as client:
        with fails("timeout"):
            await client.download("t1", "b1", deadline=0.2)


async def test_download_offset_without_capability_raises() -> None:
    async with scripted("never_begins") as client:
        with fails("unsupported_feature"):
            await client.download("t1", "b1", offset=1, deadline=5)
