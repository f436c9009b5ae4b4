"""Continues after an invalid frame."""

import sys
from typing import IO

from replacing import replace
from the_host import host

read_frame = host.read_frame


def read_any_frame(stream: IO[bytes]) -> host.Frame | None:
    while True:
        try:
            return read_frame(stream)
        except host.AgentError:
            continue


replace(host, "read_frame", read_any_frame)
sys.exit(host.serve_program(sys.argv[1:]))
