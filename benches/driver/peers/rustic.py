"""rustic, which keeps the same kind of repository as restic."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Place
from .restic import Restic


class Rustic(Restic):
    commands: Mapping[str, str] = {
        "upload": "rustic backup FILE",
        "download": "rustic restore latest FOLDER",
    }
    restore: Sequence[str] = ("restore", "latest")

    def __init__(self, tools: Tools) -> None:
        self._program = tools.rustic

    def _run(self, place: Place, *words: str | Path, folder: Path | None = None) -> Run:
        environment = place.keys | {
            "RUSTIC_REPOSITORY": "opendal:s3",
            "RUSTIC_PASSWORD": "bench",
            "OPENDAL_ENDPOINT": place.endpoint,
            "OPENDAL_REGION": place.server.region,
            "OPENDAL_BUCKET": place.bucket,
        }
        return run([self._program, *words], environment, folder=folder)[0]
