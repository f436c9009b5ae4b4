"""Finding the agent program, and errors for programs that cannot be run."""

import asyncio
import os
import shutil
import stat
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from agent import AgentClient, AgentNotFound, AgentStartFailed, find_agent
from agent.binary import machine
from support import fails, fake_agent_command, scripted

NAME = "s3-backup-agent"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Python installation."""

    def path(name: str, scheme: str = "venv", **options: dict[str, str]) -> str:
        base = options.get("vars", {}).get("base", "user" if scheme == "preferred" else "venv")
        return str(tmp_path / base / "bin")

    monkeypatch.setattr(sysconfig, "get_path", path)
    monkeypatch.setattr(sysconfig, "get_preferred_scheme", lambda _: "preferred")
    monkeypatch.setattr(sys, "base_prefix", "base")
    others = [path for path in sys.path if not any(Path(path).glob("s3_backup_agent-*"))]
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "lib"), *others])
    return tmp_path


def place(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def add_library(prefix: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    (prefix / library / f"{NAME.replace('-', '_')}-1.2.3.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(prefix / library)])


def test_find_agent_searches_directories_in_order(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_library(prefix, monkeypatch, "home/lib/python3.14/site-packages")
    add_library(prefix, monkeypatch, "deps")
    folder = prefix / "integration"
    places = [
        prefix / "venv/bin",
        prefix / "base/bin",
        prefix / "home/bin",
        prefix / "home/lib/python3.14/site-packages/bin",
        prefix / "deps/bin",
        prefix / "user/bin",
        folder,
    ]
    for directory in reversed(places):
        path = place(directory / NAME)
        assert find_agent(folder) == path
    for directory in places:
        path = directory / NAME
        assert find_agent(folder) == path
        path.unlink()
    with pytest.raises(AgentNotFound) as caught:
        find_agent(folder)
    searched = caught.value.details["searched"]
    assert searched[: len(places)] == [str(directory / NAME) for directory in places]
    assert all(place in caught.value.message for place in searched)


def test_find_agent_ignores_directories_of_other_packages(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(prefix / "lib/bin" / NAME)
    with fails("agent_not_found"):
        find_agent()


@pytest.mark.parametrize(
    "name", [NAME, f"bin/{NAME}", f"{NAME}-{machine()}", f"bin/{NAME}-{machine()}"]
)
def test_find_agent_sets_missing_executable_bit(prefix: Path, name: str) -> None:
    path = place(prefix / "integration" / name, 0o640)
    assert find_agent(prefix / "integration") == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o751


async def test_client_runs_found_program(prefix: Path, binary: str) -> None:
    folder = prefix / "integration"
    folder.mkdir()
    shutil.copyfile(binary, folder / NAME)
    async with AgentClient(folder=folder) as client:
        assert (await client.start()).name == NAME


async def test_find_agent_without_program_lists_searched_paths(prefix: Path) -> None:
    async with AgentClient(folder=prefix) as client:
        with fails("agent_not_found"):
            await client.open_target("t1", {})


def elf(path: Path, machine_number: int) -> Path:
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 2, machine_number) + bytes(44)
    path.write_bytes(header)
    path.chmod(0o755)
    return path


def prepared(tmp_path: Path, reason: str) -> Path:
    path = tmp_path / "program"
    match reason:
        case "architecture":
            return elf(path, 0xF3 if machine() != "riscv64" else 0x3E)
        case "missing_loader":
            path.write_text("#!/nowhere/sh\n")
            path.chmod(0o755)
        case "not_executable":
            path.write_text("#!/bin/sh\n")
            path.chmod(0o644)
        case "system":
            return path / ("x" * 5000)
    return path


@pytest.mark.parametrize("reason", ["architecture", "missing_loader", "not_executable", "system"])
async def test_start_of_unusable_program_names_reason(tmp_path: Path, reason: str) -> None:
    path = prepared(tmp_path, reason)
    async with AgentClient(command=[path, "serve"]) as client:
        with pytest.raises(AgentStartFailed) as caught:
            await client.start()
    assert caught.value.details == {"reason": reason, "path": str(path)}
    assert str(path) in caught.value.message
    if reason == "architecture":
        assert "riscv64" in caught.value.message
        assert machine() in caught.value.message


async def test_start_without_large_pipes_uses_default_size(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    spawn = loop.subprocess_exec

    async def refuse_large_pipes(*arguments: Any, **options: Any) -> object:
        if options["pipesize"] > 0:
            raise PermissionError("the user has too many pages in pipes")
        return await spawn(*arguments, **options)

    monkeypatch.setattr(loop, "subprocess_exec", refuse_large_pipes)
    async with scripted("newer") as client:
        assert client.info


async def test_start_of_missing_program_raises_not_found(tmp_path: Path) -> None:
    async with AgentClient(command=[tmp_path / "nothing"]) as client:
        with fails("agent_not_found"):
            await client.start()


async def test_start_passes_minimal_arguments_and_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leaked")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("SSL_CERT_FILE", "/ca.pem")
    async with AgentClient(command=fake_agent_command("newer")) as client:
        await client.open_target("t1", {"secret_access_key": "very-secret"})
        process = Path(f"/proc/{client.pid}")
        names = {entry.split(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0")}
        names -= {b"", b"PATH", b"TZ", b"LC_CTYPE"}
        assert names >= {b"HTTPS_PROXY", b"SSL_CERT_FILE"}
        others = {b"SSL_CERT_FILE", b"SSL_CERT_DIR", b"CREDENTIALS_DIRECTORY"}
        assert {name for name in names - others if not name.lower().endswith(b"_proxy")} == set()
        assert b"very-secret" not in (process / "cmdline").read_bytes()
        assert os.getsid(client.pid or 0) == client.pid
