#!/usr/bin/env python3
"""Prints the section of CHANGELOG.md for one version, as the notes of its release. Links lead into
the repository at that version.

    notes.py VERSION    `Unreleased` prints the changes since the last release

Exit codes: 0, success; 1, the section is missing or empty; 64, wrong command line.
"""

import re
import sys
from pathlib import Path

from wheel import absolute, repository

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str:
    """The text between the heading of this version and the next; empty if there is none."""
    heading = rf"^## \[{re.escape(version)}\].*?$\n(.*?)(?=^## \[|^\[[^\]]+\]: |\Z)"
    found = re.search(heading, changelog, re.M | re.S)
    return found[1].strip() if found else ""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: notes.py VERSION", file=sys.stderr)
        return 64
    text = notes(CHANGELOG.read_text("utf-8"), arguments[0])
    if not text:
        print(f"CHANGELOG.md says nothing of {arguments[0]}", file=sys.stderr)
        return 1
    print(absolute(text, repository(), arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
