"""The golden transcripts: how they are read, and how a message is compared with what they say.

What a line may hold is described in protocol/transcripts/README.md.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import render

Json = dict[str, Any]

FOLDER = Path(__file__).parents[3] / "protocol" / "transcripts"
PATTERN = bytes(range(251))  # byte n of every archive is n mod 251

# The target that is open, and the backup that is stored, where a transcript begins later.
TARGET = "t1"
CONFIG = {
    "type": "s3",
    "endpoint": "https://s3.example.org",
    "region": "eu-central-1",
    "bucket": "backups",
    "prefix": "ha",
    "access_key_id": "AKIAEXAMPLE",
    "secret_access_key": "EXAMPLE-SECRET",
}
BACKUP_SIZE = 600_000
BACKUP = {
    "id": "a1b2c3d4",
    "name": "Nightly_2026-11-20_03.00",
    "metadata": {
        "backup_id": "a1b2c3d4",
        "name": "Nightly",
        "date": "2026-11-20T03:00:00+00:00",
        "homeassistant_version": "2026.11.0",
    },
}


def content(offset: int, length: int) -> bytes:
    """The bytes of an archive from `offset` on."""
    start = offset % len(PATTERN)
    repetitions = (start + length) // len(PATTERN) + 1
    return (PATTERN * repetitions)[start : start + length]


@dataclass(frozen=True)
class Payload:
    """Bytes, named by how they are made. `offset` is their place in the archive."""

    offset: int
    length: int
    sha256: str

    @classmethod
    def parse(cls, raw: Json) -> "Payload":
        assert raw.pop("gen") == "mod251", "there is one generator only"
        return cls(**raw)

    @property
    def data(self) -> bytes:
        return content(self.offset, self.length)

    def is_true(self) -> bool:
        return hashlib.sha256(self.data).hexdigest() == self.sha256


def about(message: Json) -> int | None:
    """The request that a message is about; None for `hello` and for what is about none."""
    number = message.get("id") or message.get("params", {}).get("id")
    return number if isinstance(number, int) else None


@dataclass(frozen=True)
class Line:
    """One frame, or what stands in its place: a raw line, or the end of the host's output."""

    place: str  # file and line, for reports
    direction: str
    message: Json = field(default_factory=dict)  # with matchers, if the agent sends it
    payload: Payload | None = None
    raw: bytes | None = None
    closes: bool = False

    @property
    def method(self) -> str | None:
        return self.message.get("method")

    @property
    def request_id(self) -> int | None:
        return about(self.message)

    @property
    def is_request(self) -> bool:
        return self.direction == ">" and "id" in self.message and "method" in self.message

    @property
    def is_response(self) -> bool:
        return self.direction == "<" and "method" not in self.message

    @property
    def is_data(self) -> bool:
        return self.method == "stream.data" and self.payload is not None

    def __str__(self) -> str:
        return f"{self.place}: {self.direction} {json.dumps(render.example(self.message))}"


Step = tuple[Line, ...]  # lines whose order is free; nearly always a single one


@dataclass(frozen=True)
class Transcript:
    """One file. `raw` are its lines as they stand there."""

    name: str
    head: Json
    raw: tuple[Json, ...]

    @property
    def start(self) -> str:
        return str(self.head["start"])

    @property
    def objects(self) -> list[Json]:
        """What lies in the bucket besides."""
        return list(self.head.get("objects", []))

    @property
    def storage(self) -> Json | None:
        """How a storage answers that fails; None for one that works."""
        return self.head.get("storage")

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps())

    def _steps(self) -> Iterator[Step]:
        for number, raw in enumerate(self.raw, 2):
            place = f"{self.name}:{number}"
            if "unordered" in raw:
                yield tuple(_line(place, member) for member in raw["unordered"])
            elif "note" not in raw:
                yield (_line(place, raw),)

    @property
    def lines(self) -> list[Line]:
        return [line for step in self.steps for line in step]

    def without(self, methods: Collection[str]) -> "Transcript":
        """The transcript without the requests of these methods, and all that is about them."""
        ids = {line.request_id for line in self.lines if line.method in methods}
        raw = [line for line in self.raw if "msg" not in line or about(line["msg"]) not in ids]
        return Transcript(self.name, self.head, tuple(raw))


def _line(place: str, raw: Json) -> Line:
    line = Line(place, raw["dir"])
    if "raw" in raw:
        text: str = raw["raw"] * raw.get("times", 1)
        return Line(place, line.direction, raw=text.encode() + b"\n")
    if "close" in raw:
        return Line(place, line.direction, closes=True)
    payload = Payload.parse(dict(raw["payload"])) if "payload" in raw else None
    return Line(place, line.direction, raw["msg"], payload)


def load(path: Path) -> Transcript:
    head, *lines = render.read_lines(path)
    return Transcript(path.name, head, tuple(lines))


def load_all() -> dict[str, Transcript]:
    """All transcripts, by their names without ending."""
    return {path.stem: load(path) for path in sorted(FOLDER.glob("*.ndjson"))}


def differences(pattern: Any, value: Any, path: str = "") -> list[str]:
    """What of a value is not as the pattern says; nothing if all is."""
    if name := render.matcher(pattern):
        return _mismatch(name, pattern[name], value, path)
    here = path or "the message"
    if isinstance(pattern, dict) and isinstance(value, dict):
        extra = [f"{path}.{key} is too much: {value[key]!r}" for key in value.keys() - pattern]
        return _members(pattern, value, path) + extra
    if isinstance(pattern, list) and isinstance(value, list):
        if len(pattern) != len(value):
            return [f"{here} has {len(value)} entries instead of {len(pattern)}: {value!r}"]
        pairs = enumerate(zip(pattern, value, strict=True))
        return [text for i, (a, b) in pairs for text in differences(a, b, f"{path}[{i}]")]
    if type(pattern) is not type(value) or pattern != value:
        return [f"{here} is {value!r} instead of {pattern!r}"]
    return []


def _members(pattern: Json, value: Json, path: str) -> list[str]:
    found = []
    for key, wanted in pattern.items():
        if key in value:
            found += differences(wanted, value[key], f"{path}.{key}")
        elif render.matcher(wanted) != "$maybe":
            found.append(f"{path}.{key} is missing")
    return found


def _mismatch(name: str, inner: Any, value: Any, path: str) -> list[str]:
    match name, inner:
        case "$any", _:
            fits = True
        case "$int", _:
            fits = type(value) is int and value >= 0
        case "$text", _:
            fits = isinstance(value, str) and value != ""
        case "$like", [pattern, _]:
            fits = isinstance(value, str) and re.search(pattern, value) is not None
        case "$some", _ if isinstance(value, dict):
            return _members(inner, value, path)
        case "$maybe", _:
            return differences(inner, value, path)
        case _:
            fits = False
    return [] if fits else [f"{path or 'the message'} is {value!r}, which is not {name} {inner!r}"]
