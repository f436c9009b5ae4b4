"""What helps to find out why something does not work, without secrets and names of backups.

Names, keys and ids of backups come up in messages and log lines as well, also those of backups that
are long gone. So what is known is replaced wherever it stands, and besides that whatever is quoted,
ends as an object of a backup does, or is a detail of that kind.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .agent import Listing
from .agent.log import Redactor
from .const import CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY
from .coordinator import S3ConfigEntry

_SECRET: Final = {CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY}
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
    """The settings, the agent with its last words, and what is stored (names are left out)."""
    runtime = entry.runtime_data
    listing, health = runtime.coordinator.data, runtime.coordinator.health
    info, error = runtime.client.info, health.last_error
    cleanup = health.last_cleanup
    secrets = Redactor()
    secrets.add(entry.data[name] for name in _SECRET)
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
    """Takes out what names a backup or an object of one. The words of settings stay."""

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
    """What names a backup."""
    for backup in listing.backups if listing else ():
        yield from (backup.id, backup.name)
        if isinstance(name := backup.metadata.get("name"), str):
            yield name
    for skipped in listing.skipped if listing else ():
        yield skipped.key


def _each_text(data: Any, redact: Redactor) -> Any:
    """Secrets may stand anywhere, where a storage repeats them."""
    if isinstance(data, dict):
        return {_each_text(name, redact): _each_text(value, redact) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_each_text(item, redact) for item in data]
    return redact(data) if isinstance(data, str) else data
