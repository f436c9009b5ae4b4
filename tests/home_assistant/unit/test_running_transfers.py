"""Transfers that run while their entry is changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from conftest import MIB, Load, Source, Storage, agent_of, new_backup, new_entry, read
from custom_components.s3_backup_agent import hub
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

SIZE = 60 * MIB


class Halting(Source):
    """A source that pauses in the middle until `goes_on` is set."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.is_halfway = asyncio.Event()
        self.form_opens = asyncio.Event()

    async def open(self) -> AsyncIterator[bytes]:
        inner = await super().open()

        async def read() -> AsyncIterator[bytes]:
            count = 0
            async for chunk in inner:
                yield chunk
                count += len(chunk)
                if count >= len(self.content) // 2:
                    self.is_halfway.set()
                    await self.form_opens.wait()

        return read()


type Change = Callable[[HomeAssistant, MockConfigEntry, Storage], Awaitable[None]]


async def reload(hass: HomeAssistant, entry: MockConfigEntry, storage: Storage) -> None:
    assert await hass.config_entries.async_reload(entry.entry_id)


async def options(hass: HomeAssistant, entry: MockConfigEntry, storage: Storage) -> None:
    form = await hass.config_entries.options.async_init(entry.entry_id)
    given = {"concurrency": 2, "part_size": 6, "memory": 64}
    result = await hass.config_entries.options.async_configure(form["flow_id"], given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options["concurrency"] == 2


async def reconfigure(hass: HomeAssistant, entry: MockConfigEntry, storage: Storage) -> None:
    form = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    names = ("endpoint", "access_key_id", "secret_access_key")
    given = {name: storage.form[name] for name in names} | {"more": {}}
    given["endpoint"] = storage.endpoint.replace("127.0.0.1", "localhost")
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert result["reason"] == "reconfigure_successful"


async def reauth(hass: HomeAssistant, entry: MockConfigEntry, storage: Storage) -> None:
    form = await entry.start_reauth_flow(hass)
    given = {name: storage.form[name] for name in ("access_key_id", "secret_access_key")}
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert result["reason"] == "reauth_successful"


@pytest.mark.parametrize("with_another", [False, True])
@pytest.mark.parametrize("change", [reload, options, reconfigure, reauth])
async def test_upload_survives_change_of_entry(
    hass: HomeAssistant, load: Load, storage: Storage, change: Change, *, with_another: bool
) -> None:
    entry = await load(new_entry(storage.data))
    if with_another:
        await load(new_entry(Storage().data))
    source, backup = Halting(b"x" * SIZE), new_backup(SIZE)
    running = asyncio.create_task(
        agent_of(hass, entry).async_upload_backup(open_stream=source.open, backup=backup)
    )
    await source.is_halfway.wait()
    pid = entry.runtime_data.client.pid
    await change(hass, entry, storage)
    await asyncio.sleep(0.2)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data.client.pid == pid
    source.form_opens.set()
    await running
    assert source.opened == 1

    now = agent_of(hass, entry)
    assert [known.backup_id for known in await now.async_list_backups()] == [backup.backup_id]
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=30))
    await hass.async_block_till_done(wait_background_tasks=True)
    counted = hass.states.get("sensor.test_storage_backups")
    assert counted
    assert counted.state == "1"
    assert await read(now, backup.backup_id) == source.content


async def test_upload_survives_unload_of_entry(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data))
    client = entry.runtime_data.client
    source, backup = Halting(b"x" * SIZE), new_backup(SIZE)
    running = asyncio.create_task(
        agent_of(hass, entry).async_upload_backup(open_stream=source.open, backup=backup)
    )
    await source.is_halfway.wait()
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert client.pid
    source.form_opens.set()
    await running
    # The agent has no users.
    assert client.pid is None
    assert hub._DATA not in hass.data
    stored = storage.keys()
    assert any(key.endswith(".tar") for key in stored)


async def test_download_survives_unload_and_releases_agent(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data))
    agent, client = agent_of(hass, entry), entry.runtime_data.client
    source, backup = Source(b"x" * SIZE), new_backup(SIZE)
    await agent.async_upload_backup(open_stream=source.open, backup=backup)
    stream = await agent.async_download_backup(backup.backup_id)
    first = await anext(stream)
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert await hass.config_entries.async_unload(entry.entry_id)
    rest = b"".join([chunk async for chunk in stream])
    assert first + rest == source.content
    await hass.async_block_till_done()
    assert client.pid is None

    # The same for a download that is not read to the end.
    assert await hass.config_entries.async_setup(entry.entry_id)
    client = entry.runtime_data.client
    stream = await agent_of(hass, entry).async_download_backup(backup.backup_id)
    await anext(stream)
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert client.pid
    del stream
    await asyncio.sleep(0.1)
    await hass.async_block_till_done()
    assert client.pid is None


async def test_upload_follows_new_bandwidth_limit(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data, {"bandwidth_limit": 75_000}))
    source, backup = Source(b"x" * SIZE), new_backup(SIZE)
    running = asyncio.create_task(
        agent_of(hass, entry).async_upload_backup(open_stream=source.open, backup=backup)
    )
    # With the limit, it takes a quarter of an hour.
    await asyncio.sleep(1)
    form = await hass.config_entries.options.async_init(entry.entry_id)
    result = await hass.config_entries.options.async_configure(form["flow_id"], {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    async with asyncio.timeout(60):
        await running
    assert source.opened == 1
