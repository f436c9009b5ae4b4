"""Ends with exit code 1 if standard output is closed."""

import os
from typing import IO

from replacing import replace
from the_agent import agent

write_frame = agent.write_frame


def write(stream: IO[bytes], message: agent.Json, payload: bytes | memoryview | None) -> None:
    try:
        write_frame(stream, message, payload)
    except OSError:
        os._exit(1)


replace(agent, "write_frame", write)
agent.main()
