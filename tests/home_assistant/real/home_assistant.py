"""A real Home Assistant as a separate process, and a client for its API."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DOMAIN = "s3_backup_agent"
# The exit code with which Home Assistant asks for a restart.
RESTART = 100
USER, PASSWORD = "owner", "password of the owner"

type Json = dict[str, Any]

CONFIGURATION = """\
http:
  server_host: 127.0.0.1
  server_port: {port}
frontend:
backup:
logger:
  default: info
  logs:
    custom_components.s3_backup_agent: debug
homeassistant:
  name: Home
  time_zone: Europe/Berlin
"""


class HomeAssistant:
    """A Home Assistant with its configuration in `config`. It can be restarted."""

    def __init__(
        self, venv: Path, wheels: Path, config: Path, port: int, *, is_new: bool = False
    ) -> None:
        """is_new: without a user and without this integration."""
        self.venv, self.wheels, self.config = venv, wheels, config
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._refresh_token: str | None = None
        self._access_token: str | None = None

        (config / ".storage").mkdir(parents=True)
        (config / "configuration.yaml").write_text(CONFIGURATION.format(port=port))
        if is_new:
            return
        # All steps except for the first user, because the others start integrations that use the
        # internet.
        onboarding = {
            "version": 4,
            "minor_version": 1,
            "key": "onboarding",
            "data": {"done": ["core_config", "analytics", "integration"]},
        }
        (config / ".storage" / "onboarding").write_text(json.dumps(onboarding))
        # Unpacked from the zip of a release, as HACS does it.
        pack = [ROOT / "packaging/integration_zip.py", config.parent]
        done = subprocess.run(pack, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        shutil.unpack_archive(done.stdout.strip(), config / "custom_components" / DOMAIN)

    @property
    def log(self) -> str:
        return (self.config / "output").read_text(errors="replace")

    @property
    def refused_connections(self) -> str:
        """The addresses outside of this machine that Home Assistant tried to connect to."""
        path = self.config.parent / "refused-connections"
        return path.read_text() if path.exists() else ""

    async def start(self) -> None:
        await self.start_only()
        if self._refresh_token is None:
            await self._onboard()
        await self._log_in()
        await self.until(self._is_running, "Home Assistant has started", timeout=60)
        # From 2026.11 on, it changes the port back after five minutes without a confirmation.
        with contextlib.suppress(CommandError):
            await self.command("http/config/promote")

    async def start_only(self) -> None:
        """Starts it without logging in."""
        self._run()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        await self.until(self._is_up, "Home Assistant answers", timeout=60)

    async def restore_and_start(self, other: HomeAssistant) -> None:
        """Waits until it has ended to be started again, as often as a restore takes, and starts it
        as the `other` one, whose configuration it has then.
        """
        assert self._session
        await self._session.close()
        await self._ends_to_be_started()
        self._run()
        await self._ends_to_be_started()
        self.url, self._refresh_token = other.url, other._refresh_token
        await self.start()

    async def _ends_to_be_started(self) -> None:
        assert self._process
        assert await asyncio.to_thread(self._process.wait, 120) == RESTART, self.log[-4000:]

    def _run(self) -> None:
        kept = ("HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "UV_CACHE_DIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ} | {
            "PATH": f"{self.venv}/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(self.venv),
            "PYTHONPATH": str(HERE / "no_internet"),
            "REFUSED_CONNECTIONS_LOG": str(self.config.parent / "refused-connections"),
            # Only the wheel under test can be installed.
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.wheels),
        }
        with (self.config / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self.venv / "bin" / "hass", "--config", self.config],
                cwd=self.config,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def _is_up(self) -> bool:
        assert self._process and self._process.poll() is None, self.log[-4000:]
        try:
            async with self._http.get(f"{self.url}/manifest.json") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _is_running(self) -> bool:
        return bool((await self.get("/api/config"))["state"] == "RUNNING")

    async def _onboard(self) -> None:
        user = {
            "client_id": f"{self.url}/",
            "name": "Owner",
            "username": USER,
            "password": PASSWORD,
            "language": "en",
        }
        async with self._http.post(f"{self.url}/api/onboarding/users", json=user) as response:
            response.raise_for_status()
            code = (await response.json())["auth_code"]
        tokens = await self._token(grant_type="authorization_code", code=code)
        self._refresh_token = tokens["refresh_token"]

    async def _log_in(self) -> None:
        assert self._refresh_token
        tokens = await self._token(grant_type="refresh_token", refresh_token=self._refresh_token)
        self._access_token = tokens["access_token"]

    async def _token(self, **form: str) -> Json:
        form["client_id"] = f"{self.url}/"
        async with self._http.post(f"{self.url}/auth/token", data=form) as response:
            response.raise_for_status()
            answer: Json = await response.json()
            return answer

    async def stop(self, *, kill: bool = False) -> None:
        """Stops the process with SIGTERM, or kills it."""
        if self._session:
            await self._session.close()
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def agents(self) -> list[int]:
        """The process IDs of the running agents that Home Assistant started."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
                state, parent = rest.split()[:2]
                if parent == str(self.pid) and state != "Z" and name == "s3-backup-agent":
                    found.append(int(stat.parent.name))
        return found

    @staticmethod
    def program(agent: int) -> Path:
        """The program of an agent process. Its link in /proc can be read only by root."""
        command, _, _ = Path(f"/proc/{agent}/cmdline").read_text().partition("\0")
        return Path(command).resolve()

    @staticmethod
    async def until(
        condition: Callable[[], Any], what: str, timeout: float = 30, pause: float = 0.1
    ) -> None:
        deadline = time.monotonic() + timeout
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
            await asyncio.sleep(pause)

    # The HTTP API

    async def greets(self) -> bool:
        """Whether the welcome page accepts a backup."""
        async with self._http.get(f"{self.url}/api/onboarding/backup/info") as response:
            return response.status == 200 and (await response.json())["state"] == "idle"

    async def upload_to_new(self, archive: Path) -> str:
        """Uploads a backup on the welcome page. Returns its ID."""
        with archive.open("rb") as content:
            url = f"{self.url}/api/onboarding/backup/upload?agent_id=backup.local"
            async with self._http.post(url, data={"file": content}) as response:
                assert response.status == 201, (response.status, await response.text())
                backup_id: str = (await response.json())["backup_id"]
                return backup_id

    async def restore_on_new(self, backup_id: str, password: str) -> Json | None:
        """Starts a restore on the welcome page. Returns the error, or None."""
        order = {"backup_id": backup_id, "agent_id": "backup.local", "password": password}
        url = f"{self.url}/api/onboarding/backup/restore"
        # Home Assistant may exit before it answers.
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with self._http.post(url, json=order) as response:
                return None if response.status == 200 else await response.json()
        return None

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session
        return self._session

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._access_token}"}

    async def get(self, path: str) -> Any:
        async with self._http.get(self.url + path, headers=self._headers) as response:
            response.raise_for_status()
            return await response.json()

    async def post(self, path: str, body: Json | None = None) -> Any:
        async with self._http.post(
            self.url + path, headers=self._headers, json=body or {}
        ) as response:
            assert response.status == 200, (response.status, await response.text())
            return await response.json()

    async def delete(self, path: str) -> None:
        async with self._http.delete(self.url + path, headers=self._headers) as response:
            response.raise_for_status()

    @contextlib.asynccontextmanager
    async def download(
        self, backup_id: str, agent_id: str, password: str | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        query = {"agent_id": agent_id} | ({"password": password} if password else {})
        url = f"{self.url}/api/backup/download/{backup_id}"
        async with self._http.get(url, params=query, headers=self._headers) as response:
            yield response

    async def digest(self, backup_id: str, agent_id: str) -> tuple[int, str]:
        """Size and SHA-256 of a downloaded backup."""
        size, digest = 0, hashlib.sha256()
        async with self.download(backup_id, agent_id) as response:
            response.raise_for_status()
            async for chunk in response.content.iter_any():
                size += len(chunk)
                digest.update(chunk)
        return size, digest.hexdigest()

    # The websocket API

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        url = f"{self.url}/api/websocket"
        async with self._http.ws_connect(url, max_msg_size=0) as socket:
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": self._access_token})
            assert (await socket.receive_json())["type"] == "auth_ok"
            yield Connection(socket)

    async def command(self, kind: str, **fields: Any) -> Any:
        """The result of one websocket command."""
        async with self.connection() as connection:
            return await connection.command(kind, **fields)

    async def locations(self) -> list[str]:
        """The backup locations of the integration."""
        agents = (await self.command("backup/agents/info"))["agents"]
        return [a["agent_id"] for a in agents if a["agent_id"].startswith(f"{DOMAIN}.")]

    async def backups(self, agent_id: str) -> list[Json]:
        """The backups of this agent, oldest first."""
        info: Json = await self.command("backup/info")
        assert agent_id not in info["agent_errors"], info["agent_errors"]
        found = [backup for backup in info["backups"] if agent_id in backup["agents"]]
        return sorted(found, key=lambda backup: str(backup["date"]))


class CommandError(Exception):
    """Home Assistant refused a command."""


class Connection:
    """A websocket connection that is logged in."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._last_id = 0
        self._events: list[Json] = []

    async def command(self, kind: str, **fields: Any) -> Any:
        self._last_id += 1
        await self._socket.send_json({"id": self._last_id, "type": kind, **fields})
        while True:
            message = await self._socket.receive_json(timeout=120)
            if message["type"] == "event":
                self._events.append(message["event"])
            elif message["id"] == self._last_id:
                if not message["success"]:
                    raise CommandError(message["error"]["code"], message["error"]["message"])
                return message["result"]

    async def event(self, timeout: float = 120) -> Json:
        """The next event of the subscriptions of this connection."""
        while not self._events:
            message = await self._socket.receive_json(timeout=timeout)
            if message["type"] == "event":
                self._events.append(message["event"])
        return self._events.pop(0)

    async def backup(self, agent_id: str, name: str, **fields: Any) -> Run:
        """Starts a backup to this agent."""
        await self.command("backup/subscribe_events")
        await self.command(
            "backup/generate",
            agent_ids=[agent_id],
            include_database=False,
            name=name,
            **fields,
        )
        return Run(self)

    async def automatic_backup(self) -> Run:
        await self.command("backup/subscribe_events")
        await self.command("backup/generate_with_automatic_settings")
        return Run(self)


class Run:
    """A backup that is being made."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # (agent, bytes, total) of each event
        self.progress: list[tuple[str, int, int]] = []
        self.state: str | None = None
        self.reason: str | None = None

    async def next(self) -> Json:
        event = await self._connection.event()
        if "uploaded_bytes" in event:
            progress = (event["agent_id"], event["uploaded_bytes"], event["total_bytes"])
            self.progress.append(progress)
        elif event["manager_state"] == "create_backup":
            self.state, self.reason = event["state"], event["reason"]
        return event

    async def end(self) -> Run:
        """Waits until the backup has ended and the manager is idle."""
        while self.state not in ("completed", "failed"):
            await self.next()
        while (await self.next()).get("manager_state") != "idle":
            pass
        return self
