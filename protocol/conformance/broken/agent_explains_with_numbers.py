"""Says what a check has found with a number."""

from the_agent import agent

validate = agent.QUICK["target.validate"]


def tersely(session: agent.Session, params: agent.Params) -> agent.Json:
    result = validate(session, params)
    result["checks"][0]["message"] = 5
    return result


agent.QUICK["target.validate"] = tersely
agent.main()
