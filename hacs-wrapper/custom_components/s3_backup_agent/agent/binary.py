"""Finds the agent program, and explains why a program cannot be run.

The agent's wheel contains a program and no module. It is searched for in the directories for
programs, in the order in which `uv` finds itself, then in a folder for a program that was copied by
hand. All functions block: call them in a thread.
"""

import errno
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from .errors import AgentError, AgentNotFound, AgentStartFailed

NAME = "s3-backup-agent"
_DIST_INFO = f"{NAME.replace('-', '_')}-*.dist-info"
_SITE_PACKAGES = {"site-packages", "dist-packages"}
# e_machine of an ELF header, as platform.machine() calls it.
_MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def find_agent(folder: Path | None = None) -> Path:
    """The path of the agent program. Raises `AgentNotFound` with the searched paths.

    folder: also search here and in its `bin`. The program may have the architecture in its name
    (`s3-backup-agent-aarch64`). It is made executable if needed, because zip files and downloads
    lose the executable bit.
    """
    suffix = sysconfig.get_config_var("EXE") or ""
    searched: list[str] = []
    for directory in _installed():
        path = directory / f"{NAME}{suffix}"
        if str(path) not in searched:
            searched.append(str(path))
            if path.is_file():
                return path
    for directory in (folder, folder / "bin") if folder else ():
        for name in (f"{NAME}{suffix}", f"{NAME}-{machine()}{suffix}"):
            path = directory / name
            searched.append(str(path))
            if path.is_file():
                _make_executable(path)
                return path
    paths = "".join(f"\n - {path}" for path in searched)
    message = f"the program {NAME} does not exist at any of these paths:{paths}"
    raise AgentNotFound(message, searched=searched)


def _installed() -> Iterator[Path]:
    """The directories in which installers put programs, in the order of `uv`."""
    if scripts := sysconfig.get_path("scripts"):
        yield Path(scripts)
    if scripts := sysconfig.get_path("scripts", vars={"base": sys.base_prefix}):
        yield Path(scripts)
    for library in map(Path, sys.path):
        if not library.is_absolute() or not any(library.glob(_DIST_INFO)):
            continue
        # <prefix>/lib/python3.14/site-packages, from `--prefix`
        if library.name in _SITE_PACKAGES and library.parent.name.startswith("python"):
            yield library.parent.parent.parent / "bin"
        # <target>, from `--target`
        yield library / "bin"
    if scripts := sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")):
        yield Path(scripts)


def _make_executable(path: Path) -> None:
    if os.access(path, os.X_OK):
        return
    try:
        path.chmod(path.stat().st_mode | 0o111)
    except OSError as error:
        raise AgentStartFailed(
            f"{path} is not executable, and its mode cannot be changed: {error}",
            reason="not_executable",
            path=str(path),
        ) from error


def machine() -> str:
    """The architecture of this machine, as in the file names of a release."""
    name = platform.machine().lower()
    return _ALIASES.get(name, name)


def start_error(error: OSError, program: str) -> AgentError:
    """The error for a program that the operating system did not start."""
    path = Path(program)
    if isinstance(error, FileNotFoundError):
        if not path.is_file():
            return AgentNotFound(f"the program {program} does not exist", searched=[program])
        reason, text = "missing_loader", "needs a loader or interpreter that is not installed here"
    elif error.errno == errno.ENOEXEC:
        built_for = _architecture(path)
        reason = "architecture"
        text = f"is built for {built_for or 'another architecture'}, this machine is {machine()}"
    elif isinstance(error, PermissionError):
        reason, text = "not_executable", "is not executable (mode, or file system with noexec)"
    else:
        reason, text = "system", f"cannot be started: {error.strerror or error}"
    return AgentStartFailed(f"{program} {text}", reason=reason, path=program)


def _architecture(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError:
        return None
    if len(header) < 20 or not header.startswith(b"\x7fELF"):
        return None
    order = ">" if header[5] == 2 else "<"
    number: int = struct.unpack(f"{order}H", header[18:20])[0]
    return _MACHINES.get(number, f"ELF machine {number}")
