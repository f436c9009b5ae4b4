"""Writes JSON with blanks."""

from typing import IO

from replacing import replace
from the_agent import agent

write_frame = agent.write_frame


class Blanks:
    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.flush = stream, stream.flush

    def writelines(self, pieces: list[bytes]) -> None:
        self.stream.writelines([pieces[0].replace(b'{"jsonrpc":', b'{"jsonrpc": '), *pieces[1:]])


def write(stream: IO[bytes], message: agent.Json, payload: bytes | memoryview | None) -> None:
    write_frame(Blanks(stream), message, payload)  # type: ignore[arg-type]


replace(agent, "write_frame", write)
agent.main()
