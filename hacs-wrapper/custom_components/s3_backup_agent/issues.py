"""Repair issues of an entry.

An issue stores the operation that raised it and is deleted when this operation succeeds. Until then
it stays, also after a restart of Home Assistant.
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
class IssueType:
    """The properties that all issues with the same code share.

    fix: the flow that its button starts, see repairs.py; None if only the provider can help.
    page: the page in docs/, with the section.
    any_success_resolves: whether each successful operation deletes the issue, not only the one that
        raised it.
    """

    fix: str | None = None
    page: str = ""
    severity: ir.IssueSeverity = ir.IssueSeverity.ERROR
    any_success_resolves: bool = False


_DOCS = "https://github.com/s3-backup-agent/s3-backup-agent/blob/main/docs/"
_MESSAGES = "troubleshooting.md#"
_WARNING: Final = ir.IssueSeverity.WARNING

#: The bucket keeps old versions, so deleting a backup frees no space.
VERSIONED_BUCKET: Final = "versioned_bucket"
#: The keys do not allow removing incomplete uploads, which use space.
INCOMPLETE_UPLOADS: Final = "incomplete_uploads"
#: The bucket has a default retention: its objects cannot be deleted for some time.
OBJECT_LOCK_BUCKET: Final = "object_lock_bucket"
#: The folder of the entry has no backups, but another folder of the bucket has some.
BACKUPS_IN_OTHER_FOLDER: Final = "backups_in_other_folder"
#: Any other warning of a validation.
SETTING_WARNING: Final = "setting_warning"

#: The errors and warnings that become issues.
ISSUES: Final[Mapping[str, IssueType]] = {
    "access_denied": IssueType("reauth", f"{_MESSAGES}access_denied"),
    "bucket_not_found": IssueType(
        "reconfigure", f"{_MESSAGES}bucket_not_found", any_success_resolves=True
    ),
    "clock_skew": IssueType(None, f"{_MESSAGES}clock_skew", any_success_resolves=True),
    "credentials_expired": IssueType(
        "reauth", f"{_MESSAGES}credentials_expired", any_success_resolves=True
    ),
    "object_locked": IssueType(None, f"{_MESSAGES}object_locked"),
    "quota_exceeded": IssueType(None, f"{_MESSAGES}quota_exceeded"),
    "tls_untrusted": IssueType(
        "reconfigure", f"{_MESSAGES}tls_untrusted", any_success_resolves=True
    ),
    INCOMPLETE_UPLOADS: IssueType("cleanup", "costs.md#lifecycle-rules", _WARNING),
    VERSIONED_BUCKET: IssueType(None, "costs.md#lifecycle-rules", _WARNING),
    OBJECT_LOCK_BUCKET: IssueType(None, f"{_MESSAGES}object_locked", _WARNING),
    BACKUPS_IN_OTHER_FOLDER: IssueType(None, f"{_MESSAGES}not_found", _WARNING),
    SETTING_WARNING: IssueType("reconfigure", "settings.md", _WARNING),
}
#: Translation keys of errors that have a text of their own for one reason.
VARIANTS: Final = ("access_denied_explicit_deny",)

#: The operation of the warnings of a validation.
VALIDATE: Final = "validate"
#: The warnings of a validation, by the unique ID of the entry that is set up after it.
_WARNINGS: HassKey[dict[str, Sequence[Check]]] = HassKey(f"{DOMAIN}.warnings")


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
    """Creates or updates an issue. title: of the entry. details: placeholders of the texts."""
    issue_type = ISSUES[code]
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{code}_{entry_id}",
        data={"entry_id": entry_id, "code": code, "operation": operation},
        is_fixable=issue_type.fix is not None,
        is_persistent=True,
        learn_more_url=_DOCS + issue_type.page,
        severity=issue_type.severity,
        translation_key=key or code,
        # The page renders Markdown, and the details may come from the server.
        translation_placeholders={name: escape_markdown(detail) for name, detail in details.items()}
        | {"title": title},
    )


@callback
def async_raise_error(
    hass: HomeAssistant, entry_id: str, title: str, operation: str, error: AgentError
) -> None:
    """Creates the issue of an error, if it has one."""
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
    """Deletes the issues that are resolved by the success of this operation."""

    def is_resolved(code: str, raised_by: object) -> bool:
        any_success = raised_by != VALIDATE and ISSUES[code].any_success_resolves
        return any_success or raised_by == operation

    _delete_issues(hass, entry_id, is_resolved)


@callback
def async_delete_issues(hass: HomeAssistant, entry_id: str) -> None:
    """Deletes all issues of an entry."""
    _delete_issues(hass, entry_id, lambda code, raised_by: True)


def _delete_issues(
    hass: HomeAssistant, entry_id: str, is_resolved: Callable[[str, object], bool]
) -> None:
    for code in ISSUES:
        issue = ir.async_get(hass).async_get_issue(DOMAIN, f"{code}_{entry_id}")
        if issue and is_resolved(code, (issue.data or {}).get("operation")):
            ir.async_delete_issue(hass, DOMAIN, issue.issue_id)


@callback
def async_store_warnings(hass: HomeAssistant, unique_id: str, checks: Sequence[Check]) -> None:
    """Stores the warnings of a validation until its entry is set up."""
    hass.data.setdefault(_WARNINGS, {})[unique_id] = checks


@callback
def async_raise_warnings(hass: HomeAssistant, entry_id: str, unique_id: str, title: str) -> None:
    """Creates issues for the warnings of the last validation, and deletes those of earlier ones."""
    checks = hass.data.get(_WARNINGS, {}).pop(unique_id, None)
    if checks is None:
        return
    async_resolve_issues(hass, entry_id, VALIDATE)
    for check in checks:
        code = _code_of(check)
        details = {name: str(value) for name, value in check.details.items()} | {
            "message": check.text
        }
        if check.error:
            details = placeholders(check.error) | details
        async_raise_issue(hass, entry_id, title, code, VALIDATE, details)


def _code_of(check: Check) -> str:
    """The code of the issue for a warning."""
    if check.name == "versioning":
        return VERSIONED_BUCKET
    if check.name == "lock":
        return OBJECT_LOCK_BUCKET
    if "elsewhere" in check.details:
        return BACKUPS_IN_OTHER_FOLDER
    if check.error and check.error.code == "clock_skew":
        return "clock_skew"
    return SETTING_WARNING
