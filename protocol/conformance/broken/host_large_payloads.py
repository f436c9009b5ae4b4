"""Ignores the agent's max_payload."""

import sys
from collections.abc import Iterable, Iterator

from replacing import replace
from the_host import host

upload = host.Agent.upload


def large(chunks: Iterable[bytes]) -> Iterator[bytes]:
    whole = b""
    for chunk in chunks:
        whole += chunk
        if len(whole) > 100_000:
            yield whole
            whole = b""
    yield whole


def upload_at_large(
    agent: host.Agent, target: str, backup: host.Json, chunks: Iterable[bytes]
) -> host.Json:
    agent.max_payload = host.MAX_PAYLOAD
    return upload(agent, target, backup, large(chunks))


replace(host.Agent, "upload", upload_at_large)
sys.exit(host.serve_program(sys.argv[1:]))
