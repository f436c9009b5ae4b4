"""Turns errors of the agent into translated exceptions of Home Assistant.

The translation key is the code of the error. If a detail has a text of its own, the key contains
it: `cannot_connect_dns`. The placeholders are the details. Tests compare the keys with
protocol/errors.json and both translations.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from homeassistant.components.backup import BackupAgentError, BackupNotFound
from homeassistant.exceptions import ConfigEntryAuthFailed, ConfigEntryError, HomeAssistantError
from homeassistant.helpers.update_coordinator import UpdateFailed

from .agent import AgentError, Kind, NoSuchBackup
from .const import DOMAIN

#: All known codes: those of protocol/errors.json and of the client library in agent/.
CODES: Final = (
    "invalid_config",
    "invalid_endpoint",
    "invalid_bucket_name",
    "cannot_connect",
    "tls_untrusted",
    "tls_failed",
    "invalid_credentials",
    "credentials_expired",
    "clock_skew",
    "access_denied",
    "object_locked",
    "bucket_not_found",
    "wrong_region",
    "wrong_addressing_style",
    "unsupported_feature",
    "not_found",
    "already_exists",
    "modified",
    "cold_storage",
    "corrupt_metadata",
    "length_mismatch",
    "integrity_mismatch",
    "too_large",
    "quota_exceeded",
    "busy",
    "throttled",
    "remote_error",
    "network_lost",
    "timeout",
    "stalled",
    "cancelled",
    "shutting_down",
    "local_io",
    "source_failed",
    "parse_error",
    "invalid_request",
    "method_not_found",
    "invalid_params",
    "duplicate_id",
    "not_initialized",
    "unsupported_protocol",
    "target_unknown",
    "stream_violation",
    "flow_violation",
    "internal",
    "agent_not_found",
    "agent_start_failed",
    "agent_gone",
    "agent_protocol",
)

#: The key for all other codes, because the agent may be newer than this table.
OTHER: Final = "other"
#: Codes that mean a bug in the integration or the agent. They share one state of the sensor.
_BUGS: Final = frozenset(
    {
        "parse_error",
        "invalid_request",
        "method_not_found",
        "invalid_params",
        "duplicate_id",
        "not_initialized",
        "unsupported_protocol",
        "target_unknown",
        "stream_violation",
        "flow_violation",
        "internal",
    }
)
#: The states of the sensor "Last error", except `none`.
STATES: Final = (*(code for code in CODES if code not in _BUGS), OTHER)


def state(error: AgentError) -> str:
    """The state of the sensor for an error, one of `STATES`."""
    code = "agent_protocol" if error.code in _BUGS else error.code
    return code if code in STATES else OTHER


#: By code: the detail for which there are separate texts, and its values that have one.
VARIANTS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "invalid_config": (
        "field",
        frozenset(
            {
                "region",
                "prefix",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "ca_certificate",
                "storage_class",
                "server_side_encryption_key_id",
                "part_size",
                "memory",
                "concurrency",
                "bandwidth_limit",
                "folder",
            }
        ),
    ),
    "invalid_endpoint": (
        "reason",
        frozenset(
            {
                "scheme",
                "bucket_in_url",
                "credentials_in_url",
                "query",
                "not_s3",
                "console_port",
                "plain_http_on_tls",
                "tls_on_plain_http",
                "not_http",
            }
        ),
    ),
    "access_denied": ("reason", frozenset({"explicit_deny"})),
    "cannot_connect": ("stage", frozenset({"dns", "proxy"})),
    "tls_untrusted": (
        "reason",
        frozenset({"self_signed", "expired", "not_yet_valid", "name_mismatch"}),
    ),
    "invalid_credentials": ("which", frozenset({"access_key", "signature", "swapped", "token"})),
    "wrong_addressing_style": ("use", frozenset({"path", "virtual"})),
    "agent_start_failed": (
        "reason",
        frozenset({"architecture", "not_executable", "missing_loader", "wrong_version"}),
    ),
}

#: The details that a text may use. `UNKNOWN` replaces missing ones.
PLACEHOLDERS: Final = (
    "action",
    "actual",
    "backup_id",
    "bucket",
    "code",
    "configured",
    "expected",
    "feature",
    "host",
    "issuer",
    "limit",
    "message",
    "path",
    "resource",
    "sha256",
    "skew",
    "status",
    "storage_class",
    "subject",
)
UNKNOWN: Final = "?"
_MAX_LENGTH = 300  # characters of a detail, which may come from the server
_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")  # all punctuation that Markdown can escape


def translation_key(error: AgentError) -> str:
    """The translation key for an error."""
    if error.code not in CODES:
        return OTHER
    if variant := VARIANTS.get(error.code):
        name, values = variant
        value = error.details.get(name, error.field if name == "field" else None)
        if value in values:
            return f"{error.code}_{value}"
    return error.code


def placeholders(error: AgentError) -> dict[str, str]:
    """All placeholders for an error as text."""
    details = error.details | {"code": error.code, "message": error.message}
    if isinstance(skew := details.get("skew_s"), int):
        details["skew"] = round(abs(skew) / 60)
    if isinstance(digest := details.get("sha256"), str):
        details["sha256"] = fingerprint(digest)
    if isinstance(host := details.get("host"), str):
        details["host"] = _host(host)
    return {name: _text(details.get(name)) for name in PLACEHOLDERS}


def _host(address: str) -> str:
    """Host and port. address: a URL, or a host with or without a port."""
    try:
        return urlsplit(address).netloc.rpartition("@")[2] or address
    except ValueError:
        return address


def fingerprint(digest: str) -> str:
    """A SHA-256 checksum as browsers and openssl show it: `3F:2A:...`."""
    plain = digest.replace(":", "").upper()
    return ":".join(plain[i : i + 2] for i in range(0, len(plain), 2))


def _text(detail: Any) -> str:
    text = UNKNOWN if detail is None or detail == "" else str(detail)
    # The frontend would treat braces as placeholders.
    text = text.translate({ord("{"): "(", ord("}"): ")"})
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def escape_markdown(text: str) -> str:
    """Escapes text of a server for a page that renders Markdown.

    The result contains no links, images, lists or HTML, and no address that becomes a link.
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def needs_reauth(error: AgentError) -> bool:
    """Whether new keys would help. They do not help against a wrong clock."""
    return error.kind is Kind.AUTH and error.code != "clock_skew"


def _translated[E: HomeAssistantError](exception: type[E], error: AgentError) -> E:
    return exception(
        translation_domain=DOMAIN,
        translation_key=translation_key(error),
        translation_placeholders=placeholders(error),
    )


def backup_error(error: AgentError) -> BackupAgentError:
    """The exception that a backup agent raises."""
    if isinstance(error, NoSuchBackup):
        return _translated(BackupNotFound, error)
    return _translated(BackupAgentError, error)


# Errors that only new settings or new software can end. A bucket or a permission may come back.
_PERMANENT = {Kind.CONFIG, Kind.PROTOCOL}


def entry_error(error: AgentError) -> HomeAssistantError:
    """The exception for an entry that cannot be set up or refreshed."""
    if needs_reauth(error):
        return _translated(ConfigEntryAuthFailed, error)
    if error.kind in _PERMANENT:
        return _translated(ConfigEntryError, error)
    # Becomes ConfigEntryNotReady in the first refresh.
    return _translated(UpdateFailed, error)
