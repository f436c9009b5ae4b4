"""Agents and settings of the previous and the next release."""

import asyncio
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import Load, Source, Storage, agent_of, new_backup, new_entry, read, setting, upload
from custom_components.s3_backup_agent import hub
from custom_components.s3_backup_agent.agent import AgentClient
from custom_components.s3_backup_agent.agent.versions import compatible_versions
from custom_components.s3_backup_agent.const import AGENT_VERSION
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry

BEFORE, _, AFTER, *_ = compatible_versions(AGENT_VERSION)
VERSIONS = {"older": f"{BEFORE}.9", "newer": f"{AFTER}.0"}


def use_agent(monkeypatch: pytest.MonkeyPatch, age: str, version: str) -> None:
    """Makes the integration use the agent of another release."""
    script = str(Path(__file__).with_name("other_release_agent.py"))
    binary = str(Path(setting("S3_BACKUP_AGENT_BIN")).absolute())
    command = [sys.executable, script, age, version, binary, "serve"]
    monkeypatch.setattr(hub, "AgentClient", partial(AgentClient, command=command))


@pytest.mark.parametrize("age", VERSIONS)
async def test_agent_one_release_apart_works(
    hass: HomeAssistant,
    load: Load,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    age: str,
) -> None:
    use_agent(monkeypatch, age, VERSIONS[age])
    entry = await load(new_entry(storage.data))
    assert entry.state is ConfigEntryState.LOADED, entry.reason
    info = entry.runtime_data.client.info
    assert info
    assert info.version == VERSIONS[age]
    assert ("verify" in info.capabilities) is (age == "newer")
    assert ("x-new" in info.capabilities) is (age == "newer")
    agent = agent_of(hass, entry)

    content = bytes(range(256)) * 4096 * 21  # several parts
    backup = await upload(agent, content)
    assert [found.backup_id for found in await agent.async_list_backups()] == [backup.backup_id]
    assert (await agent.async_get_backup(backup.backup_id)).size == len(content)
    assert await read(agent, backup.backup_id) == content

    source = Source(content)
    stopped = asyncio.create_task(
        agent.async_upload_backup(open_stream=source.open, backup=new_backup(len(content)))
    )
    while not source.opened:
        await asyncio.sleep(0.01)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    assert len(storage.keys()) == 2
    assert storage.unfinished() == []

    form = await hass.config_entries.options.async_init(entry.entry_id)
    given = {"concurrency": 2}
    saved = await hass.config_entries.options.async_configure(form["flow_id"], given)
    assert saved["type"] is FlowResultType.CREATE_ENTRY

    await agent.async_delete_backup(backup.backup_id)
    assert storage.keys() == []
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.LOADED
    assert not ir.async_get(hass).issues


async def test_agent_of_distant_release_is_refused(
    hass: HomeAssistant, load: Load, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_agent(monkeypatch, "newer", "99.0.0")
    entry = await load(new_entry(storage.data))
    assert entry.state is ConfigEntryState.SETUP_RETRY
    reason = f"has version 99.0.0, but this integration needs {BEFORE} / "
    assert reason in (entry.reason or "")
    assert "Update the older" in (entry.reason or "")


@pytest.mark.parametrize(
    ("version", "minor", "state"),
    [(1, 99, ConfigEntryState.LOADED), (2, 1, ConfigEntryState.MIGRATION_ERROR)],
)
async def test_entry_of_next_release_is_kept(
    load: Load,
    storage: Storage,
    caplog: pytest.LogCaptureFixture,
    version: int,
    minor: int,
    state: ConfigEntryState,
) -> None:
    entry = MockConfigEntry(
        domain=hub.DOMAIN, data=storage.data | {"new": 1}, version=version, minor_version=minor
    )
    await load(entry)
    assert entry.state is state
    refusals = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert bool(refusals) is (version == 2), refusals
    # The data is unchanged for that release.
    assert (entry.version, entry.minor_version, entry.data["new"]) == (version, minor, 1)


async def test_forms_keep_unknown_settings(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    entry = await load(new_entry(storage.data | {"new": [1]}, {"new": {"x": 2}}))
    form = await hass.config_entries.options.async_init(entry.entry_id)
    given = {"concurrency": 2}
    result = await hass.config_entries.options.async_configure(form["flow_id"], given)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    assert entry.options == {"new": {"x": 2}, "concurrency": 2}

    form = await hass.config_entries.flow.async_init(
        hub.DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    keys = ("region", "access_key_id", "secret_access_key")
    given = {name: storage.form[name] for name in keys} | {"more": {"addressing_style": "path"}}
    given["endpoint"] = storage.endpoint + "/"
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.data["new"] == [1]
    assert entry.state is ConfigEntryState.LOADED
