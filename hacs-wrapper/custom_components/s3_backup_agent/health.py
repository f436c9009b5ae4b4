"""How a storage has been doing: its last error, upload and sweep, and the repair issues of them.

Each operation keeps its last error until the same operation succeeds: a good listing says nothing
about a full storage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util

from .agent import AgentError, Leftover, Uploaded
from .const import DOMAIN
from .errors import CODES, OTHER, UNKNOWN, markdown, placeholders, translation_key

#: Errors that somebody has to do something about, outside of this integration's forms.
ISSUE_CODES: Final = (
    "access_denied",
    "bucket_not_found",
    "clock_skew",
    "credentials_expired",
    "locked",
    "quota_exceeded",
    "tls_untrusted",
)
#: Those that have other words for one of their reasons.
ISSUE_VARIANTS: Final = ("access_denied_explicit_deny",)
#: A bucket that keeps what is deleted, so that deleting never frees space.
ISSUE_VERSIONED: Final = "versioned_bucket"
#: Uploads that came to no end, which the keys cannot remove: they take up space for ever.
ISSUE_STALE_UPLOADS: Final = "stale_uploads"

_OF_THE_HOST = {"cancelled", "shutting_down"}  # happens when Home Assistant stops


@dataclass(frozen=True, slots=True)
class Sweep:
    """When leftovers were last looked for, how many were removed or stayed, and why none were."""

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
        self.last_sweep: Sweep | None = None

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
        return error.code if error.code in CODES else OTHER

    @callback
    def failed(self, operation: str, error: AgentError) -> None:
        """An operation ended in an error."""
        if error.code in _OF_THE_HOST:
            return
        self._errors.pop(operation, None)
        self._errors[operation] = error
        self._changed()

    @callback
    def succeeded(self, operation: str) -> None:
        """An operation did what it should."""
        if self._errors.pop(operation, None):
            self._changed()

    @callback
    def uploaded(self, result: Uploaded) -> None:
        """A backup is stored."""
        self.last_upload = dt_util.utcnow()
        self._errors.pop("upload", None)
        self._changed()
        versioned = result.version_id not in (None, "null")
        self._issue(ISSUE_VERSIONED, {} if versioned else None, ir.IssueSeverity.WARNING)

    @callback
    def swept(self, leftovers: Sequence[Leftover]) -> None:
        """Leftovers of uploads were looked for."""
        failed = [leftover for leftover in leftovers if leftover.status == "failed"]
        removed = sum(leftover.status == "removed" for leftover in leftovers)
        self.last_sweep = Sweep(dt_util.utcnow(), removed, len(failed))
        # What fails in a passing way is for the next sweep, and for nobody to act on.
        stuck = [one for one in failed if not (one.error and one.error.retryable)]
        facts: dict[str, str] | None = None
        if stuck:
            error = stuck[0].error or AgentError(UNKNOWN)
            facts = placeholders(error) | {"count": str(len(stuck))}
        self._issue(ISSUE_STALE_UPLOADS, facts, ir.IssueSeverity.WARNING)

    @callback
    def sweep_failed(self, error: AgentError) -> None:
        """They could not be looked for. The right to do so is one that the keys may lack."""
        self.last_sweep = Sweep(dt_util.utcnow(), error_code=error.code)

    def _changed(self) -> None:
        current = {error.code: error for error in self._errors.values()}
        for code in ISSUE_CODES:
            error = current.get(code)
            key = translation_key(error) if error else code
            self._issue(
                code,
                placeholders(error) if error else None,
                key=key if key in ISSUE_VARIANTS else code,
            )
        self._on_change()

    def _issue(
        self,
        code: str,
        facts: dict[str, str] | None,
        severity: ir.IssueSeverity = ir.IssueSeverity.ERROR,
        *,
        key: str | None = None,
    ) -> None:
        issue_id = f"{code}_{self._entry_id}"
        if facts is None:
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)
            return
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            issue_id,
            is_fixable=False,
            severity=severity,
            translation_key=key or code,
            # The page reads Markdown, and the facts are the words of a storage.
            translation_placeholders={name: markdown(fact) for name, fact in facts.items()}
            | {"title": self._title},
        )


@callback
def async_forget_errors(hass: HomeAssistant, entry_id: str) -> None:
    """The storage answers again, so what it said before is to be found out anew."""
    for code in ISSUE_CODES:
        ir.async_delete_issue(hass, DOMAIN, f"{code}_{entry_id}")


@callback
def async_forget_issues(hass: HomeAssistant, entry_id: str) -> None:
    """The entry goes away."""
    async_forget_errors(hass, entry_id)
    for code in (ISSUE_VERSIONED, ISSUE_STALE_UPLOADS):
        ir.async_delete_issue(hass, DOMAIN, f"{code}_{entry_id}")
