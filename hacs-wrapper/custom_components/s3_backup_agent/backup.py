"""The backup location: implements Home Assistant's backup agent with calls of the agent.

The agent guarantees that only complete backups are listed, that a truncated source is refused, that
downloaded bytes are checked before they are passed on, and that a canceled call is cleaned up.
Exceptions of the source of an upload are raised unchanged.
"""

import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self, override

from homeassistant.components.backup import (
    AddonInfo,
    AgentBackup,
    BackupAgent,
    Folder,
    suggested_filename,
)
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .agent import (
    AgentClient,
    AgentError,
    Backup,
    DownloadStream,
    NewBackup,
    NoSuchBackup,
    Progress,
)
from .const import (
    DELETE_DEADLINE,
    DOMAIN,
    GET_DEADLINE,
    LIST_DEADLINE,
    LIST_STALE,
    RESUME,
    RETRY_FOR,
    UPLOAD_ATTEMPTS,
)
from .coordinator import RuntimeData, S3ConfigEntry, S3Coordinator
from .errors import backup_error, needs_reauth
from .hub import async_acquire_agent, async_held_agent, async_release_agent

_LISTENERS: HassKey[list[Callable[[], None]]] = HassKey(f"{DOMAIN}.backup_agent_listeners")


async def async_get_backup_agents(hass: HomeAssistant, **_: Any) -> list[BackupAgent]:
    """One backup location for each loaded entry."""
    entries: list[S3ConfigEntry] = hass.config_entries.async_loaded_entries(DOMAIN)
    return [S3BackupAgent(hass, entry) for entry in entries]


class OnProgress(Protocol):
    """Home Assistant's OnProgressCallback, which does not exist before 2026.4."""

    def __call__(self, *, bytes_uploaded: int, **kwargs: Any) -> None:
        """bytes_uploaded: bytes that the server has stored."""


@callback
def async_register_backup_agents_listener(
    hass: HomeAssistant, *, listener: Callable[[], None], **_: Any
) -> Callable[[], None]:
    """Calls `listener` when a backup location is added or removed."""
    hass.data.setdefault(_LISTENERS, []).append(listener)

    @callback
    def remove() -> None:
        hass.data[_LISTENERS].remove(listener)

    return remove


@callback
def async_notify_listeners(hass: HomeAssistant) -> None:
    """Tells the listeners that a backup location was added or removed."""
    for listener in list(hass.data.get(_LISTENERS, ())):
        listener()


class S3BackupAgent(BackupAgent):
    """The backup location of an entry."""

    domain = DOMAIN

    def __init__(self, hass: HomeAssistant, entry: S3ConfigEntry) -> None:
        """Home Assistant keeps the schedule under the unique ID, see `location_id`."""
        self.name = entry.title
        self.unique_id = entry.unique_id or entry.entry_id
        self._hass = hass
        self._entry = entry

    @property
    def _coordinator(self) -> S3Coordinator | None:
        """The current coordinator. An entry may be reloaded or unloaded during a transfer."""
        runtime: RuntimeData | None = getattr(self._entry, "runtime_data", None)
        is_loaded = self._entry.state in (
            ConfigEntryState.LOADED,
            ConfigEntryState.SETUP_IN_PROGRESS,
        )
        return runtime.coordinator if runtime and is_loaded else None

    @override
    async def async_upload_backup(
        self,
        *,
        open_stream: Callable[[], Coroutine[Any, Any, AsyncIterator[bytes]]],
        backup: AgentBackup,
        on_progress: OnProgress | None = None,
        **_: Any,
    ) -> None:
        """Uploads a backup. After a retryable failure of server, network or agent, opens the stream
        again and sends only what is not stored yet."""

        def report(progress: Progress | None) -> None:
            if coordinator := self._coordinator:
                coordinator.health.progressed(backup.backup_id, progress)
            if on_progress is not None and progress is not None:
                on_progress(bytes_uploaded=progress.done)

        target = self._entry.entry_id
        try:
            async with async_held_agent(self._hass, target) as client:
                with self.reporting("upload"):
                    result = await client.upload(
                        target,
                        NewBackup(
                            id=backup.backup_id,
                            name=suggested_filename(backup).removesuffix(".tar"),
                            metadata=backup.as_dict(),
                        ),
                        open_stream,
                        size=backup.size,
                        if_exists="replace",
                        on_progress=report,
                        attempts=UPLOAD_ATTEMPTS,
                        retry_for=RETRY_FOR,
                        resume=RESUME,
                    )
        finally:
            report(None)
        if coordinator := self._coordinator:
            coordinator.health.uploaded(result)
        self._refresh()

    @override
    async def async_download_backup(self, backup_id: str, **_: Any) -> AsyncIterator[bytes]:
        """Opens a backup for reading."""
        target = self._entry.entry_id
        client = async_acquire_agent(self._hass, target)
        try:
            with self.reporting("download"):
                stream = await client.download(target, backup_id, retry_for=RETRY_FOR)
        except BaseException:
            await async_release_agent(self._hass, target)
            raise
        return _Download(self._hass, self, stream, target)

    @override
    async def async_delete_backup(self, backup_id: str, **_: Any) -> None:
        """Deletes a backup."""
        with self.reporting("delete"):
            await self._client.delete(self._entry.entry_id, backup_id, deadline=DELETE_DEADLINE)
        self._refresh()

    @override
    async def async_list_backups(self, **_: Any) -> list[AgentBackup]:
        """All backups."""
        with self.reporting("list"):
            listing = await self._client.list(
                self._entry.entry_id, stale=LIST_STALE, deadline=LIST_DEADLINE
            )
        return [agent_backup(backup) for backup in listing.backups]

    @override
    async def async_get_backup(self, backup_id: str, **_: Any) -> AgentBackup:
        """One backup."""
        with self.reporting("get"):
            backup = await self._client.get(self._entry.entry_id, backup_id, deadline=GET_DEADLINE)
        return agent_backup(backup)

    @property
    def _client(self) -> AgentClient:
        return self._entry.runtime_data.client

    def _refresh(self) -> None:
        """Updates the sensors in the background."""
        if coordinator := self._coordinator:
            self._entry.async_create_task(
                self._hass, coordinator.async_request_refresh(), f"{DOMAIN} refresh"
            )

    @contextmanager
    def reporting(self, operation: str) -> Iterator[None]:
        """Records the result of an operation, and raises exceptions of Home Assistant."""
        try:
            yield
        except NoSuchBackup as err:
            raise backup_error(err) from err
        except AgentError as err:
            if coordinator := self._coordinator:
                coordinator.health.failed(operation, err)
            if needs_reauth(err):
                self._entry.async_start_reauth(self._hass)
            raise backup_error(err) from err
        if coordinator := self._coordinator:
            coordinator.health.succeeded(operation)
            if not coordinator.last_update_success:
                # The server answers again: do not wait for the next update.
                self._refresh()


class _Download(AsyncIterator[bytes]):
    """A download that raises exceptions of Home Assistant and counts as a user of the agent.

    The transfer stops at the end of the stream, at an error, with `aclose`, and when this object is
    garbage-collected. Then the agent has one user less.
    """

    def __init__(
        self, hass: HomeAssistant, agent: S3BackupAgent, stream: DownloadStream, target: str
    ) -> None:
        self._agent = agent
        self._stream = stream
        # Garbage collection may run in any thread.
        self._release_agent = weakref.finalize(
            self, hass.loop.call_soon_threadsafe, _release, hass, target
        )
        self._release_agent.atexit = False

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> bytes:
        try:
            with self._agent.reporting("download"):
                try:
                    return await anext(self._stream)
                except StopAsyncIteration:
                    pass
        except BaseException:
            self._release_agent()
            raise
        self._release_agent()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stops the transfer."""
        try:
            await self._stream.aclose()
        finally:
            self._release_agent()


@callback
def _release(hass: HomeAssistant, target: str) -> None:
    hass.async_create_task(async_release_agent(hass, target), f"{DOMAIN} end of a download")


def agent_backup(backup: Backup) -> AgentBackup:
    """A backup for Home Assistant. Metadata of other programs may lack members."""
    given = backup.metadata
    addons = given.get("addons")
    extra = given.get("extra_metadata")
    folders = given.get("folders")
    known = {folder.value for folder in Folder}
    version = given.get("homeassistant_version")
    return AgentBackup(
        addons=[
            AddonInfo(name=addon.get("name"), slug=addon["slug"], version=addon.get("version"))
            for addon in (addons if isinstance(addons, list) else [])
            if isinstance(addon, dict) and isinstance(addon.get("slug"), str)
        ],
        backup_id=backup.id,
        database_included=given.get("database_included") is True,
        date=str(given.get("date") or "1970-01-01T00:00:00+00:00"),
        extra_metadata=extra if isinstance(extra, dict) else {},
        folders=[
            Folder(folder)
            for folder in (folders if isinstance(folders, list) else [])
            if folder in known
        ],
        homeassistant_included=given.get("homeassistant_included") is True,
        homeassistant_version=version if isinstance(version, str) else None,
        name=str(given.get("name") or backup.name),
        protected=given.get("protected") is True,
        # The size of the archive, not the one that the metadata announces.
        size=backup.stored_size,
    )
