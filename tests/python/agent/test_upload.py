"""Uploads that succeed, and failed uploads that must leave nothing behind."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from agent import AgentError, Kind, NewBackup, Progress, Stream
from conftest import Folder
from support import (
    MIB,
    assert_nothing_stored,
    backup,
    chunks,
    connected,
    fails,
    random_bytes,
    read,
    scripted,
    until,
)


@pytest.mark.parametrize(
    ("size", "step"),
    [
        (1, 1),
        (100_000, 1),
        (3 * MIB + 1, 65_537),
        (20 * MIB - 1, 1_000_003),
        (20 * MIB, 777_777),
        (45 * MIB + 7, 3_333_333),
        (45 * MIB + 7, 45 * MIB + 7),
    ],
)
async def test_upload_and_download_return_same_bytes(
    binary: str, folder: Folder, size: int, step: int
) -> None:
    data = random_bytes(size)
    async with connected(binary, folder) as client:
        stored = await client.upload("t1", backup(), chunks(data, step), size=size, exact=True)
        assert (stored.backup.id, stored.backup.name) == ("b1", "Backup_b1")
        assert (stored.backup.size, stored.backup.has_checksums) == (size, True)
        assert stored.backup.metadata.items() >= backup().metadata.items()
        assert (await client.list("t1")).backups == (stored.backup,)
        assert await client.get("t1", "b1") == stored.backup
        stream = await client.download("t1", "b1")
        assert (stream.length, stream.backup) == (size, stored.backup)
        assert await read(stream) == data
        await client.delete("t1", "b1")
        await assert_nothing_stored(client, folder)


async def test_upload_accepts_chunks_of_all_sizes(binary: str, folder: Folder) -> None:
    data = random_bytes(9 * MIB)
    sizes = [0, 1, 5, 300_000, 0, 7, 2 * MIB, 255 * 1024, 256 * 1024, MIB, 3, 3 * MIB]

    async def source() -> AsyncIterator[bytes]:
        position = 0
        for size in [*sizes, len(data)]:
            yield data[position : position + size]
            position += size

    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), source(), size=len(data), exact=True)
        assert await read(await client.download("t1", "b1")) == data


async def test_uploads_run_in_parallel(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:

        async def transfer(index: int) -> None:
            data = random_bytes((3 + 2 * index) * MIB + index)
            await client.upload("t1", backup(f"b{index}"), chunks(data, 300_007), size=len(data))
            assert await read(await client.download("t1", f"b{index}")) == data

        await asyncio.gather(*map(transfer, range(6)))
        assert len((await client.list("t1")).backups) == 6


async def test_upload_copies_a_download(binary: str, folder: Folder) -> None:
    data = random_bytes(45 * MIB)
    async with connected(binary, folder) as client:
        await client.open_target("t2", folder.config | {"prefix": f"{folder.prefix}/copy"})
        await client.upload("t1", backup(), chunks(data), size=len(data))

        async def open_original() -> Stream:
            return await client.download("t1", "b1")

        await client.upload("t2", backup(), open_original, size=len(data), exact=True)
        assert await read(await client.download("t2", "b1")) == data


async def test_upload_reports_progress(
    binary: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.upload._PROGRESS_MS", 100)
    size = 45 * MIB
    seen: list[Progress] = []

    async def source() -> AsyncIterator[bytes]:
        async for chunk in chunks(bytes(size)):
            await asyncio.sleep(0.02)
            yield chunk

    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), source(), size=size, on_progress=seen.append)
    done = [progress.done for progress in seen]
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == size
    assert {progress.total for progress in seen} == {size}


async def test_upload_ignores_failing_progress_callback(
    binary: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    def on_progress(_: Progress) -> None:
        raise ZeroDivisionError

    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), chunks(b"data"), on_progress=on_progress)
    assert "A progress callback failed" in caplog.text


# The source


class Source:
    """A source that counts how often it is opened and closed."""

    def __init__(self, size: int, error: BaseException | None = None) -> None:
        self.size, self.error = size, error
        self.opened = self.read = self.closed = 0

    async def open(self) -> Stream:
        self.opened += 1
        return self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in chunks(bytes(self.size), 250_000):
            self.read += len(chunk)
            yield chunk
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed += 1


class AbortableSource(Source):
    """A source without `aclose`."""

    aclose = None  # type: ignore[assignment]

    def abort(self) -> None:
        self.closed += 1


async def test_upload_opens_source_late_and_closes_it(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        for number, source in (("b1", Source(5 * MIB)), ("b2", AbortableSource(5 * MIB))):
            await client.upload("t1", backup(number), source.open, size=source.size)
            assert (source.opened, source.read, source.closed) == (1, source.size, 1)
        for source in (Source(5 * MIB), AbortableSource(5 * MIB)):
            with fails("already_exists"):
                await client.upload("t1", backup(), source.open)
            assert (source.opened, source.read, source.closed) == (0, 0, 0)
            with fails("already_exists"):
                await client.upload("t1", backup(), source)
            assert (source.opened, source.read, source.closed) == (0, 0, 1)
        replaced = await client.upload("t1", backup(), source, if_exists="replace")
        assert (await client.list("t1")).backups[0] == replaced.backup


@pytest.mark.parametrize("size", [0, 3 * MIB, 41 * MIB])
async def test_upload_raises_source_error(binary: str, folder: Folder, size: int) -> None:
    class BrokenError(Exception):
        pass

    broken = BrokenError("the source is gone")
    async with connected(binary, folder) as client:
        source = Source(size, broken)
        with pytest.raises(BrokenError) as caught:
            await client.upload("t1", backup(), source.open, size=50 * MIB, attempts=3)
        assert caught.value is broken
        assert (source.opened, source.read, source.closed) == (1, size, 1)
        await assert_nothing_stored(client, folder)

        source = Source(size, asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await client.upload("t1", backup(), source)
        await assert_nothing_stored(client, folder)


async def test_upload_raises_error_of_opening_source(binary: str, folder: Folder) -> None:
    async def open_source() -> Stream:
        raise OSError("no such disk")

    async with connected(binary, folder) as client:
        with pytest.raises(OSError, match="no such disk"):
            await client.upload("t1", backup(), open_source)
        await assert_nothing_stored(client, folder)


@pytest.mark.parametrize("size", [0, 3 * MIB, 25 * MIB])
async def test_upload_of_short_source_raises(binary: str, folder: Folder, size: int) -> None:
    async with connected(binary, folder) as client:
        with fails("length_mismatch") as caught:
            await client.upload("t1", backup(), chunks(bytes(size)), size=size + 1)
        assert caught.value.kind is Kind.INTEGRITY
        assert caught.value.details == {"expected": size + 1, "actual": size}
        await assert_nothing_stored(client, folder)


async def test_upload_of_long_source_depends_on_exact(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        with fails("length_mismatch"):
            await client.upload("t1", backup(), chunks(bytes(MIB)), size=MIB - 1, exact=True)
        await assert_nothing_stored(client, folder)
        stored = await client.upload("t1", backup(), chunks(bytes(MIB)), size=MIB - 1)
        assert stored.backup.stored_size == MIB


# Stopping early


@pytest.mark.parametrize("size", [0, 3 * MIB, 41 * MIB])
async def test_upload_cancelled_stores_nothing(binary: str, folder: Folder, size: int) -> None:
    waits = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        async for chunk in chunks(bytes(size)):
            yield chunk
        waits.set()
        await asyncio.sleep(60)

    async with connected(binary, folder) as client:
        task = asyncio.create_task(client.upload("t1", backup(), source(), size=50 * MIB))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # No wait is needed: the agent answers after its cleanup.
        await assert_nothing_stored(client, folder)


async def test_upload_cancelled_at_any_time_stores_nothing(binary: str, folder: Folder) -> None:
    async def source() -> AsyncIterator[bytes]:
        async for chunk in chunks(bytes(21 * MIB)):
            yield chunk
        # The upload is still running when it is cancelled.
        await asyncio.sleep(60)

    async with connected(binary, folder) as client:
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55):
            task = asyncio.create_task(client.upload("t1", backup(), source(), size=22 * MIB))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert folder.keys() == []
            assert folder.unfinished() == []


async def test_stop_ends_upload(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        waits = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            async for chunk in chunks(bytes(22 * MIB)):
                yield chunk
            waits.set()
            await asyncio.sleep(60)

        task = asyncio.create_task(client.upload("t1", backup(), source(), attempts=5))
        await waits.wait()
        await client.stop()
        with pytest.raises(AgentError):
            await task
        assert folder.keys() == []
        assert folder.unfinished() == []
        await client.start()
        await assert_nothing_stored(client, folder)


async def test_upload_error_while_source_waits_is_raised() -> None:
    source_ended = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield bytes(MIB)
            await asyncio.sleep(60)
        finally:
            source_ended.set()

    async with scripted("full") as client:
        begin = time.monotonic()
        with fails("quota_exceeded") as caught:
            await client.upload("t1", backup(), source(), attempts=3)
        assert time.monotonic() - begin < 5
        assert source_ended.is_set()
        assert (caught.value.kind, caught.value.cleanup) == (Kind.LIMIT, "complete")


async def test_upload_with_source_that_does_not_stop_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.upload._STOP_TIMEOUT", 0.1)
    may_end = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    async with scripted("full") as client:
        stream = source()
        with fails("quota_exceeded"):
            await client.upload("t1", backup(), stream)
        assert "The source of an upload does not stop" in caplog.text
        may_end.set()


async def test_upload_answer_before_end_raises() -> None:
    async def source() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    async with scripted("answers_early") as client:
        with fails("agent_protocol"):
            await client.upload("t1", backup(), source())


async def test_upload_repeats_after_retryable_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.client._RETRY_PAUSE", 0.01)
    source = Source(5)
    done: list[int] = []
    async with scripted("throttles") as client:
        stored = await client.upload(
            "t1",
            backup(),
            source.open,
            attempts=3,
            on_progress=lambda progress: done.append(progress.done),
        )
    assert stored.backup.id == "b1"
    assert (source.opened, source.closed) == (3, 3)
    assert done == sorted(done)


@pytest.mark.parametrize(
    ("capabilities", "kept"),
    [(["upload.resume"], "[600, 600, null]"), ([], "[null, null, null]")],
)
async def test_upload_keeps_parts_except_for_last_attempt(
    capabilities: list[str], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an agent that has the capability `upload.resume`."""
    monkeypatch.setattr("agent.client._RETRY_PAUSE", 0.01)
    async with scripted("resumes", "-", *capabilities) as client:
        stored = await client.upload("t1", backup(), Source(5).open, attempts=3, resume=600)
    assert stored.backup.name == kept
    assert stored.resumed_bytes == 3


@pytest.mark.parametrize("code", ["shutting_down", "busy"])
async def test_upload_repeats_only_transient_kinds(code: str) -> None:
    source = Source(5)
    async with scripted("refuses_uploads", "-", code) as client:
        with fails(code) as caught:
            await client.upload("t1", backup(), source.open, attempts=3)
    assert caught.value.retryable
    assert source.opened == 1


async def test_stop_ends_pause_before_repetition() -> None:
    source = Source(5)
    async with scripted("throttles", "-", 3_600_000) as client:
        upload = asyncio.create_task(client.upload("t1", backup(), source.open, attempts=3))
        await until(lambda: source.closed)
        await client.stop()
        with fails("shutting_down"):
            await asyncio.wait_for(upload, 30)
    assert source.opened == 1


@pytest.mark.parametrize("attempts", [1, 2])
async def test_upload_stops_after_last_attempt(
    monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    monkeypatch.setattr("agent.client._RETRY_PAUSE", 0.01)
    source = Source(5)
    async with scripted("throttles") as client:
        with fails("throttled") as caught:
            await client.upload("t1", backup(), source.open, attempts=attempts)
    assert caught.value.retryable
    assert caught.value.retry_after == 0.001
    assert source.opened == attempts


async def test_upload_does_not_repeat_stream() -> None:
    async with scripted("throttles") as client:
        with fails("throttled"):
            await client.upload("t1", backup(), chunks(b"12345"), attempts=3)


async def test_upload_with_invalid_metadata_raises(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        for metadata, code in (
            ({"note": "x" * 65_536}, "too_large"),
            ({"note": {1, 2}}, "invalid_params"),
            ({"note": float("nan")}, "invalid_params"),
            ({"note": "\udc80"}, "invalid_params"),
        ):
            with fails(code):
                await client.upload("t1", NewBackup("b1", "B", metadata), chunks(b"data"))
        await assert_nothing_stored(client, folder)
