"""The workflows: actions are pinned, steps are scripts of this repository that run on any machine,
and publishing needs passed tests.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (ROOT / ".github", ROOT / "hacs-wrapper/.github")
WORKFLOWS = [path for folder in FOLDERS for path in sorted((folder / "workflows").iterdir())]
Json = dict[str, Any]

PINNED = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)*@[0-9a-f]{40}")
COMMENT = re.compile(r" # (v?\d+\.\d+\.\d+|master)$")
# Besides scripts: programs of the runner, in steps of one line.
COMMANDS = {"gh", "mkdir", "$BINARY"}
BEFORE_A_SCRIPT = {"sudo", "python"}
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def load(path: Path) -> Json:
    loaded: Json = yaml.safe_load(path.read_text("utf-8"))
    return loaded


def steps(workflow: Json) -> Iterator[Json]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def not_pinned(text: str) -> list[str]:
    """Actions that are not pinned to a commit, or without a comment that names their version."""
    wrong = []
    for line in re.findall(r"^\s*(?:- )?uses: (.+)$", text, re.M):
        used = COMMENT.sub("", line)
        if not used.startswith("./") and (used == line or not PINNED.fullmatch(used)):
            wrong.append(line)
    return wrong


def unknown_commands(workflow: Json) -> list[str]:
    """Steps that are neither a script of this repository nor one command of a runner."""
    wrong = []
    for step in steps(workflow):
        command = step.get("run", "")
        words = command.split()
        while words and words[0] in BEFORE_A_SCRIPT:
            words = words[1:]
        if not command or words[0] in COMMANDS or is_script(words[0]):
            continue
        wrong.append(command)
    return wrong


def is_script(word: str) -> bool:
    path = ROOT / word
    return path.is_file() and os.access(path, os.X_OK)


def needed(workflow: Json, job: str) -> set[str]:
    """The jobs that have to succeed before this one, and those before them."""
    needs = workflow["jobs"][job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(needed(workflow, before) for before in direct))


@each
def test_actions_are_pinned_to_commits(path: Path) -> None:
    assert not_pinned(path.read_text("utf-8")) == []


def test_action_has_one_pin() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in re.findall(r"uses: (\S+@\S+.*)$", path.read_text("utf-8"), re.M):
            name, _, pin = line.partition("@")
            pins.setdefault(name, set()).add(pin)
    assert len(pins) > 5
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


@each
def test_steps_are_scripts_of_this_repository(path: Path) -> None:
    workflow = load(path)
    assert unknown_commands(workflow) == []
    for job in workflow["jobs"].values():
        if called := job.get("uses"):
            assert (ROOT / called).is_file()


@each
def test_jobs_have_few_permissions_and_a_timeout(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 300, name
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each
def test_outside_values_are_not_in_commands(path: Path) -> None:
    """Commands use only values that the workflow itself lists."""
    for step in steps(load(path)):
        found = re.findall(r"\$\{\{\s*(\w+)", step.get("run", ""))
        assert set(found) <= {"matrix"}, step


def test_publishing_needs_passed_tests() -> None:
    release = load(ROOT / ".github/workflows/release.yml")
    publishing = {
        name
        for name, job in release["jobs"].items()
        if "environment" in job or "write" in job.get("permissions", {}).values()
    }
    assert publishing == {"assemble", "pypi", "github", "hacs"}
    for name in publishing:
        assert {"version", "tests", "linux"} <= needed(release, name)
    # The integration requires this version of the wheel.
    assert "pypi" in needed(release, "hacs")


def test_every_part_of_the_tests_is_run() -> None:
    usage = subprocess.run(
        [ROOT / "tests/run", "--help"], check=True, capture_output=True, encoding="utf-8"
    ).stdout
    parts = re.search(r"--only ([\w|-]+)", usage)
    tests = load(ROOT / ".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert parts
    assert set(tests["part"]) == set(parts[1].split("|"))
    assert {machine["name"] for machine in tests["machine"]} == {"x86_64", "aarch64"}


def test_updated_files_exist() -> None:
    updates = load(ROOT / ".github/dependabot.yml")["updates"]
    files = {
        "cargo": "Cargo.lock",
        "github-actions": ".github/workflows",
        "pip": "*.txt",
        "npm": "package-lock.json",
    }
    assert {update["package-ecosystem"] for update in updates} == files.keys()
    for update in updates:
        for directory in update.get("directories", [update.get("directory")]):
            folder = ROOT / directory.removeprefix("/")
            wanted = files[update["package-ecosystem"]]
            if directory != "/" and update["package-ecosystem"] == "github-actions":
                # Except in the root, dependabot reads the files in the directory itself.
                wanted = "*.yml"
            assert any(folder.glob(wanted)), directory


def test_zizmor_finds_nothing() -> None:
    zizmor = shutil.which("zizmor")
    assert zizmor
    done = subprocess.run(
        [zizmor, "--offline", "--quiet", "--min-severity", "medium", *FOLDERS],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_unpinned_action_and_unknown_command_are_found() -> None:
    text = f"""
jobs:
  a:
    steps:
      - uses: actions/checkout@v6
      - uses: actions/checkout@{"0a" * 20}
      - uses: actions/checkout@main # v6.0.2
      - uses: actions/cache@{"0a" * 20} # v6.0.2
      - run: scripts/gone
      - run: curl https://example.org | sh
      - run: sudo tests/run
"""
    wrong = [
        "actions/checkout@v6",
        f"actions/checkout@{'0a' * 20}",
        "actions/checkout@main # v6.0.2",
    ]
    assert not_pinned(text) == wrong
    commands = unknown_commands(yaml.safe_load(text))
    assert commands == ["scripts/gone", "curl https://example.org | sh"]
