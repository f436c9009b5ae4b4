"""The daily cleanup of incomplete uploads."""

from datetime import timedelta
from typing import Any

import pytest
from conftest import HANG, FaultyServer, Load, Storage, agent_of, answer, new_entry, s3
from custom_components.s3_backup_agent.agent import AgentClient, AgentError, CleanupItem
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.diagnostics import async_get_config_entry_diagnostics
from custom_components.s3_backup_agent.issues import INCOMPLETE_UPLOADS
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from pytest_homeassistant_custom_component.common import MockConfigEntry, async_fire_time_changed

DENIED = AgentError("may not abort", code="access_denied")
BUSY = AgentError("slow down", code="throttled", retryable=True)


def item(status: str, error: AgentError | None = None) -> CleanupItem:
    return CleanupItem("upload", "x/backups/b.tar", 90_000, status, error)


@pytest.fixture
def cleanups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[CleanupItem, ...] | AgentError]:
    """The results of the next cleanups; further cleanups find nothing."""
    found: list[tuple[CleanupItem, ...] | AgentError] = []

    async def cleanup(*_: Any, **__: Any) -> tuple[CleanupItem, ...]:
        result = found.pop(0) if found else ()
        if isinstance(result, AgentError):
            raise result
        return result

    monkeypatch.setattr(AgentClient, "cleanup", cleanup)
    return found


def issue(hass: HomeAssistant, entry: MockConfigEntry) -> ir.IssueEntry | None:
    return ir.async_get(hass).async_get_issue(DOMAIN, f"{INCOMPLETE_UPLOADS}_{entry.entry_id}")


async def diagnosed(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, Any]:
    await hass.async_block_till_done(wait_background_tasks=True)
    cleanup = (await async_get_config_entry_diagnostics(hass, entry))["last_cleanup"]
    assert dt_util.parse_datetime(cleanup.pop("time"))
    return dict(cleanup)


async def next_day(hass: HomeAssistant) -> None:
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(days=1, minutes=1))
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_cleanup_failure_is_issue_until_removed(
    hass: HomeAssistant, load: Load, storage: Storage, cleanups: list[Any]
) -> None:
    stuck = (item("removed"), item("failed", DENIED), item("failed", DENIED))
    cleanups += [stuck, (item("removed"),) * 2]
    entry = await load(new_entry(storage.data))
    assert await diagnosed(hass, entry) == {"removed": 1, "failed": 2, "error": None}
    found = issue(hass, entry)
    assert found
    assert found.severity is ir.IssueSeverity.WARNING
    details = found.translation_placeholders or {}
    assert (details["count"], details["title"]) == ("2", entry.title)
    assert details["message"] == "may not abort"

    await next_day(hass)
    assert await diagnosed(hass, entry) == {"removed": 2, "failed": 0, "error": None}
    assert not issue(hass, entry)


async def test_cleanup_error_keeps_issue(
    hass: HomeAssistant, load: Load, storage: Storage, cleanups: list[Any]
) -> None:
    cleanups += [(item("failed"),), DENIED]
    entry = await load(new_entry(storage.data))
    await diagnosed(hass, entry)
    assert issue(hass, entry)
    await next_day(hass)
    assert await diagnosed(hass, entry) == {"removed": 0, "failed": 0, "error": "access_denied"}
    assert issue(hass, entry)
    assert entry.runtime_data.coordinator.health.error_code == "none"
    assert entry.state is ConfigEntryState.LOADED
    await hass.config_entries.async_remove(entry.entry_id)
    assert not issue(hass, entry)


async def test_cleanup_retryable_failure_is_no_issue(
    hass: HomeAssistant, load: Load, storage: Storage, cleanups: list[Any]
) -> None:
    cleanups.append((item("failed", BUSY), item("found")))
    entry = await load(new_entry(storage.data))
    assert await diagnosed(hass, entry) == {"removed": 0, "failed": 1, "error": None}
    assert not issue(hass, entry)


def begin_upload(storage: Storage, key: str) -> None:
    s3("POST", f"/{storage.bucket}/{storage.prefix}/{key}?uploads")


async def test_cleanup_keeps_recent_uploads(
    hass: HomeAssistant, load: Load, storage: Storage
) -> None:
    """With the real agent. Another Home Assistant may still be uploading."""
    begin_upload(storage, "backups/other.tar")
    entry = await load(new_entry(storage.data))
    assert await diagnosed(hass, entry) == {"removed": 0, "failed": 0, "error": None}
    assert storage.unfinished() == ["backups/other.tar"]
    removed = await entry.runtime_data.client.cleanup(entry.entry_id, older_than=0)
    assert [one.status for one in removed] == ["removed"]
    assert storage.unfinished() == []


async def test_cleanup_without_permission_is_no_error(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    """The minimal policy does not grant this permission."""
    denied = answer(403, "AccessDenied")
    faulty.rule = lambda line: denied if "uploads" in line and line.startswith("GET") else None
    entry = await load(new_entry(storage.data))
    assert await diagnosed(hass, entry) == {"removed": 0, "failed": 0, "error": "access_denied"}
    assert not ir.async_get(hass).issues
    agent = agent_of(hass, entry)
    assert await agent.async_list_backups() == []


async def test_cleanup_does_not_delay_setup(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    faulty.rule = lambda line: HANG if "uploads" in line and line.startswith("GET") else None
    entry = await load(new_entry(storage.data))
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data.coordinator.health.last_cleanup is None
