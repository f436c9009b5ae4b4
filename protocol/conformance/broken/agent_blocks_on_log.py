"""Waits for the reader of its log."""

import os

from replacing import replace
from the_agent import agent


def add(log: agent.Log, level: str, msg: str, **more: object) -> None:
    line = {"ts": "2026-11-20T03:00:00Z", "level": level, "msg": msg * 10, **more}
    os.write(2, agent.compact(line) + b"\n")


replace(agent.Log, "add", add)
agent.main()
