"""Does not check the line feed after a payload."""

from typing import IO

from replacing import replace
from the_agent import agent


def read_payload(stream: IO[bytes], length: object) -> bytes:
    if type(length) is not int or not 1 <= length <= agent.MAX_PAYLOAD:
        raise agent.FatalError("parse_error", "a bad payload")
    payload = stream.read(length)
    if len(payload) < length or not stream.read(1):
        raise agent.FatalError("parse_error", "the input ends in a payload")
    return payload


replace(agent, "read_payload", read_payload)
agent.main()
