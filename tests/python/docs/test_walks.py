"""Three newcomers, each with one bucket, from the documents alone: the owner of a Home Assistant,
an administrator, and an engineer. Each document has a test of its own as well; here one follows the
other, as a person goes through them.
"""

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import markdown
import test_guides as guides
from markdown import ROOT
from s3_request import request
from shell import Machine, check
from test_guides import machine

__all__ = ["machine"]

CODE, MEANING = "out_of_stamps", "The provider has no more stamps."


def test_owner_installs_by_hand_and_restores_through_the_console(machine: Machine) -> None:
    guides.released(machine)
    check("docs/install.md", machine, "### By hand")
    integration = machine.path("here") / "custom_components/s3_backup_agent"
    assert json.loads((integration / "manifest.json").read_text("utf-8"))["domain"]
    # The first backup, as the integration makes it: with the program, under its own prefix.
    archive = guides.ARCHIVE.read_bytes()
    guides.store(machine, str(machine.path("backup/first.tar", archive)), prefix="ha")
    restore = markdown.section(
        (ROOT / "docs/restore.md").read_text("utf-8"), "## 2. Download in the provider's console"
    )
    # The console shows two objects below the prefix and `backups`. The owner takes one.
    assert "then `backups`" in restore
    every = machine.folder.keys()
    keys = [key for key in every if "/ha/backups/" in key]
    (name,) = re.findall(r"`([^`]+\.tar)`", restore)
    assert [Path(key).name for key in keys] == [name.replace(".tar", ".metadata.json"), name]
    status, content = request("GET", f"/{machine.folder.bucket}/{urllib.parse.quote(keys[1])}")
    assert status == 200
    assert content == archive, "the unchanged file that Home Assistant made"


def test_administrator_backs_up_two_machines_and_restores_a_file(machine: Machine) -> None:
    check("docs/guides/several-machines.md", machine, "## Set up a machine")
    guides.store(machine, str(machine.root / "srv/documents"), prefix="laptop")
    machine.programs |= {
        "systemctl": guides.SYSTEMCTL,
        "journalctl": guides.NOTHING,
        "pg_dump": guides.DUMP,
        "mysqldump": guides.DUMP,
    }
    guides.units(machine, "docs/guides/nightly.md")
    check("docs/guides/nightly.md", machine)
    assert guides.nightly(machine)
    check("docs/guides/databases.md", machine, "## Every night")
    every = machine.folder.keys()
    assert any("shop" in key for key in every)
    (machine.root / "srv/documents/letter.txt").unlink()
    check("docs/guides/folders.md", machine, "## Restore")
    restored = machine.root / "restore/documents/letter.txt"
    assert restored.read_text() == "Dear reader\n"


# The places of "Add an error code", each with the test that finds a code missing there.
TESTS = {
    "protocol/schema": "protocol/test_schema.py::test_schema_has_the_published_codes_and_kinds",
    "docs/troubleshooting.md": (
        "docs/test_troubleshooting.py::test_entries_are_there_for_every_code"
    ),
}


def test_engineer_adds_an_error_code_and_tests_find_each_missing_place(tmp_path: Path) -> None:
    steps = markdown.section(
        (ROOT / "docs/CONTRIBUTING.md").read_text("utf-8"), "## Add an error code"
    )
    for place in (
        "src/error/code.rs",
        "protocol/errors.json",
        "translations/*.json",
        "troubleshooting",
    ):
        assert place in steps
    project = tmp_path / "project"
    for folder in ("docs", "hacs-wrapper", "protocol", "tests/python", "tests/servers"):
        shutil.copytree(ROOT / folder, project / folder)
    (project / "Cargo.toml").write_text((ROOT / "Cargo.toml").read_text("utf-8"))

    def fails(test: str) -> bool:
        pytest = [sys.executable, "-m", "pytest", "-q", "-c", "tests/python/pyproject.toml"]
        command = [*pytest, f"tests/python/{test}"]
        done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8")
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode == 1

    assert not any(map(fails, TESTS.values()))
    entry = {"code": CODE, "kind": "limit", "retryable": True, "meaning": MEANING}
    errors = project / "protocol/errors.json"
    text = errors.read_text("utf-8")
    last = text.rindex("}") + 1
    errors.write_text(f"{text[:last]},\n  {json.dumps(entry)}{text[last:]}", "utf-8")
    assert all(map(fails, TESTS.values()))

    schema = project / "protocol/schema/backup-agent-1.json"
    read = json.loads(schema.read_text("utf-8"))
    codes = read["$defs"]["ErrorCode"]["anyOf"]
    codes.insert(-1, {"description": MEANING, "type": "string", "const": CODE})
    schema.write_text(json.dumps(read), "utf-8")
    page = project / "docs/troubleshooting.md"
    page.write_text(page.read_text("utf-8") + f"\n### `{CODE}`\n\nBuy stamps.\n", "utf-8")
    assert not any(map(fails, TESTS.values()))
