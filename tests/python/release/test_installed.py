"""A wheel in an empty environment works with a real S3 server. Only variables configure it, and no
file of this repository is used.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Folder

BACKUPS = sorted((Path(__file__).resolve().parents[2] / "data").glob("*.tar"))
WHEEL = os.environ.get("S3_BACKUP_AGENT_WHEEL", "")

pytestmark = pytest.mark.skipif(
    not WHEEL, reason="needs a wheel: tests/run --only home-assistant, tests/newcomer"
)


def test_wheel_in_empty_environment_works(folder: Folder, tmp_path: Path) -> None:
    venv, here = tmp_path / "venv", tmp_path / "here"
    here.mkdir()
    # No proxy and no configuration of the user.
    environment = folder.environment | {"HOME": str(tmp_path), "PATH": f"{venv}/bin:/usr/bin:/bin"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def stored() -> list[tuple[str, int]]:
        listed = json.loads(run("s3-backup-agent", "list", "--json"))["backups"]
        return [(backup["id"], backup["stored_size"]) for backup in listed]

    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin/pip", "install", "--no-index", "--disable-pip-version-check", WHEEL)
    # A shell finds the program by its name.
    assert run("which", "s3-backup-agent").strip() == f"{venv}/bin/s3-backup-agent"
    version = Path(WHEEL).name.split("-")[1]
    assert run("s3-backup-agent", "--version") == f"s3-backup-agent {version}\n"
    run("s3-backup-agent", "validate")

    ids = []
    for backup in BACKUPS:
        answer = json.loads(run("s3-backup-agent", "upload", "--json", backup))
        ids.append(answer["backup"]["id"])
    sizes = [backup.stat().st_size for backup in BACKUPS]
    assert sorted(stored()) == sorted(zip(ids, sizes, strict=True))
    assert len(folder.keys()) >= 2 * len(BACKUPS)
    for backup, backup_id in zip(BACKUPS, ids, strict=True):
        run("s3-backup-agent", "download", backup_id, "-o", f"{backup_id}.tar")
        assert (here / f"{backup_id}.tar").read_bytes() == backup.read_bytes()
        run("s3-backup-agent", "verify", backup_id)
        run("s3-backup-agent", "delete", "-y", backup_id)
    assert stored() == []
    assert folder.keys() == []
    assert folder.unfinished() == []
