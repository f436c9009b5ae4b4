"""The agent, from the command line."""

from collections.abc import Mapping
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place


class Agent(Peer):
    commands: Mapping[str, str] = {
        "upload": "s3-backup-agent upload FILE --name bench --id bench",
        "download": "s3-backup-agent download bench -o FILE",
    }

    def __init__(self, tools: Tools, budget: int | None = None) -> None:
        self._program = tools.agent
        self._budget = budget
        if budget is not None:
            more = f" --memory {budget >> 20}MiB"
            self.commands = {work: line + more for work, line in self.commands.items()}

    def version(self) -> str:
        return run([self._program, "--version"], {})[1].decode().split()[-1]

    def upload(self, place: Place, file: Path) -> Run:
        return self._run(place, "upload", file, "--name", "bench", "--id", "bench")

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self._run(place, "download", "bench", "-o", file)

    def _run(self, place: Place, *words: str | Path) -> Run:
        environment = {
            "S3_BACKUP_AGENT_ENDPOINT": place.endpoint,
            "S3_BACKUP_AGENT_REGION": place.server.region,
            "S3_BACKUP_AGENT_BUCKET": place.bucket,
            "S3_BACKUP_AGENT_ACCESS_KEY_ID": place.server.key_id,
            "S3_BACKUP_AGENT_SECRET_ACCESS_KEY": place.server.secret,
            "XDG_STATE_HOME": str(place.home),
        }
        if self._budget is not None:
            environment["S3_BACKUP_AGENT_MEMORY"] = str(self._budget)
        return run([self._program, *words], environment)[0]
