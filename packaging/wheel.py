#!/usr/bin/env python3
"""Packs a release binary as a wheel, so that PyPI has the same binary as the release.

    wheel.py BINARY [FOLDER]    into this folder, by default that of the binary; prints the path

The name of the binary, which the other scripts here give it, has the system that it runs on:
s3-backup-agent-x86_64 and -aarch64 (Linux, static), -macos-ARCHITECTURE, -windows-x86_64.exe.
The tests, which compile the program anyway, build the same wheel with maturin. Both use
pyproject.toml and python/.
"""

import base64
import hashlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from plain_zip import Member, write
from static import MACHINES, NotStaticError, check
from version import NAME, ROOT, version

PACKAGE = NAME.replace("-", "_")
# A static binary runs with any libc, so it has both tags.
TAGS = {
    "x86_64": ["manylinux_2_17_x86_64", "musllinux_1_1_x86_64"],
    "aarch64": ["manylinux_2_17_aarch64", "musllinux_1_1_aarch64"],
    "macos-aarch64": ["macosx_11_0_arm64"],
    "macos-x86_64": ["macosx_10_12_x86_64"],
    "windows-x86_64": ["win_amd64"],
}
LINK = re.compile(r'(\]\(|src=")(?!https?:|#)([^)"\s]+)')


class RefusedError(Exception):
    """The file does not match its name."""


def repository() -> str:
    """The URL of the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["urls"]["Repository"])


def absolute(text: str, repository: str, release: str) -> str:
    """The text for another site: links lead into the repository at this release."""

    def lead(found: re.Match[str]) -> str:
        kind = "raw" if found[2].endswith((".png", ".svg")) else "blob"
        ref = "main" if release == "Unreleased" else f"v{release}"
        return f"{found[1]}{repository}/{kind}/{ref}/{found[2]}"

    return LINK.sub(lead, text)


def metadata(release: str) -> str:
    """The file METADATA, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {release}",
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {name}" for name in project["license-files"]),
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
        f"Requires-Python: {project['requires-python']}",
        *(f"Project-URL: {name}, {url}" for name, url in project["urls"].items()),
        "Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM",
    ]
    readme = (ROOT / project["readme"]).read_text("utf-8")
    return "\n".join(lines) + "\n\n" + absolute(readme, repository(), release)


def members(binary: bytes, platform: str, release: str) -> Iterator[Member]:
    """All files but RECORD."""
    for path in sorted((ROOT / "python" / PACKAGE).iterdir()):
        if path.is_file():
            yield Member(f"{PACKAGE}/{path.name}", path.read_bytes())
    program = f"{NAME}.exe" if platform.startswith("windows") else NAME
    yield Member(f"{PACKAGE}-{release}.data/scripts/{program}", binary, executable=True)
    info = f"{PACKAGE}-{release}.dist-info"
    yield Member(f"{info}/METADATA", metadata(release).encode())
    wheel = ["Wheel-Version: 1.0", f"Generator: {NAME}", "Root-Is-Purelib: false"]
    wheel += [f"Tag: py3-none-{tag}" for tag in TAGS[platform]]
    yield Member(f"{info}/WHEEL", "\n".join([*wheel, ""]).encode())
    yield Member(f"{info}/licenses/LICENSE", (ROOT / "LICENSE").read_bytes())


def record(files: list[Member], release: str) -> Member:
    """The file RECORD: all files with their checksums, and itself without one."""
    name = f"{PACKAGE}-{release}.dist-info/RECORD"
    lines = []
    for file in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.content).digest()).decode()
        lines.append(f"{file.name},sha256={digest.rstrip('=')},{len(file.content)}")
    return Member(name, "\n".join([*lines, f"{name},,", ""]).encode())


def build(binary: Path, folder: Path) -> Path:
    """Makes the wheel. Raises `RefusedError` or `NotStaticError` when the binary is not what its
    name says.
    """
    platform = binary.name.removeprefix(f"{NAME}-").removesuffix(".exe")
    if platform not in TAGS:
        raise RefusedError(
            f"the name {binary.name} does not say what it runs on: {', '.join(TAGS)}"
        )
    content = binary.read_bytes()
    if platform in MACHINES:
        check(content, platform)
    release = version(ROOT)
    files = list(members(content, platform, release))
    target = folder / f"{PACKAGE}-{release}-py3-none-{'.'.join(TAGS[platform])}.whl"
    write(target, [*files, record(files, release)])
    return target


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print("usage: wheel.py BINARY [FOLDER]", file=sys.stderr)
        return 64
    binary = Path(arguments[0])
    try:
        print(build(binary, Path(arguments[1]) if len(arguments) > 1 else binary.parent))
    except (NotStaticError, RefusedError) as refused:
        print(f"{binary}: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
