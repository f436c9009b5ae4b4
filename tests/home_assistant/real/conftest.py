"""One Home Assistant for all tests, with one backup location from the config flow."""

import os
import re
import socket
import subprocess
import uuid
import zipfile
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from default_signals import give_default_signals
from home_assistant import DOMAIN, HomeAssistant, Json
from pausing_proxy import PausingProxy
from s3_request import request

give_default_signals()


def setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run these tests with tests/run --only home-assistant")
    return value


class Storage:
    """A prefix of the test bucket."""

    def __init__(self) -> None:
        self.bucket = setting("TEST_S3_BUCKET")
        self.prefix = f"home-assistant-{uuid.uuid4().hex[:12]}"
        self.access_key_id = setting("TEST_S3_ACCESS_KEY_ID")
        self.secret_access_key = setting("TEST_S3_SECRET_ACCESS_KEY")

    def objects(self) -> list[str]:
        """The object keys."""
        return self._keys(f"list-type=2&prefix={self.prefix}%2F")

    def archive(self) -> bytes:
        """The content of the only backup."""
        (key,) = (key for key in self.objects() if key.endswith(".tar"))
        return self.read(key)

    def unfinished(self) -> list[str]:
        """The object keys of the incomplete multipart uploads."""
        return self._keys(f"prefix={self.prefix}%2F&uploads")

    def is_empty(self) -> bool:
        """Whether there are neither objects nor incomplete uploads."""
        return not self.objects() and not self.unfinished()

    def read(self, key: str) -> bytes:
        status, body = request("GET", f"/{self.bucket}/{quote(key)}")
        assert status == 200, body
        return body

    def _keys(self, query: str) -> list[str]:
        status, body = request("GET", f"/{self.bucket}", query)
        assert status == 200, body
        keys = map(unescape, re.findall("<Key>(.*?)</Key>", body.decode()))
        # SeaweedFS lists the folder as an empty object.
        return [key for key in keys if not key.endswith("/")]


@pytest.fixture(scope="session")
def storage() -> Storage:
    return Storage()


@pytest_asyncio.fixture(scope="session")
async def proxy() -> AsyncIterator[PausingProxy]:
    proxy = PausingProxy(setting("TEST_S3_ENDPOINT"))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture(scope="session")
def form(proxy: PausingProxy, storage: Storage) -> Json:
    """The input for the form."""
    return {
        "endpoint": proxy.url,
        "region": setting("TEST_S3_REGION"),
        "bucket": storage.bucket,
        "prefix": storage.prefix,
        "folder": "backups",
        "access_key_id": storage.access_key_id,
        "secret_access_key": storage.secret_access_key,
        "addressing_style": "path",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def uninstall_agent(venv: Path) -> None:
    subprocess.run(
        [venv / "bin/python", "-m", "uv", "pip", "uninstall", "--quiet", "s3-backup-agent"],
        env=os.environ | {"VIRTUAL_ENV": str(venv)},
        check=True,
        timeout=60,
    )


def program_of_the_wheel() -> bytes:
    """The program in the wheel that Home Assistant installs."""
    (wheel,) = Path(setting("HOME_ASSISTANT_WHEELS")).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/scripts/s3-backup-agent"))
        return archive.read(name)


@pytest_asyncio.fixture(scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HomeAssistant]:
    venv = Path(setting("HOME_ASSISTANT_VENV"))
    # Home Assistant must install it.
    uninstall_agent(venv)
    folder = tmp_path_factory.mktemp("home-assistant")
    wheels = Path(setting("HOME_ASSISTANT_WHEELS"))
    home = HomeAssistant(venv, wheels, folder / "config", free_port())
    try:
        await home.start()
        yield home
    finally:
        await home.stop()
        if kept := os.environ.get("HOME_ASSISTANT_LOG"):
            Path(kept).write_text(home.log)
    assert not home.refused_connections


class Flow:
    """The flow that adds a backup location."""

    def __init__(self, home: HomeAssistant) -> None:
        self._home = home
        self._id = ""

    async def start(self, provider: str = "other") -> Json:
        answer = await self._home.post(
            "/api/config/config_entries/flow",
            {"handler": DOMAIN, "show_advanced_options": False},
        )
        self._id = answer["flow_id"]
        assert answer["step_id"] == "user"
        return await self.fill({"provider": provider})

    async def fill(self, form: Json) -> Json:
        inside = {
            name: form[name] for name in ("prefix", "folder", "addressing_style") if name in form
        }
        if inside:
            form = {k: v for k, v in form.items() if k not in inside} | {"more": inside}
        answer: Json = await self._home.post(f"/api/config/config_entries/flow/{self._id}", form)
        return answer


@pytest.fixture
def flow(home: HomeAssistant) -> Flow:
    return Flow(home)


@pytest_asyncio.fixture(scope="session")
async def entry(home: HomeAssistant, form: Json) -> Json:
    """The entry of the backup location."""
    flow = Flow(home)
    await flow.start()
    answer = await flow.fill(form)
    assert answer["type"] == "create_entry", answer
    entry: Json = answer["result"]
    return entry


@pytest_asyncio.fixture(scope="session")
async def agent_id(home: HomeAssistant, entry: Json) -> str:
    await home.until(home.locations, "the backup manager knows the location")
    (agent_id,) = await home.locations()
    return agent_id


async def made(home: HomeAssistant, agent_id: str, name: str, **fields: str) -> Json:
    """Makes a backup at this location, and returns it as Home Assistant lists it."""
    async with home.connection() as connection:
        run = await (await connection.backup(agent_id, name, **fields)).end()
    assert run.state == "completed", (run.reason, home.log[-3000:])
    (backup,) = (b for b in await home.backups(agent_id) if b["name"] == name)
    return backup
