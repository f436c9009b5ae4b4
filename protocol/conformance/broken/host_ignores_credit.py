"""Sends one byte more than its credit."""

import sys

from replacing import replace
from the_host import host

credit_of = host.Agent._credit


def one_more(agent: host.Agent, request: host.Request, sent: int, credit: int) -> int:
    return credit_of(agent, request, sent, credit) + 1


replace(host.Agent, "_credit", one_more)
sys.exit(host.serve_program(sys.argv[1:]))
