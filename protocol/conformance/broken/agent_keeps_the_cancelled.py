"""Keeps the data of a canceled upload."""

from replacing import replace
from the_agent import agent

release = agent.Upload.release


def keep(upload: agent.Upload) -> None:
    release(upload)
    if upload.received and not upload.ended:
        upload.backup.content = bytes(upload.received)
        upload.session.store(upload.backup)


replace(agent.Upload, "release", keep)
agent.main()
