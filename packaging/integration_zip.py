#!/usr/bin/env python3
"""Packs the Home Assistant integration as a zip, for HACS and for an installation by hand.

    integration_zip.py [FOLDER]     writes it to this folder, by default dist; prints the path

The zip has the content of custom_components/s3_backup_agent without a folder around it. Its name is
the one in hacs.json.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from plain_zip import Member, write

HACS = Path(__file__).resolve().parent.parent / "hacs-wrapper"
INTEGRATION = HACS / "custom_components/s3_backup_agent"
LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def members() -> Iterator[Member]:
    """The files of the integration, in a fixed order."""
    for path in sorted(INTEGRATION.rglob("*")):
        inside = path.relative_to(INTEGRATION)
        if path.is_file() and not LEFT_OUT & set(inside.parts):
            yield Member(inside.as_posix(), path.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        print("usage: integration_zip.py [FOLDER]", file=sys.stderr)
        sys.exit(64)
    name = json.loads((HACS / "hacs.json").read_text("utf-8"))["filename"]
    zip_file = Path(sys.argv[1] if len(sys.argv) > 1 else "dist") / name
    write(zip_file, members())
    print(zip_file)
