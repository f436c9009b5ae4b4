"""Home Assistant with the integration in it, the real agent, and a real S3 server.

`storage` is a prefix of its own in the test bucket. `FaultyServer` gives answers that the test
server does not give.
"""

import asyncio
import contextlib
import os
import re
import ssl
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from custom_components.s3_backup_agent import hub
from custom_components.s3_backup_agent.agent import AgentClient
from custom_components.s3_backup_agent.backup import S3BackupAgent
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.health import Health
from custom_components.s3_backup_agent.target import location_id
from default_signals import give_default_signals
from homeassistant.components.backup import AddonInfo, AgentBackup, Folder
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry

give_default_signals()

ROOT = Path(__file__).parents[3]
MIB = 1 << 20


def setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run these tests with tests/run")
    return value


@dataclass
class Storage:
    """A prefix of the test bucket."""

    prefix: str = field(default_factory=lambda: f"unit-{uuid.uuid4().hex[:12]}")
    bucket: str = field(default_factory=lambda: setting("TEST_S3_BUCKET"))
    endpoint: str = field(default_factory=lambda: setting("TEST_S3_ENDPOINT"))

    @property
    def form(self) -> dict[str, Any]:
        """The input for the form."""
        return {
            "endpoint": self.endpoint,
            "region": setting("TEST_S3_REGION"),
            "bucket": self.bucket,
            "prefix": self.prefix,
            "folder": "backups",
            "access_key_id": setting("TEST_S3_ACCESS_KEY_ID"),
            "secret_access_key": setting("TEST_S3_SECRET_ACCESS_KEY"),
            "addressing_style": "path",
        }

    @property
    def data(self) -> dict[str, Any]:
        """The data of an entry."""
        return {"provider": "other", "verify_tls": True} | self.form

    def keys(self) -> list[str]:
        """The object keys, without the prefix."""
        return self._list(f"list-type=2&prefix={self.prefix}%2F")

    def unfinished(self) -> list[str]:
        """The object keys of the incomplete multipart uploads."""
        return self._list(f"prefix={self.prefix}%2F&uploads")

    def _list(self, query: str) -> list[str]:
        answer = s3("GET", f"/{self.bucket}?{query}")
        return [
            key.removeprefix(f"{self.prefix}/") for key in re.findall("<Key>(.*?)</Key>", answer)
        ]

    def put(self, key: str, body: str) -> None:
        """Writes an object without the agent."""
        s3("PUT", f"/{self.bucket}/{self.prefix}/{key}", body)


def s3(method: str, target: str, *body: str) -> str:
    # In a separate process, because the harness blocks sockets in this one.
    script = ROOT / "tests/servers/s3_request.py"
    done = subprocess.run(
        [sys.executable, str(script), method, target, *body],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _integration(
    hass: HomeAssistant,
    enable_custom_integrations: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Home Assistant uses the integration, and the integration uses the agent under test."""
    # All tests share the configuration directory of the harness.
    cache = tmp_path / "cache"
    monkeypatch.setattr(hass.config, "cache_path", lambda *path: str(cache.joinpath(*path)))
    command = [str(Path(setting("S3_BACKUP_AGENT_BIN")).absolute()), "serve"]
    monkeypatch.setattr(hub, "AgentClient", partial(AgentClient, command=command))


@pytest.fixture
def storage() -> Storage:
    return Storage()


def new_entry(data: dict[str, Any], options: dict[str, Any] | None = None) -> MockConfigEntry:
    return MockConfigEntry(
        domain=DOMAIN,
        title="Test storage",
        data=data,
        options=options or {},
        unique_id=location_id(data),
    )


type Load = Callable[[MockConfigEntry], Coroutine[Any, Any, MockConfigEntry]]


@pytest.fixture
async def load(hass: HomeAssistant) -> AsyncGenerator[Load]:
    """Sets up an entry. All loaded entries are unloaded at the end."""
    assert await async_setup_component(hass, "backup", {})
    await hass.async_block_till_done()

    async def set_up(entry: MockConfigEntry) -> MockConfigEntry:
        entry.add_to_hass(hass)
        await hass.config_entries.async_setup(entry.entry_id)
        await hass.async_block_till_done()
        return entry

    yield set_up
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        assert await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()


@pytest.fixture
async def entry(load: Load, storage: Storage) -> MockConfigEntry:
    return await load(new_entry(storage.data))


@pytest.fixture
def agent(hass: HomeAssistant, entry: MockConfigEntry) -> S3BackupAgent:
    return agent_of(hass, entry)


def agent_of(hass: HomeAssistant, entry: MockConfigEntry) -> S3BackupAgent:
    """The backup agent of an entry in the backup manager."""
    agent = hass.data["backup"].backup_agents[f"{DOMAIN}.{entry.unique_id}"]
    assert isinstance(agent, S3BackupAgent)
    return agent


def health_of(agent: S3BackupAgent) -> Health:
    """The health record of a location."""
    coordinator = agent._coordinator
    assert coordinator
    return coordinator.health


def new_backup(size: int, **members: Any) -> AgentBackup:
    given: dict[str, Any] = {
        "addons": [AddonInfo(name="Editor", slug="core_editor", version="5.1")],
        "backup_id": uuid.uuid4().hex[:8],
        "database_included": True,
        "date": "2026-11-20T04:32:33.282898+01:00",
        "extra_metadata": {"instance_id": "abc", "with_automatic_settings": True},
        "folders": [Folder.MEDIA],
        "homeassistant_included": True,
        "homeassistant_version": "2026.11.0",
        "name": "Nächtliche Sicherung",
        "protected": False,
        "size": size,
    }
    return AgentBackup(**(given | members))


class Source:
    """The stream of a backup. It counts how often it is opened and closed, and may end early or
    fail.
    """

    def __init__(self, content: bytes, error: Exception | None = None, chunk: int = MIB) -> None:
        self.content = content
        self.error = error
        self.chunk = chunk
        self.opened = 0
        self.closed = 0

    async def open(self) -> AsyncIterator[bytes]:
        self.opened += 1
        return self._read()

    async def _read(self) -> AsyncGenerator[bytes]:
        try:
            for start in range(0, len(self.content), self.chunk):
                yield self.content[start : start + self.chunk]
            if self.error:
                raise self.error
        finally:
            self.closed += 1


async def upload(agent: S3BackupAgent, content: bytes, **members: Any) -> AgentBackup:
    backup = new_backup(len(content), **members)
    await agent.async_upload_backup(open_stream=Source(content).open, backup=backup)
    return backup


async def read(agent: S3BackupAgent, backup_id: str) -> bytes:
    stream = await agent.async_download_backup(backup_id)
    return b"".join([chunk async for chunk in stream])


def answer(status: int, code: str, *, more: str = "", headers: str = "") -> bytes:
    """An HTTP response with an S3 error."""
    body = f"<Error><Code>{code}</Code><Message>{code}</Message>{more}</Error>"
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\n{headers}"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode()


HANG = b""


class FaultyServer:
    """Forwards each connection to the real server, or gives an answer of its own.

    `rule` gets the request line and returns the answer: None forwards, HANG never answers.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.rule: Callable[[str], bytes | None] = lambda _: None
        self.seen: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        scheme = "https" if self._tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        # A connection that was just accepted registers itself when its task runs.
        await asyncio.sleep(0.01)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            # If all tasks have ended, `gather` does not run their callbacks.
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._exchange(reader, writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._tls:
            await writer.start_tls(self._tls)
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode()
        self.seen.append(line)
        if (own := self.rule(line)) is not None:
            length = re.search(rb"(?i)content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            if own == HANG:
                await asyncio.Event().wait()
            writer.write(own)
            await writer.drain()
            return
        # One request per connection, so that each request gets to `rule`.
        head = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", head)
        head = head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        real = urlsplit(setting("TEST_S3_ENDPOINT"))
        up_reader, up_writer = await asyncio.open_connection(real.hostname, real.port)
        try:
            up_writer.write(head)
            pump = asyncio.create_task(_pump(reader, up_writer))
            await _pump(up_reader, writer)
            pump.cancel()
        finally:
            up_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 << 10):
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def faulty(socket_enabled: None, storage: Storage) -> AsyncGenerator[FaultyServer]:
    """A proxy between the integration and the server of `storage`."""
    server = FaultyServer()
    await server.start()
    storage.endpoint = server.endpoint
    yield server
    await server.stop()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=nas"
    subprocess.run(
        [
            *("openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-out", str(files[0]), "-keyout", str(files[1])),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return files


@pytest.fixture
async def tls_server(
    socket_enabled: None, certificate: tuple[Path, Path], storage: Storage
) -> AsyncGenerator[FaultyServer]:
    server = FaultyServer(certificate)
    await server.start()
    storage.endpoint = server.endpoint
    yield server
    await server.stop()
