"""Ends with exit code 0 after fatal errors of the host."""

from typing import IO

from replacing import replace
from the_agent import agent

serve = agent.Session.serve


def serve_gladly(session: agent.Session, stdin: IO[bytes]) -> int:
    serve(session, stdin)
    return 0


replace(agent.Session, "serve", serve_gladly)
agent.main()
