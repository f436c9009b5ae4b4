"""What helps to find out why something does not work, without secrets, and without what names backups.

Names, keys and ids of backups come up in messages and log lines as well, also those of backups that
are long gone. So what is known is replaced wherever it stands, and besides that whatever is quoted,
ends as an object of a backup does, or is a fact of that kind.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.core import HomeAssistant

from .agent.log import Redactor
from .const import CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY
from .coordinator import S3ConfigEntry

_SECRET: Final = {CONF_ACCESS_KEY_ID, CONF_SECRET_ACCESS_KEY}
_GONE: Final = "**REDACTED**"
#: Facts of errors and log lines that name a backup or an object.
_NAMING: Final = (
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
_FACT: Final = re.compile(rf"\b({'|'.join(_NAMING)}): .*?(?=, [a-z_]+: |\)$|$)")
_OBJECT: Final = re.compile(r"[^\"'():;,]*(?=\.(?:tar|metadata\.json)\b)")
_QUOTED: Final = re.compile(r'"([^"]*)"')


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: S3ConfigEntry
) -> dict[str, Any]:
    """The settings, the agent with its last words, and what is stored (names are left out)."""
    runtime = entry.runtime_data
    listing, health = runtime.coordinator.data, runtime.coordinator.health
    info, error = runtime.client.info, health.last_error
    sweep = health.last_sweep
    redact = _Redaction(entry, listing)
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
                "size": backup.size,
                "stored_size": backup.stored_size,
                "verifiable": backup.verifiable,
                "date": backup.metadata.get("date"),
                "protected": backup.metadata.get("protected"),
            }
            for backup in listing.backups
        ],
        "skipped": [item.code for item in listing.skipped],
    }
    safe: dict[str, Any] = redact(async_redact_data(data, _SECRET))
    return safe


class _Redaction:
    """Takes out what must not be told. Settings stay, but for the secrets among them."""

    def __init__(self, entry: S3ConfigEntry, listing: Listing | None) -> None:
        settings = [*entry.data.items(), *entry.options.items()]
        self._kept = {str(value) for name, value in settings if name not in _SECRET}
        self._known = Redactor()
        self._known.add(entry.data[name] for name in _SECRET)
        self._known.add(name for name in _names(listing) if name not in self._kept)

    def __call__(self, data: Any) -> Any:
        if isinstance(data, dict):
            return {
                self._text(name): _GONE if name in _NAMING else self(value)
                for name, value in data.items()
                if name not in _CONFIG or value not in self._kept
            } | {name: value for name, value in data.items() if name in _CONFIG}
        if isinstance(data, list | tuple):
            return [self(item) for item in data]
        return self._text(data) if isinstance(data, str) else data

    def _text(self, text: str) -> str:
        if text in self._kept:
            return text
        text = _FACT.sub(rf"\1: {_GONE}", self._known(text))
        text = _OBJECT.sub(lambda found: found[0] and _GONE, text)
        return _QUOTED.sub(lambda found: found[0] if found[1] in self._kept else f'"{_GONE}"', text)


def _names(listing: Listing | None) -> Iterator[str]:
    """What names a backup."""
    for backup in listing.backups if listing else ():
        yield from (backup.id, backup.name)
        if isinstance(name := backup.metadata.get("name"), str):
            yield name
    for skipped in listing.skipped if listing else ():
        yield skipped.key
