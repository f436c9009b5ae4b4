"""Uses the start of an interrupted upload for the next one."""

from replacing import replace
from the_agent import agent

release, end = agent.Upload.release, agent.Upload.end
kept: dict[str, bytes] = {}


def keep(upload: agent.Upload) -> None:
    release(upload)
    if upload.received and not upload.ended:
        kept[upload.backup.id] = bytes(upload.received)


def go_on(upload: agent.Upload, length: int) -> None:
    start = kept.pop(upload.backup.id, b"")[: len(upload.received)]
    upload.received[: len(start)] = start
    end(upload, length)


replace(agent.Upload, "release", keep)
replace(agent.Upload, "end", go_on)
agent.main()
