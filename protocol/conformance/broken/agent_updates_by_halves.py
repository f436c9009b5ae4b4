"""Changes limits one by one, and stops at a wrong one."""

from replacing import replace
from the_agent import agent

update = agent.Target.update


def by_halves(target: agent.Target, params: agent.Params) -> agent.Json:
    for name, value in params.values.items():
        update(target, agent.Params({name: value}, params.path))
    return update(target, agent.Params({}, params.path))


replace(agent.Target, "update", by_halves)
agent.main()
