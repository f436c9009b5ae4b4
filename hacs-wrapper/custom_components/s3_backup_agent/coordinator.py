"""Keeps an eye on a storage: lists its backups now and then, and after each change.

Also looks for what uploads have left that came to no end, of this program or of any other.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator

from .agent import AgentClient, AgentError, Listing
from .const import CLEANUP_DEADLINE, DOMAIN, LIST_DEADLINE
from .errors import entry_error
from .health import Health
from .target import target_config

_LOGGER = logging.getLogger(__name__)

#: Storages bill each listing, and backups are rare.
_INTERVAL = timedelta(minutes=30)
#: While it cannot be reached, a look costs nothing and tells when it is back.
_RETRY_INTERVAL = timedelta(minutes=5)

type S3ConfigEntry = ConfigEntry[RuntimeData]


class S3Coordinator(DataUpdateCoordinator[Listing]):
    """The backups of one config entry."""

    config_entry: S3ConfigEntry

    def __init__(self, hass: HomeAssistant, entry: S3ConfigEntry, client: AgentClient) -> None:
        """Asks nothing yet."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=f"{DOMAIN} {entry.title}",
            update_interval=_INTERVAL,
            always_update=False,
        )
        self.health = Health(hass, entry.entry_id, entry.title, self.async_update_listeners)
        self._client = client
        self._skipped: set[str] = set()

    @override
    async def _async_setup(self) -> None:
        entry = self.config_entry
        try:
            await self._client.open_target(entry.entry_id, target_config(entry.data, entry.options))
        except AgentError as err:
            raise entry_error(err) from err

    @override
    async def _async_update_data(self) -> Listing:
        try:
            listing = await self._client.list(
                self.config_entry.entry_id, refresh=True, deadline=LIST_DEADLINE
            )
        except AgentError as err:
            self.health.failed("list", err)
            self.update_interval = _RETRY_INTERVAL
            raise entry_error(err) from err
        self.update_interval = _INTERVAL
        self.health.succeeded("list")
        self._report(listing)
        return listing

    async def async_cleanup(self) -> None:
        """Removes what dead uploads have left. How that went is up to `health` to tell."""
        try:
            items = await self._client.cleanup(
                self.config_entry.entry_id, deadline=CLEANUP_DEADLINE
            )
        except AgentError as err:
            _LOGGER.debug("Cannot look for unfinished uploads: %s", err)
            self.health.cleanup_failed(err)
            return
        for item in items:
            _LOGGER.debug("Unfinished upload of %s: %s", item.key, item.status)
        self.health.cleaned_up(items)

    def _report(self, listing: Listing) -> None:
        """Once for each object that looks like a backup and is none."""
        for skipped in listing.skipped:
            if skipped.key not in self._skipped:
                _LOGGER.warning("%s is not offered as a backup: %s", skipped.key, skipped.message)
        self._skipped = {skipped.key for skipped in listing.skipped}


@dataclass
class RuntimeData:
    """What a loaded entry works with. Its target is known to the agent by the id of the entry."""

    client: AgentClient
    coordinator: S3Coordinator
