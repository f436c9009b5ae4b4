"""Helpers for the tests of the client library."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent import AgentClient, AgentError, DownloadStream, NewBackup
from conftest import Folder

MIB = 1 << 20
FAKE_AGENT = Path(__file__).with_name("fake_agent.py")


@contextlib.asynccontextmanager
async def connected(
    binary: str, folder: Folder, state_dir: Path | None = None
) -> AsyncIterator[AgentClient]:
    """A client of the real agent, with the folder as target `t1`."""
    async with AgentClient(command=[binary, "serve"], state_dir=state_dir) as client:
        await client.open_target("t1", folder.config)
        yield client


def fake_agent_command(scenario: str, *arguments: object) -> list[str]:
    """The command of a fake agent."""
    return [sys.executable, str(FAKE_AGENT), scenario, *map(str, arguments)]


@contextlib.asynccontextmanager
async def scripted(scenario: str, *arguments: object, **options: Any) -> AsyncIterator[AgentClient]:
    """A client of a fake agent, with a target `t1`."""
    command = fake_agent_command(scenario, *arguments)
    async with AgentClient(command=command, **options) as client:
        await client.open_target("t1", {"secret_access_key": 's3cr/t+k"y'})
        yield client


def backup(number: str = "b1") -> NewBackup:
    return NewBackup(number, f"Backup_{number}", {"backup_id": number, "note": "ä"})


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def chunks(data: bytes, size: int = MIB) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(stream: DownloadStream) -> bytes:
    received = bytearray()
    async for chunk in stream:
        assert type(chunk) is bytes
        assert 0 < len(chunk) <= MIB
        received += chunk
    return bytes(received)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Polls until a condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def assert_nothing_stored(client: AgentClient, folder: Folder) -> None:
    listing = await client.list("t1", refresh=True)
    assert (listing.backups, listing.skipped) == ((), ())
    assert folder.keys() == []
    assert folder.unfinished() == []


@contextlib.contextmanager
def fails(code: str) -> Iterator[pytest.ExceptionInfo[AgentError]]:
    with pytest.raises(AgentError) as caught:
        yield caught
    assert caught.value.code == code, repr(caught.value)
