"""Answers a request twice after its deadline."""

from replacing import replace
from the_agent import agent

respond = agent.Session.respond


def twice(
    session: agent.Session, number: int | None, outcome: agent.Json | agent.RequestError
) -> None:
    respond(session, number, outcome)
    if isinstance(outcome, agent.RequestError) and outcome.data["code"] == "timeout":
        respond(session, number, outcome)


replace(agent.Session, "respond", twice)
agent.main()
