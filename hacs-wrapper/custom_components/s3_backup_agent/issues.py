"""Repair issues of a storage: tied to its entry, and there until what they say is over.

A restart of Home Assistant keeps them.

Each remembers the operation that raised it, and goes away once that one succeeds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util.hass_dict import HassKey

from .agent import AgentError, Check
from .const import DOMAIN
from .errors import escape_markdown, placeholders, translation_key


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for all issues of a kind.

    fix: the flow that its button begins, see repairs.py; none when only the provider can help.
    page: of the documents, with the chapter.
    over: whether any successful call says that it is over, not only the one that raised it.
    """

    fix: str | None = None
    page: str = ""
    severity: ir.IssueSeverity = ir.IssueSeverity.ERROR
    over: bool = False


_DOCS = "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/"
_TROUBLE = "troubleshooting.md#"
_WARNING: Final = ir.IssueSeverity.WARNING

#: A bucket that keeps what is deleted, so that deleting never frees space.
VERSIONED_BUCKET: Final = "versioned_bucket"
#: Uploads that came to no end, which the keys cannot remove: they take up space for ever.
INCOMPLETE_UPLOADS: Final = "incomplete_uploads"
#: A bucket that lets nothing be deleted for some days.
OBJECT_LOCK_BUCKET: Final = "object_lock_bucket"
#: Backups in another folder of the bucket, and none in that of the entry.
BACKUPS_IN_OTHER_FOLDER: Final = "backups_in_other_folder"
#: Whatever else a trial found that works and should be looked at.
SETTING_WARNING: Final = "setting_warning"

#: Errors that somebody has to do something about, and what trials and cleanups find.
ISSUES: Final[Mapping[str, Kind]] = {
    "access_denied": Kind("reauth", f"{_TROUBLE}access_denied"),
    "bucket_not_found": Kind("reconfigure", f"{_TROUBLE}bucket_not_found", over=True),
    "clock_skew": Kind(None, f"{_TROUBLE}clock_skew", over=True),
    "credentials_expired": Kind("reauth", f"{_TROUBLE}credentials_expired", over=True),
    "object_locked": Kind(None, f"{_TROUBLE}locked"),
    "quota_exceeded": Kind(None, f"{_TROUBLE}quota_exceeded"),
    "tls_untrusted": Kind("reconfigure", f"{_TROUBLE}tls_untrusted", over=True),
    INCOMPLETE_UPLOADS: Kind("cleanup", "costs.md#lifecycle-rules", _WARNING),
    VERSIONED_BUCKET: Kind(None, "costs.md#lifecycle-rules", _WARNING),
    OBJECT_LOCK_BUCKET: Kind(None, f"{_TROUBLE}locked", _WARNING),
    BACKUPS_IN_OTHER_FOLDER: Kind(None, f"{_TROUBLE}not_found", _WARNING),
    SETTING_WARNING: Kind("reconfigure", "settings.md", _WARNING),
}
#: Those that have other words for one of their reasons.
VARIANTS: Final = ("access_denied_explicit_deny",)

#: The operation of what a trial of the settings finds.
VALIDATE: Final = "validate"
#: What trials have found, by the unique id of an entry that is set up next.
_WARNINGS: HassKey[dict[str, Sequence[Check]]] = HassKey(f"{DOMAIN}.trials")


@callback
def async_raise_issue(
    hass: HomeAssistant,
    entry_id: str,
    title: str,
    code: str,
    operation: str,
    details: Mapping[str, str],
    *,
    key: str | None = None,
) -> None:
    """Shows an issue, or shows it with other words. title: of the entry. details: for the texts."""
    kind = ISSUES[code]
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{code}_{entry_id}",
        data={"entry_id": entry_id, "code": code, "operation": operation},
        is_fixable=kind.fix is not None,
        is_persistent=True,
        learn_more_url=_DOCS + kind.page,
        severity=kind.severity,
        translation_key=key or code,
        # The page reads Markdown, and the details are the words of a storage.
        translation_placeholders={name: escape_markdown(detail) for name, detail in details.items()}
        | {"title": title},
    )


@callback
def async_raise_error(
    hass: HomeAssistant, entry_id: str, title: str, operation: str, error: AgentError
) -> None:
    """Shows the issue of an error, if it has one."""
    if error.code in ISSUES:
        key = translation_key(error)
        async_raise_issue(
            hass,
            entry_id,
            title,
            error.code,
            operation,
            placeholders(error),
            key=key if key in VARIANTS else error.code,
        )


@callback
def async_resolve_issues(hass: HomeAssistant, entry_id: str, operation: str) -> None:
    """Ends the issues that this operation has raised, which has succeeded now."""

    def is_over(code: str, raised_by: object) -> bool:
        return raised_by == operation or (raised_by != VALIDATE and ISSUES[code].over)

    _delete_issues(hass, entry_id, is_over)


@callback
def async_delete_issues(hass: HomeAssistant, entry_id: str) -> None:
    """Ends all issues of an entry."""
    _delete_issues(hass, entry_id, lambda code, raised_by: True)


def _delete_issues(
    hass: HomeAssistant, entry_id: str, is_over: Callable[[str, object], bool]
) -> None:
    for code in ISSUES:
        issue = ir.async_get(hass).async_get_issue(DOMAIN, f"{code}_{entry_id}")
        if issue and is_over(code, (issue.data or {}).get("operation")):
            ir.async_delete_issue(hass, DOMAIN, issue.issue_id)


@callback
def async_store_warnings(hass: HomeAssistant, unique_id: str, found: Sequence[Check]) -> None:
    """Keeps what a trial has found until the entry is set up that it was for."""
    hass.data.setdefault(_WARNINGS, {})[unique_id] = found


@callback
def async_raise_warnings(hass: HomeAssistant, entry_id: str, unique_id: str, title: str) -> None:
    """Shows what the last trial of this entry has found, in place of what one found before."""
    found = hass.data.get(_WARNINGS, {}).pop(unique_id, None)
    if found is None:
        return
    async_resolve_issues(hass, entry_id, VALIDATE)
    for check in found:
        code = _code_of(check)
        details = {name: str(value) for name, value in check.details.items()} | {
            "message": check.words
        }
        if check.error:
            details = placeholders(check.error) | details
        async_raise_issue(hass, entry_id, title, code, VALIDATE, details)


def _code_of(check: Check) -> str:
    """The kind of issue that a warning becomes."""
    if check.name == "versioning":
        return VERSIONED_BUCKET
    if check.name == "lock":
        return OBJECT_LOCK_BUCKET
    if "elsewhere" in check.details:
        return BACKUPS_IN_OTHER_FOLDER
    if check.error and check.error.code == "clock_skew":
        return "clock_skew"
    return SETTING_WARNING
