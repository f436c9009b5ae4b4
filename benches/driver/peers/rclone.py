"""rclone."""

from collections.abc import Mapping
from pathlib import Path

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place


class Rclone(Peer):
    commands: Mapping[str, str] = {
        "upload": "rclone copyto FILE :s3:BUCKET/bench --s3-provider Other",
        "download": "rclone copyto :s3:BUCKET/bench FILE --s3-provider Other",
    }

    def __init__(self, tools: Tools) -> None:
        self._program = tools.peer("rclone")

    def version(self) -> str:
        return run([self._program, "version"], {})[1].decode().split()[1].lstrip("v")

    def upload(self, place: Place, file: Path) -> Run:
        return self._copy(place, file, f":s3:{place.bucket}/bench")

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self._copy(place, f":s3:{place.bucket}/bench", file)

    def _copy(self, place: Place, source: str | Path, target: str | Path) -> Run:
        environment = place.keys | {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_ENDPOINT": place.endpoint,
            "RCLONE_S3_REGION": place.server.region,
            # The bucket is there, and keys for backups need no right to make one.
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }
        return run([self._program, "copyto", source, target], environment)[0]
