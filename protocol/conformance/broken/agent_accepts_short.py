"""Stores uploads that are shorter than announced."""

from replacing import replace
from the_agent import agent

end = agent.Upload.end


def end_anyhow(upload: agent.Upload, length: int) -> None:
    upload.announced = None
    end(upload, length)


replace(agent.Upload, "end", end_anyhow)
agent.main()
