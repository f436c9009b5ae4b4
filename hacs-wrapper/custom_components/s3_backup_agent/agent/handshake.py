"""The first two messages: checks that a program is an agent of a compatible version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import AgentError, AgentGone, AgentTimeout
from .frame import MAX_LINE, MAX_PAYLOAD
from .models import AgentInfo, Json
from .versions import compatible_versions, is_compatible

PROTOCOL = 1


class HandshakeError(Exception):
    """The program cannot be used as an agent.

    `reason` is one of the reasons of `AgentStartFailed`; `details` are further details of it.
    """

    def __init__(self, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.details = details


def read_hello(hello: Json, made_for: str | None) -> AgentInfo:
    """Checks the parameters of `hello`. Raises `HandshakeError`."""
    versions = hello.get("versions")
    if hello.get("protocol") != "backup-agent" or not isinstance(versions, list):
        raise HandshakeError("wrong_program", "speaks another protocol")
    info = AgentInfo.parse(hello)
    if PROTOCOL not in versions:
        raise HandshakeError(
            "wrong_version",
            f"speaks version {versions} of the protocol, {PROTOCOL} is needed",
            actual=f"{info.version} (protocol {versions})",
            expected=f"protocol {PROTOCOL}",
        )
    if made_for is not None and not is_compatible(info.version, made_for):
        expected = " / ".join(compatible_versions(made_for))
        raise HandshakeError(
            "wrong_version",
            f"is version {info.version}, but {expected} is needed: update the older of the two",
            actual=info.version,
            expected=expected,
        )
    return info


def initialize_params(client: Mapping[str, str], log_level: str) -> Json:
    """The parameters of `initialize`."""
    limits = {"max_line": MAX_LINE, "max_payload": MAX_PAYLOAD}
    return {"protocol": PROTOCOL, "client": client, "limits": limits, "log_level": log_level}


def no_hello(error: AgentError) -> HandshakeError:
    """The error for a program that ended, or wrote something else, before its `hello`."""
    if error.code == "agent_protocol":
        return HandshakeError("wrong_program", "is not the agent")
    return HandshakeError("died", f"does not run: {error}", **error.details)


def not_initialized(error: AgentError) -> HandshakeError:
    """The error for an agent that did not accept `initialize`."""
    if isinstance(error, AgentTimeout):
        return HandshakeError("no_answer", "does not answer")
    reason = "died" if isinstance(error, AgentGone) else "refused"
    return HandshakeError(reason, f"cannot be used: {error}", **error.details)
