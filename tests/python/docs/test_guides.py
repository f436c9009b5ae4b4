"""The README and the guides, command by command: on a machine of their own, with the output that
they show. WRITE_DOCUMENTS=1 writes what came out into them.
"""

import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import Folder
from markdown import ROOT
from shell import Machine, check

ARCHIVE = ROOT / "tests/data/Automatic_backup_2026.11.0_2026-11-20_04.32_33282898.tar"
RELEASES = "https://github.com/s3-backup-agent/s3-backup-agent/releases/latest/download"
# Fetches what would be released, and nothing else: curl -fLO URL...
CURL = f"""#!/usr/bin/env bash
set -euo pipefail
for argument in "$@"; do
    case $argument in
        -fLO) ;;
        "{RELEASES}"/*) cp "$HOME/release/${{argument##*/}}" . ;;
        *) echo "curl: unexpected $argument" >&2 && exit 2 ;;
    esac
done
"""
SUDO = '#!/bin/sh\nexec "$@"\n'


@pytest.fixture
def machine(binary: str, folder: Folder, tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, binary, folder, programs={"curl": CURL, "sudo": SUDO})
    machine.path("restore")
    machine.path("srv/documents/letter.txt", "Dear reader\n")
    machine.path("srv/documents/2026/invoice.pdf", bytes(200_000))
    machine.path("usr/local/bin")
    return machine


def released(machine: Machine) -> None:
    """The files of a release."""
    release = machine.path("home/release")
    shutil.copy(machine.binary, release / "s3-backup-agent-x86_64")
    subprocess.run([ROOT / "packaging/integration_zip.py", release], check=True)
    subprocess.run([ROOT / "packaging/checksums", release], check=True)


def manifest(machine: Machine) -> dict[str, object]:
    path = machine.path("here") / "custom_components/s3_backup_agent/manifest.json"
    read: dict[str, object] = json.loads(path.read_text("utf-8"))
    return read


def test_the_readme_installs_the_integration(machine: Machine) -> None:
    released(machine)
    check("README.md", machine, "### Home Assistant")
    assert manifest(machine)["requirements"]
    assert not list(machine.path("here").glob("*.zip"))


def test_the_readme_installs_the_program(machine: Machine) -> None:
    released(machine)
    check("README.md", machine, "### Command line")
    assert (machine.root / "usr/local/bin/s3-backup-agent").stat().st_mode & 0o777 == 0o755


def test_the_five_commands_of_the_readme_work(machine: Machine) -> None:
    machine.path("backup/b52acd05.tar", ARCHIVE.read_bytes())
    check("README.md", machine, "## Five commands")
    (restored,) = (machine.root / "restore").iterdir()
    assert restored.read_bytes() == ARCHIVE.read_bytes()
