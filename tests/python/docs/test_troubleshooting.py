"""docs/troubleshooting.md has an entry for each code, in the words of its sources."""

import json
import re
import subprocess
from typing import Any

import markdown

TEXT = (markdown.ROOT / "docs/troubleshooting.md").read_text("utf-8")
CODES: list[dict[str, Any]] = json.loads(
    (markdown.ROOT / "protocol/errors.json").read_text("utf-8")
)
MEANINGS: dict[str, str] = {row["code"]: row["meaning"] for row in CODES}
ENGLISH = markdown.ROOT / ("hacs-wrapper/custom_components/s3_backup_agent/translations/en.json")
STATES: dict[str, str] = json.loads(ENGLISH.read_text("utf-8"))["entity"]["sensor"]["last_error"][
    "state"
]
# What is no code: nothing is wrong, or the code is one that only a newer integration knows.
NO_CODES = {"none", "other"}


def entries() -> dict[str, str]:
    """The text below the heading of each code, and the rest of its row in a table."""
    found = dict(re.findall(r"^### `(\w+)`\n\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.M))
    assert not found.keys() & rows.keys()
    return found | rows


def test_every_code_has_an_entry() -> None:
    assert MEANINGS.keys() | (STATES.keys() - NO_CODES) == entries().keys()


def test_entries_say_what_the_code_means() -> None:
    missing = [code for code, meaning in MEANINGS.items() if meaning not in entries()[code]]
    assert missing == []


def test_entries_are_found_by_what_home_assistant_shows() -> None:
    headed = {code: text for code, text in entries().items() if text.startswith("**")}
    assert len(headed) > 30
    for code, text in headed.items():
        # All faults of the program have one state.
        state = STATES.get(code, STATES["agent_protocol"])
        assert text.startswith(f"**{state}.** "), code


def test_entries_say_what_to_do() -> None:
    for code, text in entries().items():
        beyond = text.partition(MEANINGS.get(code, ".** "))[2]
        assert len(beyond) > 20, code


def test_exit_codes_are_those_of_the_program(binary: str) -> None:
    done = subprocess.run([binary, "--help"], capture_output=True, check=True, encoding="utf-8")
    listed = done.stdout.partition("Exit codes:\n")[2]
    told = re.findall(r"^ +(\d+)  (.+)$", listed, re.M)
    assert len(told) > 10
    assert re.findall(r"^\| (\d+) \| (.+) \|$", TEXT, re.M) == told
