"""Diagnostics without secrets and without names of backups.

Messages and log lines may contain names, IDs and object keys of backups, also of deleted ones. The
known ones are replaced everywhere. In addition, quoted text, text that ends like an object key, and
details that name an object are replaced.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .agent import Listing
from .agent.log import Redactor
from .const import CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY, CONF_SESSION_TOKEN
from .coordinator import S3ConfigEntry

_SECRET: Final = {CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY, CONF_SESSION_TOKEN}
_REDACTED: Final = "**REDACTED**"
#: Details of errors and log lines that name a backup or an object.
_NAME_DETAILS: Final = (
    "archive",
    "backup_id",
    "document",
    "file",
    "folder",
    "id",
    "key",
    "mark",
    "marker",
    "metadata",
    "name",
    "object",
    "path",
    "resource",
    "upload_id",
)
_DETAIL: Final = re.compile(rf"\b({'|'.join(_NAME_DETAILS)}): .*?(?=, [a-z_]+: |\)$|$)")
_OBJECT: Final = re.compile(r"[^\"'():;,]*(?=\.(?:tar|metadata\.json)\b)")
_QUOTED: Final = re.compile(r'"([^"]*)"')


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: S3ConfigEntry
) -> dict[str, Any]:
    """The settings, the agent and the end of its log, and the sizes of the backups."""
    runtime = entry.runtime_data
    listing, health = runtime.coordinator.data, runtime.coordinator.health
    info, error = runtime.client.info, health.last_error
    cleanup = health.last_cleanup
    secrets = Redactor()
    secrets.add(entry.data[name] for name in _SECRET if name in entry.data)
    settings = async_redact_data({"config": entry.data, "options": entry.options}, _SECRET)
    data = {
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
        "last_cleanup": {
            "time": cleanup.time.isoformat(),
            "removed": cleanup.removed,
            "failed": cleanup.failed,
            "error": cleanup.error_code,
        }
        if cleanup
        else None,
        "last_error": {
            "operation": health.failed_operation,
            "code": error.code,
            "message": error.message,
            "details": error.details,
            "upstream": error.upstream,
        }
        if error
        else None,
        "backups": [
            {
                "size": backup.size,
                "stored_size": backup.stored_size,
                "has_checksums": backup.has_checksums,
                "date": backup.metadata.get("date"),
                "protected": backup.metadata.get("protected"),
            }
            for backup in listing.backups
        ],
        "skipped": [item.code for item in listing.skipped],
    }
    names = _Names(entry, listing)
    safe: dict[str, Any] = _each_text(settings | names.cleared(data), secrets)
    return safe


class _Names:
    """Replaces names of backups and objects. Values of settings are kept."""

    def __init__(self, entry: S3ConfigEntry, listing: Listing | None) -> None:
        self._kept = {str(value) for value in (*entry.data.values(), *entry.options.values())}
        self._known = Redactor()
        self._known.add(name for name in _names(listing) if name not in self._kept)

    def cleared(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {
                self._text(name): _REDACTED
                if name in _NAME_DETAILS and value
                else self.cleared(value)
                for name, value in data.items()
            }
        if isinstance(data, list | tuple):
            return [self.cleared(item) for item in data]
        return self._text(data) if isinstance(data, str) else data

    def _text(self, text: str) -> str:
        text = _DETAIL.sub(rf"\1: {_REDACTED}", self._known(text))
        text = _OBJECT.sub(lambda found: found[0] and _REDACTED, text)
        return _QUOTED.sub(
            lambda found: found[0] if found[1] in self._kept else f'"{_REDACTED}"', text
        )


def _names(listing: Listing | None) -> Iterator[str]:
    """The names, IDs and object keys of the listed backups."""
    for backup in listing.backups if listing else ():
        yield from (backup.id, backup.name)
        if isinstance(name := backup.metadata.get("name"), str):
            yield name
    for skipped in listing.skipped if listing else ():
        yield skipped.key


def _each_text(data: Any, redact: Redactor) -> Any:
    """Replaces secrets in all texts, because a server may repeat them anywhere."""
    if isinstance(data, dict):
        return {_each_text(name, redact): _each_text(value, redact) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_each_text(item, redact) for item in data]
    return redact(data) if isinstance(data, str) else data
