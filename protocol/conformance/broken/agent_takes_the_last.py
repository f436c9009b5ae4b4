"""Starts the transfer that arrived last."""

from replacing import replace
from the_agent import agent

begin_queued = agent.Session.begin_queued


def last_first(session: agent.Session) -> None:
    session.queued.reverse()
    begin_queued(session)
    session.queued.reverse()


replace(agent.Session, "begin_queued", last_first)
agent.main()
