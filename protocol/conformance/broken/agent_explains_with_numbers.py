"""Sends a number as the message of a check."""

from the_agent import agent

validate = agent.QUICK["target.validate"]


def tersely(session: agent.Session, params: agent.Params) -> agent.Json:
    result = validate(session, params)
    result["checks"][0]["message"] = 5
    return result


agent.QUICK["target.validate"] = tersely
agent.main()
