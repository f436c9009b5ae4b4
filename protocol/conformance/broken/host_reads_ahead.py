"""Reads its whole source before it starts an upload."""

import sys
from collections.abc import Iterable

from replacing import replace
from the_host import host

upload = host.Agent.upload


def upload_at_once(
    agent: host.Agent, target: str, backup: host.Json, chunks: Iterable[bytes]
) -> host.Json:
    return upload(agent, target, backup, [b"".join(chunks)])


replace(host.Agent, "upload", upload_at_once)
sys.exit(host.serve_program(sys.argv[1:]))
