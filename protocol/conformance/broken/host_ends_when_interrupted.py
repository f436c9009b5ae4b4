"""Sends stream.end for an upload whose source failed."""

import sys

from replacing import replace
from the_host import host


def end(request: host.Request, reason: str) -> None:
    request._agent.notify("stream.end", id=request.id, length=60_000)


replace(host.Request, "cancel", end)
sys.exit(host.serve_program(sys.argv[1:]))
