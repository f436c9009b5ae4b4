"""Logs the config of a target."""

from replacing import replace
from the_agent import agent

opened = agent.Session.open


def log_it(session: agent.Session, params: agent.Params) -> agent.Json:
    session.log.add("info", "opens a target", config=params.values.get("config"))
    return opened(session, params)


replace(agent.Session, "open", log_it)
agent.main()
