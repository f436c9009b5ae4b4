"""Treats warnings of a check as failures."""

import sys

from replacing import replace
from the_host import host

call = host.Agent.call


def strictly(agent: host.Agent, method: str, **params: object) -> host.Json:
    result = call(agent, method, **params)
    for check in result.get("checks", []):
        if "error" in check:
            check["status"] = "failed"
    return result


replace(host.Agent, "call", strictly)
sys.exit(host.serve_program(sys.argv[1:]))
