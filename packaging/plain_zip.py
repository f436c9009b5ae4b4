"""Zip files that depend only on their content: the same files make the same bytes."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# The earliest time that a zip can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)


class Member(NamedTuple):
    """One file in a zip. `name`: its path there, with slashes."""

    name: str
    content: bytes
    executable: bool = False


def write(target: Path, members: Iterable[Member]) -> None:
    """Writes the file, and makes its folder if it is missing. Members stay in their order."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for member in members:
            entry = zipfile.ZipInfo(member.name, EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = (0o100755 if member.executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.content, compresslevel=9)
