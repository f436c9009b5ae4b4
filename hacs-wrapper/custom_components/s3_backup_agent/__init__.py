"""Home Assistant backups on any S3-compatible storage."""

from contextlib import suppress
from datetime import datetime, timedelta

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval

from .agent import AgentClient, AgentError
from .backup import async_notify_listeners
from .const import DOMAIN
from .coordinator import RuntimeData, S3ConfigEntry, S3Coordinator
from .health import async_forget_errors, async_forget_issues
from .hub import async_acquire_agent, async_release_agent

_PLATFORMS = [Platform.SENSOR]
_SWEEP_INTERVAL = timedelta(days=1)


async def async_setup_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> bool:
    """Makes a storage a backup location, once it answers."""
    client = async_acquire_agent(hass)
    try:
        coordinator = S3Coordinator(hass, entry, client)
        entry.runtime_data = RuntimeData(client, coordinator)
        await coordinator.async_config_entry_first_refresh()
        async_forget_errors(hass, entry.entry_id)
        await hass.config_entries.async_forward_entry_setups(entry, _PLATFORMS)
    except BaseException:
        await _async_let_go(hass, entry, client)
        raise

    @callback
    def notify() -> None:
        async_notify_listeners(hass)

    entry.async_on_unload(entry.async_on_state_change(notify))

    @callback
    def sweep(_: datetime | None = None) -> None:
        entry.async_create_background_task(hass, coordinator.async_sweep(), f"{DOMAIN} sweep")

    sweep()
    entry.async_on_unload(
        async_track_time_interval(hass, sweep, _SWEEP_INTERVAL, cancel_on_shutdown=True)
    )
    return True


async def async_unload_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> bool:
    """Gives everything back; the last entry ends the agent."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, _PLATFORMS)
    if unloaded:
        await _async_let_go(hass, entry, entry.runtime_data.client)
    return unloaded


async def async_remove_entry(hass: HomeAssistant, entry: S3ConfigEntry) -> None:
    """Leaves no repair issue behind. The backups stay where they are."""
    async_forget_issues(hass, entry.entry_id)


async def _async_let_go(hass: HomeAssistant, entry: S3ConfigEntry, client: AgentClient) -> None:
    with suppress(AgentError):
        await client.close_target(entry.entry_id)
    await async_release_agent(hass)
