"""Backups and restores by the backup manager."""

import asyncio
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from conftest import Flow, Storage, made
from home_assistant import DOMAIN, CommandError, HomeAssistant, Json
from pausing_proxy import PausingProxy

MIB = 1 << 20
BALLAST = 96 * MIB
HALF = 150 * MIB
KEY_PASSWORD = "ABCD-EFGH-IJKL-MNOP"


@pytest_asyncio.fixture(autouse=True)
async def clean(
    home: HomeAssistant, storage: Storage, agent_id: str, proxy: PausingProxy
) -> AsyncIterator[None]:
    """Every test starts with an empty prefix, and leaves it empty."""
    proxy.open()
    yield
    proxy.open()
    for backup in await home.backups(agent_id):
        await home.command("backup/delete", backup_id=backup["backup_id"])
    # The next agent cleans up after one that was killed.
    await home.until(storage.is_empty, "the prefix is empty")


async def test_upload_list_download_delete(
    home: HomeAssistant, agent_id: str, storage: Storage
) -> None:
    backup = await made(home, agent_id, "Küche & Büro 🏠")
    archive, metadata = sorted(storage.objects(), key=lambda key: key.endswith(".json"))
    assert archive.startswith(f"{storage.prefix}/backups/")
    assert json.loads(storage.read(metadata))["backup_id"] == backup["backup_id"]
    stored = storage.read(archive)
    assert await home.digest(backup["backup_id"], agent_id) == (
        len(stored),
        hashlib.sha256(stored).hexdigest(),
    )
    assert backup["agents"][agent_id] == {"protected": False, "size": len(stored)}

    answer = await home.command("backup/delete", backup_id=backup["backup_id"])
    assert answer["agent_errors"] == {}
    assert storage.objects() == []
    async with home.download(backup["backup_id"], agent_id) as response:
        assert response.status == 404


async def test_encrypted_backup_can_be_restored(
    home: HomeAssistant, agent_id: str, storage: Storage
) -> None:
    backup = await made(home, agent_id, "Encrypted", password=KEY_PASSWORD)
    assert backup["agents"][agent_id]["protected"]
    about = {"backup_id": backup["backup_id"], "agent_id": agent_id}

    await home.command("backup/can_decrypt_on_download", **about, password=KEY_PASSWORD)
    with pytest.raises(CommandError, match="password_incorrect"):
        await home.command("backup/can_decrypt_on_download", **about, password="wrong")
    with pytest.raises(CommandError, match="password_incorrect"):
        await home.command("backup/restore", **about, password="wrong")

    plain = bytearray()
    async with home.download(backup["backup_id"], agent_id, KEY_PASSWORD) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            plain += chunk
    stored = storage.archive()
    assert b'"protected": false' in plain or b'"protected":false' in plain
    assert b'"protected": true' in stored or b'"protected":true' in stored


async def test_automatic_backups_delete_the_oldest(
    home: HomeAssistant, agent_id: str, storage: Storage
) -> None:
    await home.command(
        "backup/config/update",
        create_backup={
            "agent_ids": [agent_id],
            "include_database": False,
            "password": KEY_PASSWORD,
        },
        retention={"copies": 2, "days": None},
    )
    by_hand = await made(home, agent_id, "By hand")
    made_ids: list[str] = []
    for _ in range(4):
        async with home.connection() as connection:
            run = await (await connection.automatic_backup()).end()
        assert run.state == "completed", run.reason
        ids = {b["backup_id"] for b in await home.backups(agent_id)} - {*made_ids}
        made_ids += ids - {by_hand["backup_id"]}

    async def kept() -> bool:
        found = {backup["backup_id"] for backup in await home.backups(agent_id)}
        return found == {by_hand["backup_id"], *made_ids[-2:]}

    await home.until(kept, "the two newest are kept, and what was made by hand")
    assert len(storage.objects()) == 6


async def kill_agent(home: HomeAssistant) -> None:
    (agent,) = home.agents()
    os.kill(agent, 9)
    await home.until(lambda: agent not in home.agents(), "the agent is gone")


async def test_list_with_agent_killed_raises(
    home: HomeAssistant, agent_id: str, proxy: PausingProxy
) -> None:
    backup = await made(home, agent_id, "Listed")
    # The next agent has no cached listing, so it must list.
    await kill_agent(home)
    proxy.close_after("up", 1)
    asking = asyncio.create_task(home.command("backup/info"))
    await asyncio.wait_for(proxy.closed.wait(), 30)
    await kill_agent(home)
    proxy.open()
    info = await asyncio.wait_for(asking, 60)
    assert "ended unexpectedly" in info["agent_errors"][agent_id]
    assert [b["backup_id"] for b in await home.backups(agent_id)] == [backup["backup_id"]]


@pytest.fixture(scope="session")
def large(home: HomeAssistant) -> int:
    """Makes all further backups large: several parts, more than fits into buffers."""
    path = home.config / "ballast"
    if not path.exists():
        path.write_bytes(os.urandom(BALLAST))
    return BALLAST


async def test_large_backup_reports_progress(
    home: HomeAssistant, agent_id: str, storage: Storage, large: int
) -> None:
    async with home.connection() as connection:
        run = await (await connection.backup(agent_id, "Large")).end()
    assert run.state == "completed", run.reason
    (backup,) = await home.backups(agent_id)
    size = backup["agents"][agent_id]["size"]
    assert size > large
    if run.progress:  # Home Assistant reports it from 2026.4 on
        counts = [count for agent, count, _ in run.progress if agent == agent_id]
        assert counts == sorted(counts)
        assert counts[-1] == size
    stored = storage.archive()
    assert await home.digest(backup["backup_id"], agent_id) == (
        size,
        hashlib.sha256(stored).hexdigest(),
    )


async def test_upload_with_agent_killed_resumes(
    home: HomeAssistant, agent_id: str, storage: Storage, proxy: PausingProxy, large: int
) -> None:
    """The next agent resumes the upload."""
    proxy.close_after("up", large // 2)
    async with home.connection() as connection:
        run = await connection.backup(agent_id, "Killed")
        await asyncio.wait_for(proxy.closed.wait(), 120)
        assert storage.unfinished()
        await kill_agent(home)
        proxy.open()
        await asyncio.wait_for(run.end(), 120)
    assert (run.state, run.reason) == ("completed", None)
    (backup,) = await home.backups(agent_id)
    assert not storage.unfinished()
    assert "Unexpected error" not in home.log
    assert (await home.digest(backup["backup_id"], agent_id))[0] > large


async def test_download_with_agent_killed_fails(
    home: HomeAssistant, agent_id: str, proxy: PausingProxy, large: int
) -> None:
    """The browser gets an interrupted transfer, not a short file."""
    backup = await made(home, agent_id, "Broken off")
    proxy.close_after("down", large * 3 // 4)

    async def kill() -> None:
        await proxy.closed.wait()
        await kill_agent(home)
        proxy.open()

    killing = asyncio.create_task(kill())
    size = 0
    with pytest.raises(aiohttp.ClientPayloadError):
        async with home.download(backup["backup_id"], agent_id) as response:
            assert response.status == 200
            async for chunk in response.content.iter_any():
                size += len(chunk)
    await killing
    assert 0 < size < backup["agents"][agent_id]["size"]
    assert (await home.digest(backup["backup_id"], agent_id))[0] > large


async def test_download_aborted_stops_transfer(
    home: HomeAssistant, agent_id: str, proxy: PausingProxy, large: int
) -> None:
    backup = await made(home, agent_id, "Given up")
    before = proxy.passed["down"]
    async with home.download(backup["backup_id"], agent_id) as response:
        await response.content.readexactly(MIB)
        response.close()
    passed = 0

    def quiet() -> bool:
        nonlocal passed
        passed, last = proxy.passed["down"] - before, passed
        return passed == last

    await home.until(quiet, "the transfer has ended", pause=1)
    assert passed < large


@pytest.mark.parametrize("with_another", [False, True])
async def test_upload_survives_change_of_entry(
    home: HomeAssistant,
    agent_id: str,
    entry: Json,
    form: Json,
    storage: Storage,
    *,
    with_another: bool,
) -> None:
    """The backup is complete, and is listed at once."""
    flows = "/api/config/config_entries/flow"

    async def options(**given: float) -> None:
        begun = await home.post(
            "/api/config/config_entries/options/flow", {"handler": entry["entry_id"]}
        )
        path = f"/api/config/config_entries/options/flow/{begun['flow_id']}"
        assert (await home.post(path, given))["type"] == "create_entry"

    another = ""
    if with_another:
        flow = Flow(home)
        await flow.start()
        answer = await flow.fill(form | {"prefix": f"{storage.prefix}-other"})
        another = answer["result"]["entry_id"]
    (home.config / "more").write_bytes(os.urandom(HALF))
    (home.config / "most").write_bytes(os.urandom(HALF))
    await options(bandwidth_limit=200)
    async with home.connection() as connection:
        run = await connection.backup(agent_id, "Under way")
        await home.until(storage.unfinished, "the upload has begun", timeout=60)
        (agent,) = home.agents()
        await home.post(f"/api/config/config_entries/entry/{entry['entry_id']}/reload")
        begun = await home.post(flows, {"handler": DOMAIN, "entry_id": entry["entry_id"]})
        names = ("endpoint", "region", "access_key_id", "secret_access_key")
        given = {name: form[name] for name in names} | {"more": {"addressing_style": "path"}}
        ended = await home.post(f"{flows}/{begun['flow_id']}", given)
        assert ended["reason"] == "reconfigure_successful"
        assert storage.unfinished()
        await options()
        await asyncio.wait_for(run.end(), 120)
    assert (run.state, run.reason) == ("completed", None)
    assert home.agents() == [agent]
    (backup,) = await home.backups(agent_id)
    assert backup["agents"][agent_id]["size"] > 2 * HALF

    async def is_counted() -> bool:
        states = await home.get("/api/states")
        counts = [s["state"] for s in states if s["entity_id"].endswith("_backups")]
        return "1" in counts

    await home.until(is_counted, "the sensor follows", timeout=30)
    assert "KeyError" not in home.log
    for name in ("more", "most"):
        (home.config / name).unlink()
    if another:
        await home.delete(f"/api/config/config_entries/entry/{another}")


@pytest.mark.parametrize("how", ["restarted", "killed", "killed with the agent"])
async def test_upload_with_home_assistant_ending_is_cleaned_up(
    home: HomeAssistant, agent_id: str, storage: Storage, proxy: PausingProxy, large: int, how: str
) -> None:
    """The next start cleans up, and no process is left."""
    (agent,) = home.agents()
    proxy.close_after("up", large // 2)
    async with home.connection() as connection:
        await connection.backup(agent_id, "Interrupted")
        await asyncio.wait_for(proxy.closed.wait(), 120)
        assert storage.unfinished()
    if how == "killed with the agent":
        # Like a power failure: the agent cannot clean up.
        os.kill(home.pid, signal.SIGSTOP)
        os.kill(agent, signal.SIGKILL)
    stopping = asyncio.create_task(home.stop(kill=how != "restarted"))
    await asyncio.sleep(0.5)
    proxy.open()
    await stopping
    await home.until(lambda: not Path(f"/proc/{agent}").exists(), "the agent has ended")
    if how == "restarted":
        assert storage.is_empty()
    else:
        assert storage.unfinished()
    await home.start()
    assert await home.backups(agent_id) == []
    # For one minute, the parts are kept for a resume.
    await home.until(storage.is_empty, "the prefix is empty", 120)
    await made(home, agent_id, "After that")
