"""One transfer, in a Home Assistant that was started for it: `measure.py SIDE TRANSFER SIZE`.

Home Assistant has its own core object, registries, HTTP server and backup manager, and one config
entry, set up by the integration's own `async_setup_entry`. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import gc
import hashlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from homeassistant import bootstrap, loader
from homeassistant.auth import auth_manager_from_config
from homeassistant.auth.const import GROUP_ID_ADMIN
from homeassistant.components.backup import AgentBackup, BackupAgent
from homeassistant.config_entries import ConfigEntries, ConfigEntry, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component

HERE = Path(__file__).absolute().parent
INTEGRATION = HERE.parents[1] / "hacs-wrapper" / "custom_components" / "s3_backup_agent"
SIDES = {"ours": INTEGRATION.name, "theirs": "aws_s3"}
TRANSFERS = ("upload", "download", "view", "idle")
MIB = 1 << 20
TICK = 0.01  # seconds
IDLE = 3.0  # seconds for which the event loop is watched without a transfer

#: Few enough to be cheap, and a prime number, so that swapped parts are detected.
BLOCKS = [random.Random(n).randbytes(MIB) for n in range(13)]


@dataclass
class Result:
    """The costs of a transfer."""

    wall: float = 0  # seconds
    cpu: float = 0  # seconds of Home Assistant's own process, without what it takes when idle
    idle_cpu: float = 0  # seconds that it takes in each second when idle, with the meter
    agent_cpu: float = 0  # seconds of the agent
    growth: float = 0  # MiB that Home Assistant's own process has grown by at its peak
    peak: float = 0  # MiB that it then has
    agent_peak: float = 0  # MiB of the agent at its peak, or at the end when nothing is transferred
    stall: float = 0  # ms by which the event loop was late, at worst
    idle_stall: float = 0  # ms, the same without a transfer
    length: int = 0  # bytes
    sha256: str = ""


def content(size: int) -> Iterator[bytes]:
    """The bytes of a backup, in chunks of 1 MiB."""
    whole, rest = divmod(size, MIB)
    for n in range(whole):
        yield BLOCKS[n % len(BLOCKS)]
    if rest:
        yield BLOCKS[whole % len(BLOCKS)][:rest]


def digest(size: int) -> str:
    """The expected SHA-256 of a backup."""
    sha256 = hashlib.sha256()
    for chunk in content(size):
        sha256.update(chunk)
    return sha256.hexdigest()


# Home Assistant


def setting(name: str) -> str:
    return os.environ[name]


def entry_data(side: str) -> dict[str, Any]:
    keys = {
        "access_key_id": setting("TEST_S3_ACCESS_KEY_ID"),
        "secret_access_key": setting("TEST_S3_SECRET_ACCESS_KEY"),
        "bucket": setting("TEST_S3_BUCKET"),
        "prefix": f"bench-{side}",
    }
    if side == "theirs":
        return keys | {"endpoint_url": setting("TEST_S3_ENDPOINT")}
    place = {"endpoint": setting("TEST_S3_ENDPOINT"), "region": setting("TEST_S3_REGION")}
    return keys | place | {"provider": "other", "addressing_style": "path", "verify_tls": True}


def use_agent_under_test() -> None:
    """Uses the agent of the benchmark, not an installed one."""
    from custom_components.s3_backup_agent import hub
    from custom_components.s3_backup_agent.agent import AgentClient

    program = Path(setting("S3_BACKUP_AGENT_BIN")).absolute()
    vars(hub)["AgentClient"] = partial(AgentClient, command=[program, "serve"])


@contextlib.asynccontextmanager
async def home_assistant(side: str, port: int) -> AsyncIterator[tuple[HomeAssistant, ConfigEntry]]:
    """A running Home Assistant with one storage."""
    domain = SIDES[side]
    with tempfile.TemporaryDirectory() as config:
        if side == "ours":
            shutil.copytree(INTEGRATION, Path(config, "custom_components", domain))
        hass = HomeAssistant(config)
        loader.async_setup(hass)
        hass.config.skip_pip = True
        hass.config.internal_url = f"http://127.0.0.1:{port}"
        hass.config_entries = ConfigEntries(hass, {})
        assert await bootstrap.async_load_base_functionality(hass)
        hass.auth = await auth_manager_from_config(hass, [], [])
        http = {"server_host": ["127.0.0.1"], "server_port": port}
        assert await async_setup_component(hass, "http", {"http": http})
        assert await async_setup_component(hass, "backup", {})
        await hass.async_start()
        if side == "ours":
            await loader.async_get_custom_components(hass)
            use_agent_under_test()
        entry = ConfigEntry(
            data=entry_data(side),
            discovery_keys=MappingProxyType({}),
            domain=domain,
            minor_version=1,
            options={},
            source="user",
            subentries_data=(),
            title="Bench",
            unique_id="bench",
            version=1,
        )
        await hass.config_entries.async_add(entry)
        await hass.async_block_till_done()
        assert entry.state is ConfigEntryState.LOADED, (entry.state, entry.reason)
        try:
            yield hass, entry
        finally:
            await hass.config_entries.async_unload(entry.entry_id)
            await hass.async_stop(force=True)


def backup(size: int) -> AgentBackup:
    return AgentBackup(
        addons=[],
        backup_id=f"{size:016x}",
        database_included=True,
        date="2026-01-01T00:00:00+00:00",
        extra_metadata={},
        folders=[],
        homeassistant_included=True,
        homeassistant_version="2026.11.0",
        name=f"Bench {size}",
        protected=False,
        size=size,
    )


# Transfers. Each returns how many bytes came, or were taken, and their SHA-256 if it was wanted.


async def upload(agent: BackupAgent, size: int) -> int:
    taken = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal taken
        taken = 0
        for chunk in content(size):
            taken += len(chunk)
            yield chunk

    async def open_stream() -> AsyncIterator[bytes]:
        return stream()

    def progress(*, bytes_uploaded: int, **_: Any) -> None:
        pass

    await agent.async_upload_backup(
        open_stream=open_stream, backup=backup(size), on_progress=progress
    )
    return taken


async def download(agent: BackupAgent, size: int, check: bool) -> tuple[int, str]:
    length, sha256 = 0, hashlib.sha256()
    async for chunk in await agent.async_download_backup(backup(size).backup_id):
        length += len(chunk)
        if check:
            sha256.update(chunk)
    return length, sha256.hexdigest() if check else ""


async def view(hass: HomeAssistant, agent: BackupAgent, size: int) -> tuple[int, str]:
    """A download over HTTP, by a process of its own."""
    user = await hass.auth.async_create_user("bench", group_ids=[GROUP_ID_ADMIN])
    refresh = await hass.auth.async_create_refresh_token(user, client_id="http://127.0.0.1/")
    url = (
        f"{hass.config.internal_url}/api/backup/download/{backup(size).backup_id}"
        f"?agent_id={agent.agent_id}"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        HERE / "fetch.py",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    request = {"url": url, "token": hass.auth.async_create_access_token(refresh)}
    output, _ = await process.communicate(json.dumps(request).encode())
    assert process.returncode == 0
    length, sha256 = json.loads(output)
    return length, sha256


# The measurements


def process_cpu() -> float:
    """Seconds of this process, without its children."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def agent_cpu(pid: int | None) -> float:
    if pid is None:
        return 0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(name: str, pid: int | None = None) -> float:
    """MiB of a process, by default this one: `VmRSS` now, `VmHWM` at the highest since it began,
    or since `forget_peak`."""
    status = Path(f"/proc/{pid or 'self'}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Ticker:
    """Measures the lag of the event loop."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.worst = max(self.worst, time.perf_counter() - due)

    async def stop(self) -> float:
        """Milliseconds, at worst."""
        await asyncio.sleep(TICK)  # a stall that goes on until now counts
        self._task.cancel()
        return self.worst * 1000


async def measure(
    transfer: Callable[[], Awaitable[tuple[int, str]]], agent_pid: int | None
) -> Result:
    gc.collect()
    result = Result()
    idle, cpu, wall = Ticker(), process_cpu(), time.perf_counter()
    await asyncio.sleep(IDLE)
    result.idle_cpu = (process_cpu() - cpu) / (time.perf_counter() - wall)
    result.idle_stall = await idle.stop()
    before = resident("VmRSS")
    forget_peak()
    ticker = Ticker()
    agent_before, cpu, wall = agent_cpu(agent_pid), process_cpu(), time.perf_counter()
    result.length, result.sha256 = await transfer()
    result.wall = time.perf_counter() - wall
    result.cpu = process_cpu() - cpu - result.idle_cpu * result.wall
    result.agent_cpu = agent_cpu(agent_pid) - agent_before
    result.stall = await ticker.stop()
    result.peak = resident("VmHWM")
    result.growth = max(0, result.peak - before)
    if agent_pid is not None:
        result.agent_peak = resident("VmHWM" if result.length else "VmRSS", agent_pid)
    return result


async def run(side: str, transfer: str, size: int, port: int, check: bool, profile: str) -> Result:
    async with home_assistant(side, port) as (hass, entry):
        agents = hass.data["backup"].backup_agents.values()
        (agent,) = (agent for agent in agents if agent.domain == SIDES[side])
        pid = entry.runtime_data.client.pid if side == "ours" else None

        async def transfer_once() -> tuple[int, str]:
            if transfer == "upload":
                return await upload(agent, size), ""
            if transfer == "view":
                return await view(hass, agent, size)
            if transfer == "idle":
                return 0, ""
            return await download(agent, size, check)

        # The first listing belongs to the start.
        await agent.async_list_backups()
        if not profile:
            return await measure(transfer_once, pid)
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
        result = await measure(transfer_once, pid)
        profiler.disable()
        profiler.dump_stats(profile)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("transfer", choices=TRANSFERS)
    parser.add_argument("size", type=int, help="bytes")
    parser.add_argument("--port", type=int, required=True, help="for Home Assistant")
    parser.add_argument("--check", action="store_true", help="also compare what a download brings")
    parser.add_argument("--profile", default="", help="file for the numbers of cProfile")
    given = parser.parse_args()
    result = asyncio.run(
        run(given.side, given.transfer, given.size, given.port, given.check, given.profile)
    )
    if given.check and result.sha256 != digest(given.size):
        sys.exit("the content is wrong")
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
