"""What helps to find out why something does not work, without secrets."""

from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .agent.log import Redactor
from .const import CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY
from .coordinator import S3ConfigEntry

_SECRET: Final = {CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: S3ConfigEntry
) -> dict[str, Any]:
    """The settings, the agent with its last words, and what is stored (names are left out)."""
    runtime = entry.runtime_data
    listing, health = runtime.coordinator.data, runtime.coordinator.health
    info, error = runtime.client.info, health.last_error
    sweep = health.last_sweep
    redact = Redactor()
    redact.add(entry.data[name] for name in _SECRET)
    data = {
        "config": dict(entry.data),
        "options": dict(entry.options),
        "agent": {
            "version": info.version,
            "capabilities": sorted(info.capabilities),
            "max_transfers": info.max_transfers,
        }
        if info
        else None,
        "agent_log": list(runtime.client.log_tail),
        "last_update_success": runtime.coordinator.last_update_success,
        "last_upload": health.last_upload.isoformat() if health.last_upload else None,
        "last_sweep": {
            "time": sweep.time.isoformat(),
            "removed": sweep.removed,
            "failed": sweep.failed,
            "error": sweep.error_code,
        }
        if sweep
        else None,
        "last_error": {
            "operation": health.failed_operation,
            "code": error.code,
            "message": error.message,
            "facts": error.facts,
            "upstream": error.upstream,
        }
        if error
        else None,
        "backups": [
            {
                "id": backup.id,
                "size": backup.size,
                "stored_size": backup.stored_size,
                "verifiable": backup.verifiable,
                "date": backup.metadata.get("date"),
                "protected": backup.metadata.get("protected"),
            }
            for backup in listing.backups
        ],
        "skipped": [{"key": item.key, "code": item.code} for item in listing.skipped],
    }
    # A storage may repeat them anywhere.
    safe: dict[str, Any] = _without(redact, async_redact_data(data, _SECRET))
    return safe


def _without(redact: Redactor, data: Any) -> Any:
    if isinstance(data, dict):
        return {_without(redact, name): _without(redact, value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without(redact, item) for item in data]
    return redact(data) if isinstance(data, str) else data
