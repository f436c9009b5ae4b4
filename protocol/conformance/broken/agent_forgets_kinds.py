"""Has a kind of its own for what is not found."""

from the_agent import agent

agent.KINDS["not_found"] = "missing"
agent.main()
