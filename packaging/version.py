#!/usr/bin/env python3
"""Prints the version of this tree, and fails if two files have different versions.

    version.py          Cargo.toml, Cargo.lock and the manifest of the integration agree
    version.py TAG      also, the tag is `v` and this version, and CHANGELOG.md has a dated section

Exit codes: 0, they agree; 1, they differ, and each difference is printed; 64, wrong command line.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "s3-backup-agent"
INTEGRATION = Path("hacs-wrapper/custom_components/s3_backup_agent")
MANIFEST = INTEGRATION / "manifest.json"
CONSTANTS = INTEGRATION / "const.py"


def version(root: Path) -> str:
    """The version in Cargo.toml. The others must be the same."""
    return str(tomllib.loads((root / "Cargo.toml").read_text("utf-8"))["package"]["version"])


def differences(root: Path, tag: str | None) -> Iterator[str]:
    """A sentence for each file with another version."""
    wanted = version(root)
    for package in tomllib.loads((root / "Cargo.lock").read_text("utf-8"))["package"]:
        if package["name"] == NAME and package["version"] != wanted:
            yield f"Cargo.lock has {package['version']}, Cargo.toml {wanted}: cargo update -w"
    manifest = json.loads((root / MANIFEST).read_text("utf-8"))
    if manifest["version"] != wanted:
        yield f"{MANIFEST} has the version {manifest['version']}, Cargo.toml {wanted}"
    if manifest["requirements"] != [f"{NAME}=={wanted}"]:
        yield f"{MANIFEST} requires {manifest['requirements']}, not {NAME}=={wanted}"
    constants = (root / CONSTANTS).read_text("utf-8")
    if f'AGENT_VERSION: Final = "{wanted}"' not in constants:
        yield f"{CONSTANTS} has another AGENT_VERSION than Cargo.toml, which has {wanted}"
    if tag is None:
        return
    if tag != f"v{wanted}":
        yield f"the tag is {tag}, Cargo.toml has {wanted}"
    heading = rf"^## \[{re.escape(wanted)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text("utf-8"), re.M):
        yield f"CHANGELOG.md has no section ## [{wanted}] with a date"


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print("usage: version.py [TAG]", file=sys.stderr)
        return 64
    found = list(differences(ROOT, arguments[0] if arguments else None))
    for difference in found:
        print(difference, file=sys.stderr)
    print(version(ROOT))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
