"""A restore on a new machine as in docs/restore.md, with only the program and the keys."""

import asyncio
import json
import subprocess
from pathlib import Path

from conftest import Storage, free_port, made, program_of_the_wheel
from home_assistant import DOMAIN, HomeAssistant, Json

ENCRYPTION_KEY = "ABCD-EFGH-IJKL-MNOP"


class Laptop:
    """The program of a release in an empty directory."""

    def __init__(self, folder: Path, form: Json) -> None:
        self._folder = folder
        folder.mkdir()
        self._program = folder / "s3-backup-agent"
        self._program.write_bytes(program_of_the_wheel())
        self._program.chmod(0o755)
        names = ("endpoint", "region", "bucket", "prefix", "access_key_id", "secret_access_key")
        self._environment = {f"S3_BACKUP_AGENT_{name.upper()}": form[name] for name in names}

    async def run(self, *arguments: str) -> str:
        def run() -> str:
            return subprocess.run(
                [self._program, *arguments],
                cwd=self._folder,
                env=self._environment,
                check=True,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                timeout=60,
            ).stdout

        return await asyncio.to_thread(run)

    def restored(self) -> Path:
        (archive,) = (self._folder / "restore").iterdir()
        return archive


async def test_backup_is_restored_on_new_machine(
    home: HomeAssistant, agent_id: str, storage: Storage, form: Json, tmp_path: Path
) -> None:
    marker = home.config / "www" / "marker.txt"
    marker.parent.mkdir(exist_ok=True)
    marker.write_text("as it was")
    entries = home.config / ".storage" / "core.config_entries"
    await home.until(
        lambda: entries.exists() and DOMAIN in entries.read_text(), "what was set up is on the disk"
    )
    backup = await made(home, agent_id, "Before the fire", password=ENCRYPTION_KEY)
    marker.write_text("burnt")
    await home.stop()

    new = HomeAssistant(home.venv, home.wheels, tmp_path / "new/config", free_port(), is_new=True)
    try:
        laptop = Laptop(tmp_path / "laptop", form)
        (found,) = json.loads(await laptop.run("list", "--json"))["backups"]
        assert found["id"] == backup["backup_id"]
        (tmp_path / "laptop/restore").mkdir()
        fetch = ("download", found["id"], "--output", "restore/", "--retry-for", "15m")
        assert "all checksums match" in await laptop.run(*fetch)

        await new.start_only()
        await new.until(new.greets, "the new Home Assistant can take a backup")
        uploaded = await new.upload_to_new(laptop.restored())
        wrong = await new.restore_on_new(uploaded, "wrong")
        assert wrong == {"code": "incorrect_password"}
        assert await new.restore_on_new(uploaded, ENCRYPTION_KEY) is None
        await new.restore_and_start(home)

        assert (new.config / "www" / "marker.txt").read_text() == "as it was"
        await new.until(new.locations, "the location has come back")
        (listed,) = await new.backups(agent_id)
        assert listed["backup_id"] == backup["backup_id"]
        await new.command("backup/delete", backup_id=backup["backup_id"])
        await new.until(storage.is_empty, "the prefix is empty")
    finally:
        await new.stop()
        await home.start()
    assert not new.refused_connections
