"""The Markdown files of this repository: their links, the places that links can lead to, and the
blocks of code in them. Knows as much of Markdown as these files use.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
# What is not ours, or is made.
LEFT_OUT = {"target", "dist", "node_modules", "artifacts", "corpus"}

FENCE = re.compile(r"^ *```(?P<language>[\w-]*).*?\n(?P<code>.*?)^ *```$", re.M | re.S)
INLINE = re.compile(r"(`+)(?P<code>.+?)\1", re.S)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<to>[^()\s]+)\)")
IMAGE = re.compile(r'<img [^>]*\bsrc="(?P<to>[^"]+)"')
DEFINITION = re.compile(r"^\[(?P<name>[^\]]+)\]: (?P<to>\S+)$", re.M)
REFERENCE = re.compile(r"\[[^\[\]]+\]\[(?P<name>[^\[\]]*)\]")
HEADING = re.compile(r"^#{1,6} (?P<text>.+)$", re.M)


class Block(NamedTuple):
    """A fenced block. `language`: as the fence names it, or empty."""

    language: str
    code: str


@functools.cache
def documents() -> tuple[Path, ...]:
    """All of them, relative to the root."""
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        inside = path.relative_to(ROOT)
        hidden = any(part.startswith(".") and part != ".github" for part in inside.parts)
        if not hidden and not LEFT_OUT & set(inside.parts):
            found.append(inside)
    return tuple(found)


def blocks(text: str) -> Iterator[Block]:
    for fence in FENCE.finditer(text):
        yield Block(fence["language"], fence["code"])


def section(text: str, heading: str) -> str:
    """What stands below this heading, up to the next of the same rank or a higher one."""
    rank = heading.split(" ")[0]
    _, found, rest = text.partition(f"{heading}\n")
    assert found, f"there is no {heading!r}"
    return re.split(rf"^#{{1,{len(rank)}}} ", FENCE.sub(_hide, rest), maxsplit=1, flags=re.M)[0]


def _hide(fence: re.Match[str]) -> str:
    """A comment in a script is no heading."""
    return re.sub(r"^#", " #", fence[0], flags=re.M)


def plain(text: str) -> str:
    """Without code, in which nothing is a link."""
    return INLINE.sub("`code`", FENCE.sub("", text))


def links(text: str) -> Iterator[str]:
    """Where the links and pictures lead."""
    text = plain(text)
    for pattern in (LINK, IMAGE, DEFINITION):
        yield from (found["to"] for found in pattern.finditer(text))


def undefined(text: str) -> set[str]:
    """Names of links that are used and lead nowhere."""
    text = plain(text)
    defined = {found["name"].lower() for found in DEFINITION.finditer(text)}
    used = {found["name"].lower() for found in REFERENCE.finditer(text) if found["name"]}
    return used - defined


def anchors(text: str) -> set[str]:
    """The headings, as GitHub names them in links."""
    found: set[str] = set()
    for heading in HEADING.finditer(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = 0
        while (unique := f"{name}-{again}" if again else name) in found:
            again += 1
        found.add(unique)
    return found
