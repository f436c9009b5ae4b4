"""Runs more requests than announced."""

from replacing import replace
from the_agent import agent

on_target = agent.Session.on_target


def unlimited(session: agent.Session, number: int, method: str, params: agent.Params) -> None:
    agent.MAX_REQUESTS = 1000
    on_target(session, number, method, params)


replace(agent.Session, "on_target", unlimited)
agent.main()
