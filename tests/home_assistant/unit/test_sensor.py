"""The diagnostic sensors."""

from datetime import timedelta

import pytest
from conftest import (
    FaultyServer,
    Load,
    Storage,
    agent_of,
    answer,
    health_of,
    new_entry,
    upload,
)
from custom_components.s3_backup_agent.agent import AgentError, Progress
from custom_components.s3_backup_agent.backup import S3BackupAgent
from custom_components.s3_backup_agent.const import AGENT_VERSION, DOMAIN
from custom_components.s3_backup_agent.providers import PROVIDERS
from homeassistant.components.backup import BackupAgentError
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)


def state(hass: HomeAssistant, key: str) -> str:
    found = hass.states.get(f"sensor.test_storage_{key}")
    assert found
    return found.state


async def test_sensors_follow_uploads_and_deletions(
    hass: HomeAssistant, agent: S3BackupAgent
) -> None:
    assert state(hass, "backups") == "0"
    assert state(hass, "last_successful_upload") == "unknown"
    assert state(hass, "last_error") == "none"

    before = dt_util.utcnow().replace(microsecond=0)
    backup = await upload(agent, b"x" * (1 << 20))
    await hass.async_block_till_done()
    assert state(hass, "backups") == "1"
    assert float(state(hass, "total_size")) == pytest.approx(1 / 1024)
    uploaded = dt_util.parse_datetime(state(hass, "last_successful_upload"))
    assert uploaded
    assert before <= uploaded <= dt_util.utcnow()

    await agent.async_delete_backup(backup.backup_id)
    # A second refresh within ten seconds is delayed.
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=30))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state(hass, "backups") == "0"


async def test_sensor_shows_last_error(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    entry = await load(new_entry(storage.data))
    agent = agent_of(hass, entry)
    coordinator = entry.runtime_data.coordinator
    faulty.rule = lambda line: answer(403, "QuotaExceeded") if line.startswith("PUT") else None
    with pytest.raises(BackupAgentError):
        await upload(agent, b"x")
    assert state(hass, "last_error") == "quota_exceeded"
    found = hass.states.get("sensor.test_storage_last_error")
    assert found
    assert found.attributes["operation"] == "upload"

    faulty.rule = lambda _: answer(404, "NoSuchBucket")
    await coordinator.async_refresh()
    assert state(hass, "last_error") == "bucket_not_found"
    assert state(hass, "backups") == "unavailable"
    assert state(hass, "last_successful_upload") == "unknown"

    faulty.rule = lambda _: None
    await coordinator.async_refresh()
    assert state(hass, "last_error") == "quota_exceeded"
    assert state(hass, "backups") == "0"
    await upload(agent, b"x")
    assert state(hass, "last_error") == "none"

    coordinator.health.failed("list", AgentError("?", code="from_the_future"))
    assert state(hass, "last_error") == "other"
    # Stopping is not an error.
    coordinator.health.succeeded("list")
    coordinator.health.failed("list", AgentError("?", code="shutting_down"))
    assert state(hass, "last_error") == "none"


async def test_skipped_object_is_logged_once(
    hass: HomeAssistant,
    storage: Storage,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage.put("backups/junk.metadata.json", "not JSON")
    storage.put("backups/junk.tar", "junk")
    for _ in range(2):
        await entry.runtime_data.coordinator.async_refresh()
    assert caplog.text.count("is not listed as a backup") == 1


async def test_last_upload_survives_reload(
    hass: HomeAssistant, agent: S3BackupAgent, entry: MockConfigEntry
) -> None:
    await upload(agent, b"x")
    await hass.async_block_till_done()
    when = state(hass, "last_successful_upload")
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.runtime_data.coordinator.health.last_upload is None
    assert state(hass, "last_successful_upload") == when


async def test_sensors_are_registered(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    registered = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    assert {item.unique_id.removeprefix(f"{entry.unique_id}_") for item in registered} == {
        "activity",
        "backups",
        "last_error",
        "last_upload",
        "total_size",
    }
    assert {item.entity_category for item in registered} == {EntityCategory.DIAGNOSTIC}
    assert all(item.translation_key for item in registered)
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.identifiers == {(DOMAIN, entry.unique_id)}
    assert device.entry_type is dr.DeviceEntryType.SERVICE
    assert device.name == entry.title
    assert device.sw_version == AGENT_VERSION
    assert device.configuration_url == PROVIDERS["other"].url


async def test_sensors_recover_after_success(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    entry = await load(new_entry(storage.data))
    agent, coordinator = agent_of(hass, entry), entry.runtime_data.coordinator
    usual = coordinator.update_interval
    faulty.rule = lambda _: answer(503, "ServiceUnavailable")
    await coordinator.async_refresh()
    assert state(hass, "backups") == "unavailable"
    # The interval is shorter until the server answers.
    assert coordinator.update_interval < usual
    faulty.rule = lambda _: None
    await agent.async_list_backups()
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=30))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state(hass, "backups") == "0"
    assert coordinator.update_interval == usual


async def test_activity_shows_waiting_for_server(
    hass: HomeAssistant, agent: S3BackupAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progressed(done: int, waiting_for: str | None) -> str:
        health.progressed("b", Progress("transferring", done, 100, waiting_for, 0))
        return state(hass, "activity")

    health = health_of(agent)
    now = 1000.0
    monkeypatch.setattr("custom_components.s3_backup_agent.health.time.monotonic", lambda: now)
    assert state(hass, "activity") == "idle"
    assert progressed(1, "remote") == "uploading"
    now += 14
    assert progressed(1, "remote") == "uploading"
    now += 2
    assert progressed(1, "remote") == "waiting_for_server"
    assert progressed(2, "remote") == "uploading"
    now += 60
    # This upload waits for Home Assistant.
    assert progressed(2, "host") == "uploading"
    health.progressed("b", None)
    assert state(hass, "activity") == "idle"
    # After an upload the state is idle.
    await upload(agent, b"x")
    assert state(hass, "activity") == "idle"
