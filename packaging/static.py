#!/usr/bin/env python3
"""Checks that a release binary for Linux needs nothing of the system, and is not too large.

static.py BINARY            named as the release names it, s3-backup-agent-x86_64 or -aarch64
"""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

# The maximum size of a release binary.
MOST_BYTES = 8_000_000
MACHINES = {"x86_64": 62, "aarch64": 183}
# Segments of a program: instructions for the loader, and the name of the loader.
PT_DYNAMIC, PT_INTERP = 2, 3
DT_NEEDED = 1


class NotStaticError(Exception):
    """The file is not a static program for this machine."""


def check(binary: bytes, machine: str) -> None:
    """Refuses a program that is not for Linux on this machine, or that needs a loader or a library.

    Raises `NotStaticError`.
    """
    if binary[:6] != b"\x7fELF\x02\x01":
        raise NotStaticError("this is no 64-bit program for Linux")
    if struct.unpack_from("<H", binary, 18)[0] != MACHINES[machine]:
        raise NotStaticError(f"this is not made for {machine}")
    for kind, begin, size in _parts(binary):
        if kind == PT_INTERP:
            raise NotStaticError("this is not static: it asks for a loader")
        if kind == PT_DYNAMIC:
            entries = struct.iter_unpack("<QQ", binary[begin : begin + size])
            if any(tag == DT_NEEDED for tag, _ in entries):
                raise NotStaticError("this is not static: it asks for a library")


def _parts(binary: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, offset and size in the file of each segment."""
    (table,) = struct.unpack_from("<Q", binary, 32)
    size, count = struct.unpack_from("<HH", binary, 54)
    for number in range(count):
        entry = table + size * number
        yield (
            struct.unpack_from("<I", binary, entry)[0],
            struct.unpack_from("<Q", binary, entry + 8)[0],
            struct.unpack_from("<Q", binary, entry + 32)[0],
        )


def main(arguments: list[str]) -> int:
    """The command line."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: static.py BINARY", file=sys.stderr)
        return 64
    path = Path(arguments[0])
    machine = path.name.removeprefix("s3-backup-agent-")
    binary = path.read_bytes()
    try:
        if machine not in MACHINES:
            raise NotStaticError(f"the name does not say what it is for: {', '.join(MACHINES)}")
        check(binary, machine)
    except NotStaticError as wrong:
        print(f"{path}: {wrong}", file=sys.stderr)
        return 1
    print(f"{path} {len(binary)} bytes")
    if len(binary) > MOST_BYTES:
        print(f"{path}: larger than the {MOST_BYTES} bytes that are the aim", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
