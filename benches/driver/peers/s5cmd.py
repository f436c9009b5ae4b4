"""s5cmd."""

from collections.abc import Mapping
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place


class S5cmd(Peer):
    commands: Mapping[str, str] = {
        "upload": "s5cmd cp FILE s3://BUCKET/bench",
        "download": "s5cmd cp s3://BUCKET/bench FILE",
    }

    def __init__(self, tools: Tools) -> None:
        self._program = tools.peer("s5cmd")

    def version(self) -> str:
        return run([self._program, "version"], {})[1].decode().split("-")[0].strip().lstrip("v")

    def upload(self, place: Place, file: Path) -> Run:
        return self._copy(place, file, f"s3://{place.bucket}/bench")

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self._copy(place, f"s3://{place.bucket}/bench", file)

    def _copy(self, place: Place, source: str | Path, target: str | Path) -> Run:
        where = ["--endpoint-url", place.endpoint]
        return run([self._program, *where, "cp", source, target], place.keys)[0]
