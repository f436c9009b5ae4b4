"""How a storage has been doing: its last error, upload and cleanup, and the repair issues of them.

Each operation keeps its last error until the same operation succeeds: a good listing says nothing
about a full storage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util

from .agent import AgentError, CleanupItem, Progress, UploadResult
from .errors import UNKNOWN, placeholders, state
from .issues import (
    INCOMPLETE_UPLOADS,
    VERSIONED_BUCKET,
    async_raise_error,
    async_raise_issue,
    async_resolve_issues,
)

ACTIVITIES: Final = ("idle", "uploading", "waiting_for_server")

#: Seconds without a further byte in the storage after which an upload is said to wait for it.
_STALLED_AFTER = 15
_STOPPING = {"cancelled", "shutting_down"}  # happens when Home Assistant stops


@dataclass(frozen=True, slots=True)
class Cleanup:
    """When items were last looked for, how many were removed or stayed, and why none were."""

    time: datetime
    removed: int = 0
    failed: int = 0
    error_code: str | None = None


class Health:
    """Of one config entry."""

    def __init__(
        self, hass: HomeAssistant, entry_id: str, title: str, on_change: Callable[[], None]
    ) -> None:
        """Starts without an error."""
        self._hass = hass
        self._entry_id = entry_id
        self._title = title
        self._on_change = on_change
        self._errors: dict[str, AgentError] = {}
        self.last_upload: datetime | None = None
        self.last_cleanup: Cleanup | None = None
        # By id: bytes that are stored, since when, and whether that is long enough to be told.
        self._uploads: dict[str, tuple[int, float, bool]] = {}

    @property
    def activity(self) -> str:
        """What is being done, one of `ACTIVITIES`."""
        if not self._uploads:
            return "idle"
        waits = all(stands for _, _, stands in self._uploads.values())
        return "waiting_for_server" if waits else "uploading"

    @property
    def last_error(self) -> AgentError | None:
        """The latest error that still holds."""
        return next(reversed(self._errors.values()), None)

    @property
    def failed_operation(self) -> str | None:
        """What it happened in."""
        return next(reversed(self._errors), None)

    @property
    def error_code(self) -> str:
        """The code of it, as the sensor shows it."""
        if (error := self.last_error) is None:
            return "none"
        return state(error)

    @callback
    def failed(self, operation: str, error: AgentError) -> None:
        """An operation ended in an error."""
        if error.code in _STOPPING:
            return
        self._errors.pop(operation, None)
        self._errors[operation] = error
        async_raise_error(self._hass, self._entry_id, self._title, operation, error)
        self._on_change()

    @callback
    def succeeded(self, operation: str) -> None:
        """An operation did what it should."""
        async_resolve_issues(self._hass, self._entry_id, operation)
        if self._errors.pop(operation, None):
            self._on_change()

    @callback
    def uploaded(self, result: UploadResult) -> None:
        """A backup is stored."""
        self.last_upload = dt_util.utcnow()
        self._on_change()
        if result.version_id in (None, "null"):
            async_resolve_issues(self._hass, self._entry_id, "versions")
        else:
            self._issue(VERSIONED_BUCKET, "versions", {})

    @callback
    def progressed(self, upload: str, progress: Progress | None) -> None:
        """The upload of this id has come so far; none when it has ended."""
        before = self.activity
        if progress is None:
            self._uploads.pop(upload, None)
        else:
            now = time.monotonic()
            done, since, _ = self._uploads.get(upload, (-1, now, False))
            if progress.done != done or progress.waiting_for != "remote":
                done, since = progress.done, now
            self._uploads[upload] = done, since, now - since >= _STALLED_AFTER
        if self.activity != before:
            self._on_change()

    @callback
    def cleaned_up(self, items: Sequence[CleanupItem]) -> None:
        """Leftovers of uploads were looked for."""
        failed = [item for item in items if item.status == "failed"]
        removed = sum(item.status == "removed" for item in items)
        self.last_cleanup = Cleanup(dt_util.utcnow(), removed, len(failed))
        # What fails in a passing way is for the next cleanup, and for nobody to act on.
        stuck = [one for one in failed if not (one.error and one.error.retryable)]
        if stuck:
            error = stuck[0].error or AgentError(UNKNOWN)
            details = placeholders(error) | {"count": str(len(stuck))}
            self._issue(INCOMPLETE_UPLOADS, "cleanup", details)
        else:
            async_resolve_issues(self._hass, self._entry_id, "cleanup")

    @callback
    def cleanup_failed(self, error: AgentError) -> None:
        """They could not be looked for. The right to do so is one that the keys may lack."""
        self.last_cleanup = Cleanup(dt_util.utcnow(), error_code=error.code)

    def _issue(self, code: str, operation: str, details: dict[str, str]) -> None:
        async_raise_issue(self._hass, self._entry_id, self._title, code, operation, details)
