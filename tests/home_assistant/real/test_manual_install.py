"""Installed by hand, as docs/install.md says it for a machine without internet."""

import json
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from conftest import Storage, made, program_of_the_wheel, uninstall_agent
from home_assistant import DOMAIN, HomeAssistant, Json


@pytest_asyncio.fixture
async def placed(home: HomeAssistant, entry: Json) -> AsyncIterator[Path]:
    """First with the program in the integration and no wheel, then the other way round."""
    folder = home.config / "custom_components" / DOMAIN
    manifest, program = folder / "manifest.json", folder / f"s3-backup-agent-{platform.machine()}"
    released = manifest.read_text()
    await home.stop()
    uninstall_agent(home.venv)
    # Not executable, as after a download.
    program.write_bytes(program_of_the_wheel())
    manifest.write_text(json.dumps(json.loads(released) | {"requirements": []}))
    await home.start()
    yield program
    await home.stop()
    program.unlink()
    manifest.write_text(released)
    await home.start()


async def test_zip_and_program_work_without_wheel(
    home: HomeAssistant, placed: Path, agent_id: str, storage: Storage
) -> None:
    await home.until(home.locations, "the backup manager knows the location")
    backup = await made(home, agent_id, "By hand")
    (agent,) = home.agents()
    assert home.program(agent) == placed
    assert backup["agents"][agent_id]["size"] == len(storage.archive())
    await home.command("backup/delete", backup_id=backup["backup_id"])
    assert storage.objects() == []
