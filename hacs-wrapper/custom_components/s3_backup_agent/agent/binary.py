"""Finds the agent program, and says why one cannot be run.

The wheel of the agent holds a program and no module, so it is looked for where installers put
programs, in the order that `uv` uses to find itself; a program that somebody placed in a folder by
hand comes last. Everything here blocks: call it in a thread.
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
    """The agent program. Raises `AgentNotFound`, which says where we looked.

    folder: also look here, and in its `bin`, for a program placed by hand. It may carry the
    architecture in its name (`s3-backup-agent-aarch64`). An executable bit that got lost, as with
    every zip file, is set again.
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
    places = "".join(f"\n - {place}" for place in searched)
    message = f"the program {NAME} is in none of these places:{places}"
    raise AgentNotFound(message, searched=searched)


def _installed() -> Iterator[Path]:
    """Where installers put programs, in the order of `uv`."""
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
            f"{path} is not executable, and cannot be made so: {error}",
            reason="not_executable",
            path=str(path),
        ) from error


def machine() -> str:
    """The architecture of this machine, as the files of a release name it."""
    name = platform.machine().lower()
    return _ALIASES.get(name, name)


def explain(error: OSError, program: str) -> AgentError:
    """Why the system refused to run a program."""
    path = Path(program)
    if isinstance(error, FileNotFoundError):
        if not path.is_file():
            return AgentNotFound(f"there is no program {program}", searched=[program])
        reason, text = "missing_loader", "needs a loader or interpreter that is not installed here"
    elif error.errno == errno.ENOEXEC:
        built_for = _architecture(path)
        reason = "architecture"
        text = f"is made for {built_for or 'another kind of machine'}, this one is {machine()}"
    elif isinstance(error, PermissionError):
        reason, text = "not_executable", "may not be executed (mode, or a file system with noexec)"
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
