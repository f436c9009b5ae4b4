"""The commands of docs/restore.md, one after the other, on a bare machine: with nothing but the
released file, a bucket that has a backup in it, and a shell.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import markdown
from conftest import Folder, setting

BACKUPS = sorted((markdown.ROOT / "tests/data").glob("*.tar"))
RELEASES = "https://github.com/s3-backup-agent/s3-backup-agent/releases/latest/download"
# Fetches what would be released, and nothing else: curl -fLO URL...
CURL = """#!/usr/bin/env bash
set -euo pipefail
for argument in "$@"; do
    case $argument in
        -fLO) ;;
        "$RELEASES"/*) cp "$RELEASED/${argument##*/}" . ;;
        *) echo "curl: unexpected $argument" >&2 && exit 2 ;;
    esac
done
"""


def script(**values: str) -> str:
    """All commands of the document, with these values in place of its examples."""
    text = (markdown.ROOT / "docs/restore.md").read_text("utf-8")
    code = "".join(block.code for block in markdown.blocks(text) if block.language == "sh")
    for name, value in values.items():
        code, count = re.subn(
            rf"^(export S3_BACKUP_AGENT_{name}=)\S+", rf"\g<1>{value}", code, flags=re.M
        )
        assert count == 1, name
    return code


def release(binary: str, folder: Path) -> None:
    """The files of a release that the document fetches."""
    folder.mkdir()
    shutil.copy(binary, folder / "s3-backup-agent-x86_64")
    subprocess.run([markdown.ROOT / "packaging/checksums", folder], check=True)


def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that has only what every Linux has."""
    programs = tmp_path / "programs"
    programs.mkdir()
    # There is no terminal whose echo can be turned off.
    for name, script in (("curl", CURL), ("stty", "#!/bin/sh\n")):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (tmp_path / "home").mkdir()
    return {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "RELEASES": RELEASES,
        "RELEASED": str(tmp_path / "release"),
        "NO_PROXY": os.environ.get("NO_PROXY", ""),
    }


def store(binary: str, folder: Folder) -> str:
    """Stores a real backup as its Home Assistant would; returns its id."""
    command = [binary, "upload", "--json", str(BACKUPS[0])]
    done = subprocess.run(
        command, env=folder.environment, check=True, capture_output=True, encoding="utf-8"
    )
    return str(json.loads(done.stdout)["backup"]["id"])


def test_a_backup_comes_back_on_a_new_machine(binary: str, folder: Folder, tmp_path: Path) -> None:
    stored = store(binary, folder)
    release(binary, tmp_path / "release")
    commands = script(
        ENDPOINT=setting("TEST_S3_ENDPOINT"),
        REGION=setting("TEST_S3_REGION"),
        BUCKET=folder.bucket,
        PREFIX=folder.prefix,
        ACCESS_KEY_ID=setting("TEST_S3_ACCESS_KEY_ID"),
    )
    assert commands.count("1a2b3c4d") == 2
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("1a2b3c4d", stored)],
        cwd=here,
        env=machine(tmp_path),
        input=f"{setting('TEST_S3_SECRET_ACCESS_KEY')}\n",
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (restored,) = (here / "restore").iterdir()
    assert restored.read_bytes() == BACKUPS[0].read_bytes()
    assert "./backup.json" in done.stdout.splitlines()
    assert "s3-backup-agent-x86_64: OK" in done.stdout
    assert setting("TEST_S3_SECRET_ACCESS_KEY") not in done.stdout + done.stderr


def test_damaged_files_of_a_release_stop_it(binary: str, folder: Folder, tmp_path: Path) -> None:
    release(binary, tmp_path / "release")
    with (tmp_path / "release/s3-backup-agent-x86_64").open("ab") as file:
        file.write(b"more")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script()],
        cwd=tmp_path,
        env=machine(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode != 0
    assert "s3-backup-agent-x86_64: FAILED" in done.stdout
