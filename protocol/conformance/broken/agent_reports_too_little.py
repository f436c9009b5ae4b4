"""Sends no report before its response."""

from replacing import replace
from the_agent import agent

answer = agent.Session.answer


def quietly(
    session: agent.Session, transfer: agent.Transfer, outcome: agent.Json | agent.RequestError
) -> None:
    transfer.progress_ms = None
    answer(session, transfer, outcome)


replace(agent.Session, "answer", quietly)
agent.main()
