"""An integration, in a Home Assistant that is started for each transfer."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..process import run
from ..results import Run
from ..tools import Tools
from .base import Peer, Place

FOLDER = Path(__file__).resolve().parents[2] / "in_home_assistant"


class HomeAssistant(Peer):
    commands: Mapping[str, str] = {
        "upload": "BackupAgent.async_upload_backup",
        "download": "BackupAgent.async_download_backup",
        "view": "GET /api/backup/download",
    }

    def __init__(self, tools: Tools, side: str) -> None:
        """side: `ours` or `theirs`, as in measure.py."""
        self._tools = tools
        self._side = side
        self._size = 0

    def version(self) -> str:
        code = "from homeassistant.const import __version__; print(__version__)"
        return run([self._tools.home_assistant, "-c", code], {})[1].decode().strip()

    def upload(self, place: Place, file: Path) -> Run:
        self._size = file.stat().st_size
        return self.transfer(place, "upload", self._size)

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self.transfer(place, "download", size)

    def view(self, place: Place, size: int) -> Run:
        return self.transfer(place, "view", size)

    def check(self, place: Place) -> None:
        """Downloads once more to compare the content, which would cost time in a measurement."""
        self.transfer(place, "download", self._size, "--check")

    def idle(self, place: Place) -> Run:
        """What Home Assistant has, with the integration, while nothing happens."""
        return self.transfer(place, "idle", 0)

    def transfer(self, place: Place, transfer: str, size: int, *options: str) -> Run:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        words = (self._side, transfer, str(size), f"--port={port}", *options)
        found = self.script("measure.py", place, *words)
        if found["length"] != size:
            raise ValueError(f"{self._side} {transfer}: {found['length']} bytes, not {size}")
        return Run(
            seconds=found["wall"],
            cpu=found["cpu"] + found["agent_cpu"],
            host_cpu=found["cpu"],
            rss=found["peak"] + found["agent_peak"],
            agent_rss=found["agent_peak"] if self._side == "ours" else None,
            growth=found["growth"],
            stall=max(0, found["stall"] - found["idle_stall"]),
        )

    def script(self, name: str, place: Place, *words: str) -> Any:
        """Runs a script in the Python of Home Assistant. Returns its last line, which is JSON."""
        environment: Mapping[str, str] = {
            "TEST_S3_ENDPOINT": place.endpoint,
            "TEST_S3_REGION": place.server.region,
            "TEST_S3_BUCKET": place.bucket,
            "TEST_S3_ACCESS_KEY_ID": place.server.key_id,
            "TEST_S3_SECRET_ACCESS_KEY": place.server.secret,
            "S3_BACKUP_AGENT_BIN": str(self._tools.agent),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": place.server.region,
            "NO_PROXY": "127.0.0.1",
            "PYTHONPYCACHEPREFIX": str(self._tools.cache / "pycache"),
        }
        _, output = run([self._tools.home_assistant, FOLDER / name, *words], environment)
        return json.loads(output.splitlines()[-1])
