"""Tests that one version of the agent reads the bucket and state directory of another one.

Run by tests/upgrade, with `OLDER_AGENT_BIN` beside `S3_BACKUP_AGENT_BIN`.
"""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agent import AgentClient, NewBackup
from conftest import Folder, setting
from support import MIB, chunks, connected, fails, random_bytes, read, until

SMALL, LARGE = random_bytes(3 * MIB), random_bytes(45 * MIB)  # one object, and several parts


@pytest.fixture(params=["older first", "newer first"])
def pair(request: pytest.FixtureRequest, binary: str) -> tuple[str, str]:
    """The program that writes, and the program that reads."""
    older = str(Path(setting("OLDER_AGENT_BIN")).absolute())
    return (older, binary) if request.param == "older first" else (binary, older)


def new(number: str, data: bytes) -> NewBackup:
    members = {"backup_id": number, "name": "ä 🏠", "date": "2026-11-20T03:00:00+00:00"}
    return NewBackup(
        number, f"Name of {number}", {**members, "size": len(data), "x_more": [1, None]}
    )


async def store(client: AgentClient, number: str, data: bytes, **options: object) -> None:
    given: dict[str, object] = {"size": len(data), "retry_for": 60, "resume": 600, **options}
    await client.upload("t1", new(number, data), chunks(data), **given)  # type: ignore[arg-type]


async def fetch(client: AgentClient, number: str) -> bytes:
    return await read(await client.download("t1", number))


async def listed(client: AgentClient) -> dict[str, object]:
    """The metadata of all backups by ID. Asserts that nothing was skipped."""
    listing = await client.list("t1", refresh=True, stale=60)
    assert listing.skipped == ()
    return {backup.id: backup.metadata for backup in listing.backups}


def records(state: Path) -> list[Path]:
    return sorted(state.glob("uploads/*.json"))


async def test_backups_of_other_version_are_usable(
    pair: tuple[str, str], folder: Folder, tmp_path: Path
) -> None:
    first, second = pair
    contents = {"small": SMALL, "large": LARGE}
    async with connected(first, folder, tmp_path) as client:
        for number, data in contents.items():
            await store(client, number, data)
        before = await listed(client)
        assert (await client.validate("t1")).ok
    assert set(before) == set(contents)
    async with connected(second, folder, tmp_path) as client:
        assert await listed(client) == before
        for number, data in contents.items():
            assert (await client.get("t1", number)).metadata == before[number]
            assert await fetch(client, number) == data
            with fails("already_exists"):
                await store(client, number, data)
            if second != setting("OLDER_AGENT_BIN"):
                # The status has another name in earlier revisions.
                found = await client.verify("t1", number)
                assert found.status == "ok", found
        await client.delete("t1", "large")
        await store(client, "small", LARGE, if_exists="replace")
        await store(client, "third", SMALL)
    async with connected(first, folder, tmp_path) as client:
        assert set(await listed(client)) == {"small", "third"}
        assert await fetch(client, "small") == LARGE
        for number in ("small", "third"):
            await client.delete("t1", number)
        assert await listed(client) == {}
    assert folder.keys() == []
    assert folder.unfinished() == []
    assert records(tmp_path) == []


def test_command_line_reads_backups_of_other_version(
    pair: tuple[str, str], folder: Folder, tmp_path: Path
) -> None:
    def run(program: str, *arguments: str) -> str:
        command = [program, *arguments]
        state = {"S3_BACKUP_AGENT_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
        environment = folder.environment | state
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = pair
    archive, back = tmp_path / "some.bin", tmp_path / "back.bin"
    archive.write_bytes(LARGE)
    run(first, "upload", str(archive), "--name", "some")
    (found,) = json.loads(run(second, "list", "--json"))["backups"]
    number = found["id"]
    run(second, "download", number, "-o", str(back))
    assert back.read_bytes() == LARGE
    run(second, "delete", number, "--yes")
    assert folder.keys() == []


async def killed_during_upload(client: AgentClient, folder: Folder) -> None:
    """Kills the agent when it has started an upload."""

    async def stalls() -> AsyncIterator[bytes]:
        yield LARGE[: 30 * MIB]
        await asyncio.Event().wait()

    async def open_source() -> AsyncIterator[bytes]:
        return stalls()

    upload = asyncio.create_task(
        client.upload("t1", new("b1", LARGE), open_source, size=len(LARGE), resume=600, attempts=2)
    )
    await until(lambda: upload.done() or folder.unfinished(), 60)
    assert client.pid
    os.kill(client.pid, signal.SIGKILL)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload


@pytest.mark.parametrize("is_forgotten", [True, False])
async def test_killed_upload_is_cleaned_up_by_other_version(
    pair: tuple[str, str], folder: Folder, tmp_path: Path, is_forgotten: bool
) -> None:
    """The next agent resumes the upload, or cleans it up if it is forgotten."""
    first, second = pair
    async with connected(first, folder, tmp_path) as client:
        await killed_during_upload(client, folder)
    assert len(folder.unfinished()) == 1
    (record,) = records(tmp_path)
    if is_forgotten:
        # Long enough ago that no request of the upload is in transit.
        with record.open("a") as file:
            file.write('\n{"orphan_since":1}\n')
    async with connected(second, folder, tmp_path) as client:
        assert await listed(client) == {}
        if is_forgotten:
            await until(lambda: not records(tmp_path), 60)
            assert folder.unfinished() == []
            assert folder.keys() == []
        await store(client, "b1", LARGE)
        await until(lambda: not folder.unfinished(), 60)
    async with connected(first, folder, tmp_path) as client:
        assert set(await listed(client)) == {"b1"}
        assert await fetch(client, "b1") == LARGE
        await client.delete("t1", "b1")
        await until(lambda: not folder.keys(), 60)
    assert folder.unfinished() == []
