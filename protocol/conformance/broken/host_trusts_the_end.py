"""Treats the end of a stream as success."""

import sys

from replacing import replace
from the_host import host

next_frame = host.Request.next
ended: dict[int, host.Json] = {}


def succeed_at_the_end(request: host.Request, timeout: float | None = None) -> host.Frame:
    if request.id in ended:
        request.answered = True
        return {"result": ended[request.id]}, None
    frame = next_frame(request, timeout)
    if frame[0].get("method") == "stream.end":
        ended[request.id] = frame[0]["params"]
    return frame


replace(host.Request, "next", succeed_at_the_end)
sys.exit(host.serve_program(sys.argv[1:]))
