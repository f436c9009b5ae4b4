"""The command line of AWS."""

from collections.abc import Mapping
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place


class AwsCli(Peer):
    commands: Mapping[str, str] = {
        "upload": "aws s3 cp FILE s3://BUCKET/bench --no-progress",
        "download": "aws s3 cp s3://BUCKET/bench FILE --no-progress",
    }

    def __init__(self, tools: Tools) -> None:
        self._program = tools.peer("aws")

    def version(self) -> str:
        return run([self._program, "--version"], {})[1].decode().split()[0].rpartition("/")[2]

    def upload(self, place: Place, file: Path) -> Run:
        return self._copy(place, file, f"s3://{place.bucket}/bench")

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self._copy(place, f"s3://{place.bucket}/bench", file)

    def _copy(self, place: Place, source: str | Path, target: str | Path) -> Run:
        where = ["--endpoint-url", place.endpoint]
        command = [self._program, *where, "s3", "cp", source, target, "--no-progress"]
        return run(command, place.keys)[0]
