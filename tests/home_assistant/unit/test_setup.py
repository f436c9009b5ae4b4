"""Setup and unload of entries."""

from pathlib import Path

import pytest
from conftest import FaultyServer, Load, Storage, answer, new_entry
from custom_components.s3_backup_agent import hub
from custom_components.s3_backup_agent.agent import AgentClient, AgentError
from custom_components.s3_backup_agent.backup import async_register_backup_agents_listener
from custom_components.s3_backup_agent.const import DOMAIN
from homeassistant.components.backup.const import EXCLUDE_FROM_BACKUP
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from homeassistant.core_config import Config
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry


async def test_entries_share_one_agent(hass: HomeAssistant, load: Load) -> None:
    first = await load(new_entry(Storage().data))
    second = await load(new_entry(Storage().data))
    client = first.runtime_data.client
    assert second.runtime_data.client is client
    assert client.pid

    assert await hass.config_entries.async_unload(first.entry_id)
    assert first.state is ConfigEntryState.NOT_LOADED
    assert client.pid
    await client.list(second.entry_id)
    with pytest.raises(AgentError, match=r"target|opened"):
        await client.list(first.entry_id)

    assert await hass.config_entries.async_unload(second.entry_id)
    assert client.pid is None
    assert hub._DATA not in hass.data


async def test_journal_is_not_in_backups(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """The journal is in a directory that is not part of backups."""
    arguments = Path(f"/proc/{entry.runtime_data.client.pid}/cmdline").read_bytes().split(b"\0")
    place = hass.config.cache_path(DOMAIN).encode()
    assert arguments[arguments.index(b"--state-dir") + 1] == place
    # Not the directory that the tests use instead.
    assert Config.cache_path(hass.config, DOMAIN) == hass.config.path(".cache", DOMAIN)
    assert ".cache/*" in EXCLUDE_FROM_BACKUP


async def test_agent_stops_with_home_assistant(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    client = entry.runtime_data.client
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await hass.async_block_till_done()
    assert client.pid is None


async def test_reload_keeps_location_id(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    agents = set(hass.data["backup"].backup_agents)
    assert f"{DOMAIN}.{entry.unique_id}" in agents
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert set(hass.data["backup"].backup_agents) == agents

    assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    assert f"{DOMAIN}.{entry.unique_id}" not in hass.data["backup"].backup_agents


async def test_locations_follow_entries(hass: HomeAssistant, load: Load, storage: Storage) -> None:
    """The Backups page shows a change of the entries at once."""
    agents = hass.data["backup"].backup_agents
    first, second = new_entry(Storage().data), new_entry(storage.data)
    location = f"{DOMAIN}.{second.unique_id}"
    # Home Assistant loads the platform with the first entry.
    await load(first)
    second.add_to_hass(hass)
    await hass.config_entries.async_setup(second.entry_id)
    assert location in agents
    before = agents[location]
    assert await hass.config_entries.async_reload(second.entry_id)
    assert agents[location] is not before
    assert await hass.config_entries.async_unload(second.entry_id)
    assert location not in agents
    assert await hass.config_entries.async_setup(second.entry_id)
    assert location in agents
    await hass.config_entries.async_remove(second.entry_id)
    assert location not in agents
    assert f"{DOMAIN}.{first.unique_id}" in agents


async def test_listener_is_called_until_removed(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    heard: list[int] = []
    leave = async_register_backup_agents_listener(
        hass, listener=lambda: heard.append(len(hass.config_entries.async_loaded_entries(DOMAIN)))
    )
    await hass.config_entries.async_reload(entry.entry_id)
    assert heard[-1] == 1
    assert 0 in heard
    leave()
    heard.clear()
    await hass.config_entries.async_reload(entry.entry_id)
    assert heard == []


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        (
            {"secret_access_key": "not-the-secret"},
            ConfigEntryState.SETUP_ERROR,
            "does not match",
        ),
        (
            {"bucket": "no-such-bucket-here"},
            ConfigEntryState.SETUP_RETRY,
            "no-such-bucket-here does not exist",
        ),
        ({"bucket": "no/bucket"}, ConfigEntryState.SETUP_ERROR, "bucket name is invalid"),
        ({"endpoint": "http://127.0.0.1:9"}, ConfigEntryState.SETUP_RETRY, "Cannot connect to"),
        ({"endpoint": "127.0.0.1"}, ConfigEntryState.SETUP_ERROR, "must start with https://"),
    ],
)
async def test_setup_failure_has_reason(
    hass: HomeAssistant,
    load: Load,
    storage: Storage,
    change: dict[str, str],
    state: ConfigEntryState,
    reason: str,
) -> None:
    entry = await load(new_entry(storage.data | change))
    assert entry.state is state
    assert reason in (entry.reason or "")
    assert "{" not in (entry.reason or "")
    reauth = any(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))
    assert reauth is ("secret_access_key" in change)
    # The agent has no users.
    assert hub._DATA not in hass.data


async def test_wrong_clock_starts_no_reauth(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    date = "date: Fri, 20 Nov 2015 04:00:00 GMT\r\n"
    faulty.rule = lambda _: answer(403, "RequestTimeTooSkewed", headers=date)
    entry = await load(new_entry(storage.data))
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert not any(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))
    issue = ir.async_get(hass).async_get_issue(DOMAIN, f"clock_skew_{entry.entry_id}")
    assert issue
    assert issue.translation_placeholders
    assert int(issue.translation_placeholders["skew"]) > 1000

    faulty.rule = lambda _: None
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert hass.config_entries.async_loaded_entries(DOMAIN) == [entry]
    assert not ir.async_get(hass).async_get_issue(DOMAIN, f"clock_skew_{entry.entry_id}")


async def test_setup_without_agent_has_reason(
    hass: HomeAssistant, load: Load, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "AgentClient", lambda **_: AgentClient(command=["/no/such/agent"]))
    entry = await load(new_entry(storage.data))
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason
    assert "s3-backup-agent" in entry.reason


async def test_removed_entry_has_no_issues(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    health = entry.runtime_data.coordinator.health
    health.failed("upload", AgentError("full", code="quota_exceeded"))
    issue_id = f"quota_exceeded_{entry.entry_id}"
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
