"""Replaces a backup without a request to do so."""

from replacing import replace
from the_agent import agent

begin = agent.Upload.begin


def begin_anyhow(upload: agent.Upload) -> None:
    upload.replace = True
    begin(upload)


replace(agent.Upload, "begin", begin_anyhow)
agent.main()
