"""restic: one file into a repository, encrypted and cut by its content."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place


class Restic(Peer):
    commands: Mapping[str, str] = {
        "upload": "restic backup FILE",
        "download": "restic restore latest --target FOLDER",
    }
    restore: Sequence[str] = ("restore", "latest", "--target")  # and the folder

    def __init__(self, tools: Tools) -> None:
        self._program = tools.restic

    def version(self) -> str:
        return run([self._program, "version"], {})[1].decode().split()[1]

    def prepare(self, place: Place) -> None:
        self._run(place, "init")

    def upload(self, place: Place, file: Path) -> Run:
        return self._run(place, "backup", file.name, folder=file.parent)

    def download(self, place: Place, file: Path, size: int) -> Run:
        target = place.home / "restored"
        taken = self._run(place, *self.restore, target)
        (restored,) = (path for path in target.rglob("*") if path.is_file())
        restored.rename(file)
        return taken

    def _run(self, place: Place, *words: str | Path, folder: Path | None = None) -> Run:
        environment = place.keys | {
            "RESTIC_REPOSITORY": f"s3:{place.endpoint}/{place.bucket}",
            "RESTIC_PASSWORD": "bench",
        }
        options = ["--quiet", "--option", "s3.bucket-lookup=path"]
        options += ["--cache-dir", str(place.home / "cache")]
        return run([self._program, *options, *words], environment, folder=folder)[0]
