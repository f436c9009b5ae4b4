"""Answers data for an ended request."""

from replacing import replace
from the_agent import agent

notification = agent.Session.notification


def complain(
    session: agent.Session, method: str, params: object, payload: bytes | memoryview | None
) -> None:
    if method == "stream.data" and isinstance(params, dict) and params["id"] not in session.running:
        raise agent.RequestError("stream_violation", "there is no such stream")
    notification(session, method, params, payload)


replace(agent.Session, "notification", complain)
agent.main()
