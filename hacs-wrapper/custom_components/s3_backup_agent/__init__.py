"""Backup locations for Home Assistant in buckets of S3-compatible servers."""

from datetime import datetime, timedelta

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval

from .backup import async_notify_listeners
from .const import DOMAIN
from .coordinator import RuntimeData, S3ConfigEntry, S3Coordinator
from .hub import async_acquire_agent, async_release_agent
from .issues import async_delete_issues, async_raise_warnings

_PLATFORMS = [Platform.SENSOR]
_CLEANUP_INTERVAL = timedelta(days=1)


async def async_setup_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> bool:
    """Sets up the backup location of an entry."""
    client = async_acquire_agent(hass, entry.entry_id)
    try:
        coordinator = S3Coordinator(hass, entry, client)
        entry.runtime_data = RuntimeData(client, coordinator)
        await coordinator.async_config_entry_first_refresh()
        async_raise_warnings(hass, entry.entry_id, entry.unique_id or "", entry.title)
        await hass.config_entries.async_forward_entry_setups(entry, _PLATFORMS)
    except BaseException:
        await async_release_agent(hass, entry.entry_id)
        raise

    @callback
    def notify() -> None:
        async_notify_listeners(hass)

    entry.async_on_unload(entry.async_on_state_change(notify))

    @callback
    def cleanup(_: datetime | None = None) -> None:
        entry.async_create_background_task(hass, coordinator.async_cleanup(), f"{DOMAIN} cleanup")

    cleanup()
    entry.async_on_unload(
        async_track_time_interval(hass, cleanup, _CLEANUP_INTERVAL, cancel_on_shutdown=True)
    )
    return True


async def async_unload_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> bool:
    """Unloads an entry. Running transfers continue; the agent stops after the last of them."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, _PLATFORMS)
    if unloaded:
        await async_release_agent(hass, entry.entry_id)
    return unloaded


async def async_remove_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> None:
    """Deletes the repair issues of an entry. Its backups stay in the bucket."""
    async_delete_issues(hass, entry.entry_id)
