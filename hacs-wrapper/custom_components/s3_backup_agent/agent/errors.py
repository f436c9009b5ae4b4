"""`AgentError`, the exception of this library, and its subclasses.

`code` is stable: one of protocol/errors.json, or one of the `agent_...` codes below. `kind` is one
of a closed set, for callers that do not know the code. `details` has the data for your own
message. `message` is English text for logs; do not parse it.
"""

# The exceptions are named after their codes.
# ruff: noqa: N818

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """The category of an error, independent of its code."""

    CONFIG = "config"
    CONNECT = "connect"
    AUTH = "auth"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INTEGRITY = "integrity"
    TRANSIENT = "transient"
    LIMIT = "limit"
    CANCELLED = "cancelled"
    PROTOCOL = "protocol"
    INTERNAL = "internal"


class AgentError(Exception):
    """A request failed, or no agent could be started.

    code: stable name of the error, for example `bucket_not_found`.
    kind: category, for callers that do not know the code.
    retryable: whether the same request may succeed later without a change.
    retry_after: seconds to wait before that, if the server or the restart of the agent asks for it.
    field: the setting to change, as `open_target` names it.
    details: the content of the message as data.
    cleanup: state of an interrupted upload: `complete`, `kept` (for a resume), `pending`, `failed`.
    upstream: the server's answer (`service`, `operation`, `status`, `code`, `request_id`).
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "internal",
        kind: Kind = Kind.INTERNAL,
        retryable: bool = False,
        retry_after: float | None = None,
        field: str | None = None,
        details: Mapping[str, Any] | None = None,
        cleanup: str | None = None,
        upstream: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.retryable = retryable
        self.retry_after = retry_after
        self.field = field
        self.details = dict(details or {})
        self.cleanup = cleanup
        self.upstream = dict(upstream or {})

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"


class AuthError(AgentError):
    """Kind `auth`: the keys are wrong or expired, or the clock is wrong."""


class NoSuchBackup(AgentError):
    """Code `not_found`: no backup has this ID."""


class AgentNotFound(AgentError):
    """Code `agent_not_found`: no agent program. `details["searched"]` lists the paths."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_not_found", details=details)


class AgentStartFailed(AgentError):
    """Code `agent_start_failed`: the program cannot be run, or is not the agent.

    `details["path"]` is the program. `details["reason"]` is one of `architecture`,
    `missing_loader`, `not_executable`, `system` (another error of the operating system), `died`,
    `no_answer`, `refused`, `wrong_program` and `wrong_version`. `stderr_tail` is the end of its
    log.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_start_failed", details=details)


class AgentGone(AgentError):
    """Code `agent_gone`: the agent ended during a request. The next call starts it again.

    `details` has `exit_code` or `signal`, and `stderr_tail` (text).
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(
            message,
            code="agent_gone",
            kind=Kind.TRANSIENT,
            retryable=True,
            retry_after=retry_after,
            details=details,
        )


class AgentProtocolError(AgentError):
    """Code `agent_protocol`: the agent broke the protocol. Please report this bug."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_protocol", kind=Kind.PROTOCOL, details=details)


class AgentTimeout(AgentError):
    """Code `timeout`: no answer before the deadline of the call."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(
            message, code="timeout", kind=Kind.TRANSIENT, retryable=True, details=details
        )


def parse_error(error: object) -> AgentError:
    """The exception for the `error` member of a response or a check. Never raises."""
    raw = error if isinstance(error, dict) else {}
    # A response has the data in a member `data`, a check has it beside the message.
    data = raw["data"] if isinstance(raw.get("data"), dict) else raw
    code = data["code"] if isinstance(data.get("code"), str) else "internal"
    try:
        kind = Kind(str(data.get("kind")))
    except ValueError:
        kind = Kind.INTERNAL
    error_class = AgentError
    if code == "not_found":
        error_class = NoSuchBackup
    elif kind is Kind.AUTH:
        error_class = AuthError
    wait = data.get("retry_after_ms")
    field, cleanup = data.get("field"), data.get("cleanup")
    if cleanup not in (None, "complete", "kept", "pending"):
        cleanup = "failed"  # also for a value unknown to this library
    details, upstream = data.get("details"), data.get("upstream")
    return error_class(
        str(raw.get("message") or code),
        code=code,
        kind=kind,
        retryable=data.get("retryable") is True,
        retry_after=wait / 1000 if isinstance(wait, int | float) else None,
        field=field if isinstance(field, str) else None,
        details=details if isinstance(details, dict) else None,
        cleanup=cleanup,
        upstream=upstream if isinstance(upstream, dict) else None,
    )
