"""Sends one byte more than its credit."""

from replacing import replace
from the_agent import agent

next_frame = agent.Download.next_frame


def one_more(download: agent.Download) -> agent.Frame | None:
    download.granted += 1
    frame = next_frame(download)
    download.granted -= 1
    return frame


replace(agent.Download, "next_frame", one_more)
agent.main()
