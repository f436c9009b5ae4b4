"""The first two messages: whether a program is the agent, and one that we can talk to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .errors import AgentError, AgentGone, AgentProtocolError, AgentStartFailed, AgentTimeout
from .models import AgentInfo, Json
from .versions import fits, fitting

if TYPE_CHECKING:
    from .session import Session

PROTOCOL = 1
HELLO_PATIENCE = 10.0  # seconds for the first message, and for the answer to ours


async def shake_hands(session: Session, program: str, made_for: str | None) -> AgentInfo:
    """Waits for the agent to introduce itself. Raises `AgentStartFailed`."""
    await asyncio.wait((session.hello,), timeout=HELLO_PATIENCE)
    if not session.hello.done():
        text = f"did not say hello within {HELLO_PATIENCE:g} seconds"
        raise _refused(session, program, "no_answer", text)
    try:
        hello = session.hello.result()
    except AgentProtocolError as error:
        raise _refused(session, program, "wrong_program", "is not the agent") from error
    except AgentError as error:
        text = f"does not run: {error}"
        raise _refused(session, program, "died", text, **error.details) from error
    versions = hello.get("versions")
    if hello.get("protocol") != "backup-agent" or not isinstance(versions, list):
        raise _refused(session, program, "wrong_program", "speaks another protocol")
    info = AgentInfo.parse(hello)
    if PROTOCOL not in versions:
        text = f"speaks version {versions} of the protocol, {PROTOCOL} is needed"
        details = {"actual": f"{info.version} (protocol {versions})"}
        raise _refused(
            session, program, "wrong_version", text, **details, expected=f"protocol {PROTOCOL}"
        )
    if made_for is not None and not fits(info.version, made_for):
        expected = " / ".join(fitting(made_for))
        text = f"is version {info.version}, {expected} would do: update the older of the two"
        details = {"actual": info.version, "expected": expected}
        raise _refused(session, program, "wrong_version", text, **details)
    return info


async def initialize(session: Session, program: str, params: Json) -> None:
    """Says which version is spoken. Raises `AgentStartFailed`."""
    try:
        await session.call("initialize", params, timeout=HELLO_PATIENCE)
    except AgentTimeout as error:
        raise _refused(session, program, "no_answer", "does not answer") from error
    except AgentError as error:
        reason = "died" if isinstance(error, AgentGone) else "refused"
        text = f"cannot be used: {error}"
        raise _refused(session, program, reason, text, **error.details) from error


def _refused(
    session: Session, program: str, reason: str, text: str, **details: Any
) -> AgentStartFailed:
    if reason == "wrong_program":
        text += f"; it says {session.first_output!r}"
    details = {"stderr_tail": "\n".join(session.log_tail)} | details
    return AgentStartFailed(f"{program} {text}", reason=reason, path=program, **details)
