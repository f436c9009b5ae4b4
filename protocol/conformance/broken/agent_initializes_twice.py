"""Accepts a second initialize."""

from replacing import replace
from the_agent import agent

initialize = agent.Session.initialize


def again(session: agent.Session, params: agent.Params) -> agent.Json:
    session.initialized = False
    return initialize(session, params)


replace(agent.Session, "initialize", again)
agent.main()
