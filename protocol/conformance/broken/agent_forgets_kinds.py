"""Uses its own kind for not_found."""

from the_agent import agent

agent.KINDS["not_found"] = "missing"
agent.main()
