"""Records the last error, upload and cleanup of an entry, and creates its repair issues.

The last error of an operation is kept until the same operation succeeds. A successful listing, for
example, does not mean that a full bucket has space again.
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

#: Seconds without progress after which an upload counts as waiting for the server.
_STALLED_AFTER = 15
_STOPPING = {"cancelled", "shutting_down"}  # occur when Home Assistant stops


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The last cleanup: its time, the numbers of items, and the error if it failed."""

    time: datetime
    removed: int = 0
    failed: int = 0
    error_code: str | None = None


class Health:
    """The state of one config entry."""

    def __init__(
        self, hass: HomeAssistant, entry_id: str, title: str, on_change: Callable[[], None]
    ) -> None:
        """on_change: called when a sensor must be updated."""
        self._hass = hass
        self._entry_id = entry_id
        self._title = title
        self._on_change = on_change
        self._errors: dict[str, AgentError] = {}
        self.last_upload: datetime | None = None
        self.last_cleanup: Cleanup | None = None
        # By backup ID: stored bytes, since when, and whether the upload waits for the server.
        self._uploads: dict[str, tuple[int, float, bool]] = {}

    @property
    def activity(self) -> str:
        """The current activity, one of `ACTIVITIES`."""
        if not self._uploads:
            return "idle"
        all_wait = all(waits for _, _, waits in self._uploads.values())
        return "waiting_for_server" if all_wait else "uploading"

    @property
    def last_error(self) -> AgentError | None:
        """The latest error whose operation has not succeeded since."""
        return next(reversed(self._errors.values()), None)

    @property
    def failed_operation(self) -> str | None:
        """The operation of `last_error`."""
        return next(reversed(self._errors), None)

    @property
    def error_code(self) -> str:
        """The state of the sensor "Last error"."""
        if (error := self.last_error) is None:
            return "none"
        return state(error)

    @callback
    def failed(self, operation: str, error: AgentError) -> None:
        """Records that an operation failed."""
        if error.code in _STOPPING:
            return
        self._errors.pop(operation, None)
        self._errors[operation] = error
        async_raise_error(self._hass, self._entry_id, self._title, operation, error)
        self._on_change()

    @callback
    def succeeded(self, operation: str) -> None:
        """Records that an operation succeeded."""
        async_resolve_issues(self._hass, self._entry_id, operation)
        if self._errors.pop(operation, None):
            self._on_change()

    @callback
    def uploaded(self, result: UploadResult) -> None:
        """Records that a backup was uploaded."""
        self.last_upload = dt_util.utcnow()
        self._on_change()
        if result.version_id in (None, "null"):
            async_resolve_issues(self._hass, self._entry_id, "versions")
        else:
            self._issue(VERSIONED_BUCKET, "versions", {})

    @callback
    def progressed(self, upload: str, progress: Progress | None) -> None:
        """Records the progress of an upload; None when it has ended."""
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
        """Records the result of a cleanup."""
        failed = [item for item in items if item.status == "failed"]
        removed = sum(item.status == "removed" for item in items)
        self.last_cleanup = Cleanup(dt_util.utcnow(), removed, len(failed))
        # The next cleanup tries again after a retryable error.
        remaining = [item for item in failed if not (item.error and item.error.retryable)]
        if remaining:
            error = remaining[0].error or AgentError(UNKNOWN)
            details = placeholders(error) | {"count": str(len(remaining))}
            self._issue(INCOMPLETE_UPLOADS, "cleanup", details)
        else:
            async_resolve_issues(self._hass, self._entry_id, "cleanup")

    @callback
    def cleanup_failed(self, error: AgentError) -> None:
        """Records that a cleanup failed. This is no issue: the keys need not allow it."""
        self.last_cleanup = Cleanup(dt_util.utcnow(), error_code=error.code)

    def _issue(self, code: str, operation: str, details: dict[str, str]) -> None:
        async_raise_issue(self._hass, self._entry_id, self._title, code, operation, details)
