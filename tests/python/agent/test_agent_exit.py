"""Agents that exit, hang or break the protocol: calls raise, and the next call works."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from agent import AgentClient, AgentGone, Backup, Kind
from conftest import Folder
from support import (
    MIB,
    assert_nothing_stored,
    backup,
    chunks,
    connected,
    fails,
    fake_agent_command,
    random_bytes,
    read,
    scripted,
    until,
)


def send_signal(client: AgentClient, number: signal.Signals) -> None:
    assert client.pid
    os.kill(client.pid, number)


async def _killing_source(
    client: AgentClient, data: bytes, is_time: Callable[[], object]
) -> AsyncIterator[bytes]:
    """A source that kills the agent after its data, when the condition is true."""
    async for chunk in chunks(data):
        yield chunk
    await until(is_time)
    send_signal(client, signal.SIGKILL)
    await asyncio.Event().wait()


async def test_upload_with_agent_killed_twice_raises(
    binary: str, folder: Folder, tmp_path: Path
) -> None:
    opened = 0
    async with connected(binary, folder, tmp_path / "state") as client:

        async def open_source() -> AsyncIterator[bytes]:
            nonlocal opened
            opened += 1
            return _killing_source(client, bytes(25 * MIB), folder.unfinished)

        with pytest.raises(AgentGone) as caught:
            await client.upload("t1", backup(), open_source, size=100 * MIB, attempts=5)
        assert opened == 2, "an upload that kills the agent is repeated only once"
        error = caught.value
        assert (error.code, error.kind, error.retryable) == ("agent_gone", Kind.TRANSIENT, True)
        assert error.details["signal"] == "SIGKILL"
        assert "a host is connected" in error.details["stderr_tail"]
        assert (await client.list("t1")).backups == ()
        # This agent cleans up the upload of the killed one.
        await _until_objects(folder, 0)
        await client.upload("t1", backup(), chunks(b"data"))
        assert await read(await client.download("t1", "b1")) == b"data"


async def test_upload_with_agent_killed_once_resumes(
    binary: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next agent sends only the missing parts."""
    monkeypatch.setattr("agent.client._RETRY_PAUSE", 0.01)
    data, opened = random_bytes(25 * MIB), 0
    state = tmp_path / "state"
    async with connected(binary, folder, state) as client:
        await client.open_target("t1", folder.config | {"part_size": 5 * MIB})

        async def open_source() -> AsyncIterator[bytes]:
            nonlocal opened
            opened += 1
            if opened == 1:
                return _killing_source(
                    client, data[: 21 * MIB], lambda: _recorded_parts(state) == 4
                )
            return chunks(data)

        stored = await client.upload(
            "t1", backup(), open_source, size=len(data), attempts=3, resume=600
        )
        assert (opened, stored.resumed_bytes) == (2, 20 * MIB)
        assert await read(await client.download("t1", "b1")) == data
        await _until_objects(folder, 2)


def _recorded_parts(state: Path) -> int:
    """The number of parts in the upload journal."""
    return sum(path.read_text().count('"part":') for path in state.glob("uploads/*.json"))


async def test_upload_last_attempt_keeps_nothing(
    binary: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.client._RETRY_PAUSE", 0.01)
    opened = 0
    async with connected(binary, folder, tmp_path / "state") as client:

        async def open_source() -> AsyncIterator[bytes]:
            nonlocal opened
            opened += 1
            return _killing_source(client, bytes(25 * MIB), folder.unfinished)

        with fails("agent_gone"):
            await client.upload("t1", backup(), open_source, size=30 * MIB, attempts=2, resume=600)
        assert opened == 2
        assert (await client.list("t1")).backups == ()
        await _until_objects(folder, 0)


@pytest.mark.parametrize("size", [2 * MIB, 21 * MIB])
async def test_upload_with_agent_killed_at_end_stores_all_or_nothing(
    binary: str, folder: Folder, tmp_path: Path, size: int
) -> None:
    """All bytes were sent: either the backup is complete, or nothing is stored."""
    data = random_bytes(size)
    async with connected(binary, folder, tmp_path / "state") as client:
        for number, pause in enumerate((0, 0.003, 0.01, 0.03, 0.1)):
            upload = asyncio.create_task(
                client.upload("t1", backup(f"b{number}"), sent := _Sent(data), size=size)
            )
            await sent.done.wait()
            await asyncio.wait((upload,), timeout=pause)
            send_signal(client, signal.SIGKILL)
            with contextlib.suppress(AgentGone):
                await upload
            await until(lambda: client.info is None)

            for each in await _remaining_backups(client, folder):
                assert await read(await client.download("t1", each.id)) == data
                await client.delete("t1", each.id)


async def _until_objects(folder: Folder, objects: int) -> None:
    """Waits until there are this many objects and no incomplete uploads."""
    await until(lambda: not folder.unfinished() and len(folder.keys()) == objects, seconds=30)


async def _remaining_backups(client: AgentClient, folder: Folder) -> Sequence[Backup]:
    """The backups, after the last request of the killed agent has ended."""
    async with asyncio.timeout(60):
        while True:
            await client.cleanup("t1")
            stored = (await client.list("t1", refresh=True)).backups
            if not folder.unfinished() and len(folder.keys()) == 2 * len(stored):
                return stored


class _Sent:
    """A source that tells when all of it was read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.done = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in chunks(self._data):
            yield chunk
        self.done.set()


async def test_download_with_agent_killed_raises(binary: str, folder: Folder) -> None:
    data = random_bytes(30 * MIB)
    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), chunks(data))
        stream = await client.download("t1", "b1")
        await anext(stream)
        send_signal(client, signal.SIGKILL)
        for _ in range(2):
            with fails("agent_gone"):
                await read(stream)
        assert await read(await client.download("t1", "b1")) == data


async def test_list_with_agent_killed_raises(binary: str, folder: Folder, tmp_path: Path) -> None:
    async with connected(binary, folder, tmp_path / "state") as client:
        send_signal(client, signal.SIGSTOP)
        lists = [asyncio.create_task(client.list("t1")) for _ in range(5)]
        await asyncio.sleep(0.1)
        send_signal(client, signal.SIGKILL)
        for task in lists:
            with fails("agent_gone"):
                await task
        await assert_nothing_stored(client, folder)


async def test_idle_agent_killed_is_restarted(
    binary: str, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(binary, folder) as client:
        await until(lambda: client.log_tail)
        send_signal(client, signal.SIGKILL)
        await until(lambda: client.info is None)
        assert client.pid is None
        assert any("a host is connected" in line for line in client.log_tail)
        assert "The agent must be restarted" in caplog.text
        await assert_nothing_stored(client, folder)


@pytest.mark.parametrize(
    ("scenario", "code", "words"),
    [
        ("prints_during_request", "agent_protocol", "a stray print"),
        ("closes_output", "agent_gone", "closed its input or output"),
    ],
)
async def test_protocol_violation_is_raised_and_agent_restarted(
    monkeypatch: pytest.MonkeyPatch, scenario: str, code: str, words: str
) -> None:
    monkeypatch.setattr("agent.process._CLOSED_TIMEOUT", 0.2)
    async with scripted(scenario) as client:
        for _ in range(2):
            with fails(code) as caught:
                await client.list("t1")
            assert words in caught.value.message


async def test_unreadable_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted("reports_parse_error") as client:
        with fails("agent_gone") as caught:
            await client.list("t1")
    assert caught.value.details["exit_code"] == 76
    assert "cannot read a message of this host: it is parse_error" in caplog.text


async def test_silent_agent_is_killed(
    binary: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.session.PING_AFTER", 0.3)
    monkeypatch.setattr("agent.session.PING_TIMEOUT", 1)
    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), chunks(bytes(25 * MIB)))
        stream = await client.download("t1", "b1")
        await asyncio.sleep(2.5)  # the agent answers the ping, so it is not killed
        assert len(await read(stream)) == 25 * MIB
        send_signal(client, signal.SIGSTOP)
        with fails("agent_gone") as caught:
            await client.list("t1")
        assert "no longer answered" in caught.value.message
        assert len((await client.list("t1")).backups) == 1


# Stopping


async def test_stop_lets_agent_clean_up(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        process = client._session._process if client._session else None
        await client.stop()
        assert process
        assert process._transport
        assert process._transport.get_returncode() == 0


@pytest.mark.parametrize(
    ("scenario", "ended_by"),
    [("never_exits", -signal.SIGTERM), ("ignores_sigterm", -signal.SIGKILL)],
)
async def test_stop_kills_agent_that_does_not_exit(
    monkeypatch: pytest.MonkeyPatch, scenario: str, ended_by: int
) -> None:
    monkeypatch.setattr("agent.process.STOP_TIMEOUT", 0.3)
    monkeypatch.setattr("agent.process.TERMINATE_TIMEOUT", 0.5)
    async with scripted(scenario) as client:
        process = client._session._process if client._session else None
        begin = time.monotonic()
        await client.stop()
        assert time.monotonic() - begin < 5
        assert process
        assert process._transport
        assert process._transport.get_returncode() == ended_by
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


async def test_stop_cancelled_kills_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted("ignores_sigterm") as client:
        pid = client.pid or 0
        stop = asyncio.create_task(client.stop())
        await asyncio.sleep(0.1)
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        await until(lambda: not Path(f"/proc/{pid}").exists())


# The pause before a restart


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    return tmp_path / "starts"


def count(starts: Path) -> int:
    return len(starts.read_text().splitlines())


async def test_failing_starts_are_delayed(monkeypatch: pytest.MonkeyPatch, starts: Path) -> None:
    monkeypatch.setattr("agent.backoff.MIN_PAUSE", 0.2)
    monkeypatch.setattr("agent.backoff.MAX_WAIT", 0.5)
    async with AgentClient(command=fake_agent_command("dies", starts)) as client:
        begin = time.monotonic()
        for _ in range(3):
            with fails("agent_start_failed"):
                await client.open_target("t1", {})
        assert time.monotonic() - begin > 0.2 + 0.4
        assert count(starts) == 3
        for _ in range(5):  # 0.8 seconds exceed MAX_WAIT
            with fails("agent_start_failed") as caught:
                await client.open_target("t1", {})
            assert caught.value.retry_after
        assert count(starts) == 3
        await asyncio.sleep(0.8)
        with fails("agent_start_failed"):
            await client.open_target("t1", {})
        assert count(starts) == 4
        with fails("agent_start_failed"):
            await client.start()  # resets the pause
        assert count(starts) == 5


async def test_agent_that_served_restarts_at_once(starts: Path) -> None:
    async with scripted("throttles", starts) as client:
        for number in range(1, 6):
            with fails("throttled"):
                await client.upload("t1", backup(), chunks(b"12345"))
            send_signal(client, signal.SIGKILL)
            await until(lambda: client.info is None)
            assert count(starts) == number


async def test_parallel_calls_start_one_agent(starts: Path) -> None:
    async with scripted("accepts_three_requests", starts) as client:
        await client.stop()
        await client.start()
        send_signal(client, signal.SIGKILL)
        await until(lambda: client.info is None)
        found = await asyncio.gather(*(client.get("t1", f"b{index}") for index in range(3)))
        assert len(found) == 3
        assert count(starts) == 3
