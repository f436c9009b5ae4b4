"""Accepts lines of at most 65,535 bytes."""

from typing import IO

from replacing import replace
from the_agent import agent

read_frame = agent.read_frame


class Shorter:
    def __init__(self, stream: IO[bytes]) -> None:
        self.read, self.stream = stream.read, stream

    def readline(self, size: int) -> bytes:
        return self.stream.readline(size - 1)


def read_short_frame(stream: IO[bytes]) -> agent.Frame | None:
    return read_frame(Shorter(stream))  # type: ignore[arg-type]


replace(agent, "read_frame", read_short_frame)
agent.main()
