#!/usr/bin/env python3
"""Renders lines of the transcripts into the `bap` blocks of PROTOCOL.md and S3.md.

    render.py --check    fails if a block differs from its transcript, and lists the differences
    render.py --write    updates each block from its transcript

A block names its lines: the words after the fence are `bap session.ndjson:2-4`. Messages that are
longer than a line of the document are spread over several lines.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
DOCUMENTS = [FOLDER.parent / "PROTOCOL.md", FOLDER.parent / "S3.md"]
WIDTH = 110  # of a line in a block
BLOCK = re.compile(r"^```(bap\S*)(?: ([^\n]*))?\n(.*?)^```$", re.M | re.S)
REFERENCE = re.compile(r"([a-z0-9-]+\.ndjson):(\d+)(?:-(\d+))?")


class BlockError(Exception):
    """A block names lines that do not exist or cannot be shown."""


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
    """The lines of a block for one line of a transcript; none for a note."""
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
    if len(text) + 2 > WIDTH:
        text = spread(message, "  ")
    payload = [f"{direction} <{message['payload']} bytes>"] if "payload" in message else []
    return [*f"{direction} {text}".split("\n"), *payload]


def spread(value: Any, indent: str, before: int = 0) -> str:
    """A value on as few lines as fit. The first line has `before` characters on it already."""
    text = json.dumps(value, ensure_ascii=False)
    if len(indent) + before + len(text) <= WIDTH or not value:
        return text
    inner = indent + "  "
    if isinstance(value, dict):
        names = {name: json.dumps(name, ensure_ascii=False) + ": " for name in value}
        parts = [
            names[name] + spread(member, inner, len(names[name]) + 1)
            for name, member in value.items()
        ]
        first, last = "{", "}"
    elif isinstance(value, list):
        parts = [spread(member, inner, 1) for member in value]
        first, last = "[", "]"
    else:
        return text
    lines = ",\n".join(inner + part for part in parts)
    return f"{first}\n{lines}\n{indent}{last}"


def messages(content: str) -> Iterator[tuple[str, str]]:
    """The direction and the text of each message and payload in a block."""
    for text in re.split(r"^(?=[<>] )", content, flags=re.M)[1:]:
        yield text[0], text[2:].removesuffix("\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a transcript. Only line feeds end them; texts may contain other separators."""
    return [json.loads(line) for line in path.read_text("utf-8").removesuffix("\n").split("\n")]


def render(reference: str) -> str:
    """The content of a block. Raises `BlockError`."""
    found = REFERENCE.fullmatch(reference)
    if not found:
        raise BlockError("a block has to name its lines, such as `bap session.ndjson:2-4`")
    name, first, last = found[1], int(found[2]), int(found[3] or found[2])
    path = FOLDER / name
    lines = read_lines(path) if path.is_file() else []
    if not 2 <= first <= last <= len(lines):
        raise BlockError(f"lines {first} to {last} do not exist")
    shown = [text for line in lines[first - 1 : last] for text in show(line)]
    return "".join(f"{text}\n" for text in shown)


def check(document: str) -> tuple[str, list[str]]:
    """The corrected document, and the differences."""
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
            problems.append(f"{where}: differs from the transcript")
        return f"```bap {reference}\n{wanted}```"

    return BLOCK.sub(replace, document), problems


def main() -> None:
    parser = argparse.ArgumentParser(description="Keeps the examples equal to the transcripts.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="list the differences")
    action.add_argument("--write", action="store_true", help="update the documents")
    options = parser.parse_args()
    failed = False
    for document in DOCUMENTS:
        before = document.read_text("utf-8")
        after, problems = check(before)
        if options.write and after != before:
            document.write_text(after, "utf-8")
            problems = check(after)[1]
        for problem in problems:
            print(f"{document.name}, {problem}", file=sys.stderr)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
