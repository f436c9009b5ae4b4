"""Begins a page with the last entry of the previous one."""

from the_agent import agent

listed = agent.Session.list


def again(session: agent.Session, params: agent.Params) -> agent.Json:
    cursor = params.values.get("cursor")
    if isinstance(cursor, str):
        params.values["cursor"] = cursor[:-1]
    return listed(session, params)


agent.QUICK["backup.list"] = again
agent.main()
