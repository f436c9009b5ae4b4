#!/usr/bin/env python3
"""Renders lines of the transcripts into the `bap` blocks of PROTOCOL.md.

    render.py --check    fails and says where a block is not what its transcript says
    render.py --write    puts into each block what its transcript says

A block names its lines: the words behind the fence are `bap session.ndjson:2-4`.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parent / "PROTOCOL.md"
BLOCK = re.compile(r"^```(bap\S*)(?: ([^\n]*))?\n(.*?)^```$", re.M | re.S)
REFERENCE = re.compile(r"([a-z0-9-]+\.ndjson):(\d+)(?:-(\d+))?")


class BlockError(Exception):
    """A block names lines that are not there, or that cannot be shown."""


def matcher(pattern: object) -> str | None:
    """The name of a matcher such as `$int`, or None for a plain value."""
    if isinstance(pattern, dict) and len(pattern) == 1:
        (name,) = pattern
        if isinstance(name, str) and name.startswith("$"):
            return name
    return None


def example(pattern: Any) -> Any:
    """A message with each matcher replaced by the example in it."""
    if name := matcher(pattern):
        inner = pattern[name]
        return example(inner[1] if name == "$like" else inner)
    if isinstance(pattern, dict):
        return {key: example(value) for key, value in pattern.items()}
    if isinstance(pattern, list):
        return [example(value) for value in pattern]
    return pattern


def show(line: dict[str, Any]) -> list[str]:
    """The lines of a document for one line of a transcript; none for a note."""
    if "unordered" in line:
        return [text for member in line["unordered"] for text in show(member)]
    if "note" in line:
        return []
    direction = line["dir"]
    if "raw" in line and "times" not in line:
        return [f"{direction} {line['raw']}"]
    if "msg" not in line:
        raise BlockError("a line that cannot be shown")
    message = example(line["msg"])
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    payload = [f"{direction} <{message['payload']} bytes>"] if "payload" in message else []
    return [f"{direction} {text}", *payload]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a transcript. They end with line feeds; other separators may be in texts."""
    return [json.loads(line) for line in path.read_text("utf-8").removesuffix("\n").split("\n")]


def render(reference: str) -> str:
    """The content of a block. Raises `BlockError`."""
    found = REFERENCE.fullmatch(reference)
    if not found:
        raise BlockError("a block names its lines as in `bap session.ndjson:2-4`")
    name, first, last = found[1], int(found[2]), int(found[3] or found[2])
    path = FOLDER / name
    lines = read_lines(path) if path.is_file() else []
    if not 2 <= first <= last <= len(lines):
        raise BlockError(f"there are no lines {first} to {last}")
    shown = [text for line in lines[first - 1 : last] for text in show(line)]
    return "".join(f"{text}\n" for text in shown)


def check(document: str) -> tuple[str, list[str]]:
    """The document as it should be, and what is wrong with it as it is."""
    problems: list[str] = []

    def replace(block: re.Match[str]) -> str:
        kind, reference, content = block[1], block[2] or "", block[3]
        where = f"line {document.count(chr(10), 0, block.start()) + 1}: {kind} {reference}"
        try:
            wanted = render(reference)
        except BlockError as error:
            problems.append(f"{where}: {error}")
            return block[0]
        if wanted != content:
            problems.append(f"{where}: the transcript says something else")
        return f"```bap {reference}\n{wanted}```"

    return BLOCK.sub(replace, document), problems


def main() -> None:
    parser = argparse.ArgumentParser(description="Keeps PROTOCOL.md equal to the transcripts.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="say where it is not")
    action.add_argument("--write", action="store_true", help="make it so")
    options = parser.parse_args()
    before = DOCUMENT.read_text("utf-8")
    after, problems = check(before)
    if options.write and after != before:
        DOCUMENT.write_text(after, "utf-8")
        problems = check(after)[1]
    for problem in problems:
        print(f"{DOCUMENT.name}, {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
