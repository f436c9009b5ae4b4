"""Lists the backups of an entry regularly and after each change, and removes incomplete uploads."""

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

#: Providers charge for each listing, and backups change rarely.
_INTERVAL = timedelta(minutes=30)
#: While the server does not answer. Failed listings cost nothing.
_RETRY_INTERVAL = timedelta(minutes=5)

type S3ConfigEntry = ConfigEntry[RuntimeData]


class S3Coordinator(DataUpdateCoordinator[Listing]):
    """The backups of one config entry."""

    config_entry: S3ConfigEntry

    def __init__(self, hass: HomeAssistant, entry: S3ConfigEntry, client: AgentClient) -> None:
        """Does not list yet."""
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
        """Removes incomplete uploads and records the result in `health`."""
        try:
            items = await self._client.cleanup(
                self.config_entry.entry_id, deadline=CLEANUP_DEADLINE
            )
        except AgentError as err:
            _LOGGER.debug("Cannot clean up incomplete uploads: %s", err)
            self.health.cleanup_failed(err)
            return
        for item in items:
            _LOGGER.debug("Incomplete upload of %s: %s", item.key, item.status)
        self.health.cleaned_up(items)

    def _report(self, listing: Listing) -> None:
        """Logs each skipped object once."""
        for skipped in listing.skipped:
            if skipped.key not in self._skipped:
                _LOGGER.warning("%s is not listed as a backup: %s", skipped.key, skipped.message)
        self._skipped = {skipped.key for skipped in listing.skipped}


@dataclass
class RuntimeData:
    """The runtime data of a loaded entry. Its ID is the name of its target in the agent."""

    client: AgentClient
    coordinator: S3Coordinator
