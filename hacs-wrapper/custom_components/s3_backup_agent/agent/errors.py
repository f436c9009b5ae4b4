"""The one exception of this library, and the few kinds of it that callers tell apart.

Every failure is an `AgentError`. Its `code` is stable (protocol/errors.json and the four codes
`agent_...` below), its `kind` is one of a closed set to act on when the code is unknown, and its
`details` are for a wording of your own. `message` is English, for logs, and is never parsed.
"""

# The exceptions are named after their codes.
# ruff: noqa: N818

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What to do about an error, whatever its code."""

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
    """A request failed, or there is no agent that could be asked.

    code: stable name of the error, such as `bucket_not_found`.
    kind: closed set; what to do when the code is unknown.
    retryable: the same request may succeed later without anybody changing anything.
    retry_after: seconds that the storage, or the restart of the agent, wants us to wait.
    field: the setting to change, as `open_target` names it.
    details: what the message says, in pieces.
    cleanup: what became of a half upload: `complete`, `kept` (to go on with), `pending`, `failed`.
    upstream: what the storage said (`service`, `operation`, `status`, `code`, `request_id`).
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
    """Kind `auth`: the keys are wrong or have expired, or the clock is."""


class NoSuchBackup(AgentError):
    """Code `not_found`: there is no backup of this id."""


class AgentNotFound(AgentError):
    """Code `agent_not_found`: no agent program. `details["searched"]` says where we looked."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_not_found", details=details)


class AgentStartFailed(AgentError):
    """Code `agent_start_failed`: the program cannot be run, or is not the agent.

    `details["path"]` is the program, `details["reason"]` one of `architecture`, `missing_loader`,
    `not_executable`, `system` (the system refuses to run it), `died`, `no_answer`, `refused`,
    `wrong_program` and `wrong_version`. After a start `stderr_tail` is what it wrote.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_start_failed", details=details)


class AgentGone(AgentError):
    """Code `agent_gone`: the agent ended while it was needed. The next call starts another one.

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
    """Code `agent_protocol`: the agent said something that makes no sense. A bug, please report."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="agent_protocol", kind=Kind.PROTOCOL, details=details)


class AgentTimeout(AgentError):
    """Code `timeout`: no answer before the deadline of the call."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, code="timeout", kind=Kind.TRANSIENT, retryable=True, details=details)


def from_wire(error: object) -> AgentError:
    """The exception for the `error` member of a response, or of a check. Never raises."""
    raw = error if isinstance(error, dict) else {}
    # A check has message and data side by side, a response has data in a member of its own.
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
        cleanup = "failed"  # or one that this library does not know yet
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
