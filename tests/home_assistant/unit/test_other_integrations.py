"""Backups of other integrations in this one, and the other way round, on a real server.

Home Assistant's own integrations run in these tests. The others are simulated by
other_integrations.py.
"""

import importlib
import json
import os
import re
import subprocess
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from awesomeversion import AwesomeVersion
from conftest import ROOT, Load, Source, Storage, agent_of, new_backup, new_entry, read, setting
from custom_components.s3_backup_agent.backup import S3BackupAgent
from homeassistant.components.backup import AddonInfo, AgentBackup, BackupAgent, Folder
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from other_integrations import (
    BAUER_GROUP,
    CORE,
    DOCUMENT,
    PHANTOM_PHOTON,
    REYDAN46,
    Writer,
)
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator
from s3_request import request

pytestmark = pytest.mark.usefixtures("socket_enabled")

CONTENT = os.urandom(1 << 16) * 384  # 24 MiB: several parts in all integrations

#: Backups of a real Home Assistant, with its file names.
REAL = sorted((ROOT / "tests/data").glob("*.tar"))

#: The members of the metadata that Home Assistant requires.
NEEDED = {
    "addons",
    "backup_id",
    "database_included",
    "date",
    "extra_metadata",
    "folders",
    "homeassistant_included",
    "homeassistant_version",
    "name",
    "protected",
    "size",
}

takes_prefix = pytest.mark.skipif(
    AwesomeVersion(__version__) < "2026.4", reason="has neither a prefix nor what it imports here"
)


class Bucket:
    """Direct access to a prefix of a bucket, or to the whole bucket."""

    def __init__(self, name: str, folder: str = "") -> None:
        self.name = name
        self._folder = folder

    def put(self, objects: dict[str, bytes]) -> None:
        for key, content in objects.items():
            self._request("PUT", f"/{quote(key)}", body=content)

    def objects(self) -> dict[str, bytes]:
        query = f"list-type=2&prefix={quote(self._folder, safe='')}"
        keys = re.findall("<Key>(.*?)</Key>", self._request("GET", query=query).decode())
        # SeaweedFS lists the folder as an empty object.
        return {
            key: self._request("GET", f"/{quote(key)}")
            for key in map(unescape, keys)
            if not key.endswith("/")
        }

    def create(self) -> None:
        self._request("PUT")

    def delete(self) -> None:
        for key in self.objects():
            self._request("DELETE", f"/{quote(key)}")
        self._request("DELETE")

    def _request(self, method: str, key: str = "", query: str = "", body: bytes = b"") -> bytes:
        status, answer = request(method, f"/{self.name}{key}", query, body)
        assert 200 <= status < 300, (status, answer)
        return answer


@pytest.fixture
def bucket(storage: Storage) -> Bucket:
    return Bucket(storage.bucket, f"{storage.prefix}/")


@pytest.fixture
def whole_bucket(storage: Storage) -> Iterator[Bucket]:
    """A separate bucket, for backups without prefix and folder."""
    bucket = Bucket(f"s3-backup-agent-{uuid.uuid4().hex[:12]}")
    bucket.create()
    yield bucket
    bucket.delete()


type SetUpOurs = Callable[..., Coroutine[Any, Any, S3BackupAgent]]


@pytest.fixture
def ours(hass: HomeAssistant, load: Load, storage: Storage) -> SetUpOurs:
    """Sets up a location of this integration with other settings."""

    async def set_up(**settings: str) -> S3BackupAgent:
        return agent_of(hass, await load(new_entry(storage.data | settings)))

    return set_up


async def listed_anew(agent: S3BackupAgent) -> list[str]:
    """The current backup IDs. Asserts that nothing was skipped."""
    listing = await agent._client.list(agent._entry.entry_id, refresh=True)
    assert listing.skipped == ()
    return [backup.id for backup in listing.backups]


def full(size: int = len(CONTENT), **members: Any) -> AgentBackup:
    """A backup with a value for each member."""
    given = {
        "addons": [
            AddonInfo(name="Editor", slug="core_editor", version="5.1"),
            AddonInfo(name=None, slug="local_mine", version=None),
        ],
        "folders": list(Folder),
        "name": "Nächtliche  Sicherung Büro 🏠 v1.2",
        "protected": True,
    }
    return new_backup(size, **(given | members))


async def store(location: BackupAgent, backup: AgentBackup) -> None:
    await location.async_upload_backup(
        open_stream=Source(CONTENT[: backup.size]).open,
        backup=backup,
        on_progress=lambda **_: None,
    )


# Home Assistant's own integrations


class Theirs:
    """An integration of Home Assistant that is set up."""

    def __init__(self, hass: HomeAssistant, domain: str) -> None:
        self._hass = hass
        self._module = importlib.import_module(f"homeassistant.components.{domain}.backup")

    async def location(self) -> BackupAgent:
        """A new backup agent without a cached listing."""
        (location,) = await self._module.async_get_backup_agents(self._hass)
        assert isinstance(location, BackupAgent)
        return location

    async def list(self) -> list[AgentBackup]:
        return await (await self.location()).async_list_backups()

    async def read(self, backup_id: str) -> bytes:
        stream = await (await self.location()).async_download_backup(backup_id)
        return b"".join([chunk async for chunk in stream])


type SetUpTheirs = Callable[..., Coroutine[Any, Any, Theirs]]


@pytest.fixture
async def theirs(
    hass: HomeAssistant, load: Load, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[SetUpTheirs]:
    """Sets up an integration of Home Assistant with other settings."""
    # They have no setting for the region.
    monkeypatch.setenv("AWS_DEFAULT_REGION", setting("TEST_S3_REGION"))
    entries = []

    async def set_up(domain: str, **settings: str) -> Theirs:
        keys = {name: storage.data[name] for name in ("access_key_id", "secret_access_key")}
        place = {"endpoint_url": storage.endpoint, "bucket": storage.bucket}
        entry = await load(MockConfigEntry(domain=domain, data=keys | place | settings))
        assert entry.state is ConfigEntryState.LOADED, entry.reason
        entries.append(entry)
        return Theirs(hass, domain)

    yield set_up
    for entry in entries:
        assert await hass.config_entries.async_unload(entry.entry_id)


in_each_place = pytest.mark.parametrize(
    ("domain", "folder", "size"),
    [
        ("aws_s3", "", len(CONTENT)),
        ("aws_s3", "backups", 5),
        ("cloudflare_r2", "", 5),
        ("cloudflare_r2", "backups", len(CONTENT)),
    ],
)


@takes_prefix
@in_each_place
async def test_backups_of_core_integrations_are_usable(
    ours: SetUpOurs,
    theirs: SetUpTheirs,
    bucket: Bucket,
    storage: Storage,
    domain: str,
    folder: str,
    size: int,
) -> None:
    other = await theirs(domain, prefix=f"{storage.prefix}/{folder}".rstrip("/"))
    backup = full(size)
    await store(await other.location(), backup)
    agent = await ours(folder=folder)
    assert await agent.async_list_backups() == [backup]
    assert await read(agent, backup.backup_id) == CONTENT[:size]
    await agent.async_delete_backup(backup.backup_id)
    assert bucket.objects() == {}
    assert await other.list() == []


@takes_prefix
@in_each_place
async def test_core_integrations_use_our_backups(
    ours: SetUpOurs,
    theirs: SetUpTheirs,
    bucket: Bucket,
    storage: Storage,
    domain: str,
    folder: str,
    size: int,
) -> None:
    agent = await ours(folder=folder)
    backup = full(size)
    await store(agent, backup)
    other = await theirs(domain, prefix=f"{storage.prefix}/{folder}".rstrip("/"))
    assert await other.list() == [backup]
    assert await other.read(backup.backup_id) == CONTENT[:size]
    await (await other.location()).async_delete_backup(backup.backup_id)
    assert bucket.objects() == {}
    assert await listed_anew(agent) == []


@takes_prefix
async def test_backups_without_folder_are_shared(
    ours: SetUpOurs, theirs: SetUpTheirs, whole_bucket: Bucket
) -> None:
    other = await theirs("idrive_e2", bucket=whole_bucket.name)
    first, second = full(3, name="First"), full(4, name="Second")
    await store(await other.location(), first)
    agent = await ours(bucket=whole_bucket.name, prefix="", folder="")
    assert await agent.async_list_backups() == [first]
    assert await read(agent, first.backup_id) == CONTENT[:3]
    await store(agent, second)
    assert {backup.backup_id: backup for backup in await other.list()} == {
        first.backup_id: first,
        second.backup_id: second,
    }
    assert await other.read(second.backup_id) == CONTENT[:4]
    await (await other.location()).async_delete_backup(second.backup_id)
    assert await listed_anew(agent) == [first.backup_id]
    await agent.async_delete_backup(first.backup_id)
    assert whole_bucket.objects() == {}


@takes_prefix
async def test_backup_in_both_locations_is_deleted_in_both(
    hass: HomeAssistant,
    ours: SetUpOurs,
    theirs: SetUpTheirs,
    bucket: Bucket,
    storage: Storage,
    hass_ws_client: WebSocketGenerator,
) -> None:
    """Home Assistant shows one backup in two locations."""
    other = await theirs("aws_s3", prefix=storage.prefix)
    backup = full(5)
    await store(await other.location(), backup)
    agent = await ours(folder="")
    client = await hass_ws_client(hass)
    await client.send_json_auto_id({"type": "backup/info"})
    (seen,) = (await client.receive_json())["result"]["backups"]
    assert set(seen["agents"]) == {agent.agent_id, (await other.location()).agent_id}
    await client.send_json_auto_id({"type": "backup/delete", "backup_id": backup.backup_id})
    assert (await client.receive_json())["result"]["agent_errors"] == {}
    assert bucket.objects() == {}


@takes_prefix
async def test_core_integrations_list_backups_of_command_line(
    ours: SetUpOurs, theirs: SetUpTheirs, storage: Storage
) -> None:
    """Archives of Home Assistant keep all metadata, other files get the required members."""

    def run(*command: str, content: bytes = b"") -> dict[str, Any]:
        names = ("endpoint", "region", "bucket", "prefix", "access_key_id", "secret_access_key")
        environment = {f"S3_BACKUP_AGENT_{name.upper()}": storage.data[name] for name in names}
        environment |= {"S3_BACKUP_AGENT_FOLDER": "", "S3_BACKUP_AGENT_ADDRESSING_STYLE": "path"}
        done = subprocess.run(
            [setting("S3_BACKUP_AGENT_BIN"), *command, "--json"],
            input=content,
            env=environment,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    other = await theirs("aws_s3", prefix=storage.prefix)
    for file in REAL:
        backup_id = run("upload", str(file))["backup"]["id"]
        assert await other.read(backup_id) == file.read_bytes()
    sparse = run("upload", "-", "--name", "postgres", content=b"dump")["backup"]["id"]
    listed = {backup.backup_id: backup for backup in await other.list()}
    assert listed[sparse].size == 4
    agent = await ours(folder="")
    assert listed == {backup.backup_id: backup for backup in await agent.async_list_backups()}
    for backup_id in listed:
        await agent.async_delete_backup(backup_id)


# Custom integrations

#: The integration, its prefix, and the prefix and the folder here. {} is a test prefix.
PLACES = [
    (CORE, "{}", "{}", ""),
    (CORE, "{}/deeper", "{}/deeper", ""),
    (CORE, "{}/backups", "{}", "backups"),
    (BAUER_GROUP, "{}", "{}", "backups"),
    (BAUER_GROUP, "/{}/", "{}", "backups"),
    (PHANTOM_PHOTON, "{}/", "{}", ""),
    (PHANTOM_PHOTON, "{}/backups/", "{}", "backups"),
    (PHANTOM_PHOTON, "{}/start-of-names-", "{}", ""),
    (REYDAN46, " /{}/", "{}", ""),
]


def name_of(parameter: object) -> str | None:
    return parameter.name if isinstance(parameter, Writer) else None


@pytest.mark.parametrize(("writer", "theirs", "prefix", "folder"), PLACES, ids=name_of)
async def test_backups_of_custom_integrations_are_usable(
    ours: SetUpOurs,
    bucket: Bucket,
    storage: Storage,
    writer: Writer,
    theirs: str,
    prefix: str,
    folder: str,
) -> None:
    backup = full(5, name='Vor 12:30, "alles"? <ja> | 1*1 🏠')
    bucket.put(writer.objects(theirs.format(storage.prefix), backup, CONTENT[:5]))
    agent = await ours(prefix=prefix.format(storage.prefix), folder=folder)
    assert await agent.async_list_backups() == [backup]
    assert await read(agent, backup.backup_id) == CONTENT[:5]
    await agent.async_delete_backup(backup.backup_id)
    assert bucket.objects() == {}


@pytest.mark.parametrize(
    ("writer", "theirs", "prefix", "folder"),
    [place for place in PLACES if not place[1].endswith("-")],
    ids=name_of,
)
async def test_custom_integrations_use_our_backups(
    ours: SetUpOurs,
    bucket: Bucket,
    storage: Storage,
    writer: Writer,
    theirs: str,
    prefix: str,
    folder: str,
) -> None:
    agent = await ours(prefix=prefix.format(storage.prefix), folder=folder)
    backup = full(5)
    await store(agent, backup)
    objects, entered = bucket.objects(), theirs.format(storage.prefix)
    assert writer.listed(entered, objects) == [backup]
    assert objects[writer.archive_key(entered, backup)] == CONTENT[:5]
    # They delete both objects, the archive first.
    assert set(objects) == set(writer.objects(entered, backup, b""))


async def test_metadata_has_required_members(ours: SetUpOurs, bucket: Bucket) -> None:
    await store(await ours(), full(5))
    (content,) = (body for key, body in bucket.objects().items() if key.endswith(DOCUMENT))
    document = json.loads(content)
    assert AgentBackup.from_dict(document)

    def is_needed(member: str) -> bool:
        try:
            AgentBackup.from_dict({name: document[name] for name in document if name != member})
        except KeyError:
            return True
        return False

    assert {member for member in document if is_needed(member)} == NEEDED


@pytest.mark.parametrize("name", ["Vor 12:30", "1/2", ".hidden", "ü" * 100])
async def test_names_that_other_integrations_do_not_find(
    ours: SetUpOurs, bucket: Bucket, storage: Storage, name: str
) -> None:
    """They list the backup, but look for its archive under another key."""
    agent = await ours()
    backup = full(5, name=name)
    await store(agent, backup)
    objects = bucket.objects()
    assert BAUER_GROUP.listed(storage.prefix, objects) == [backup]
    assert BAUER_GROUP.archive_key(storage.prefix, backup) not in objects
    assert await read(agent, backup.backup_id) == CONTENT[:5]


async def test_name_with_slash_is_subfolder(
    ours: SetUpOurs, bucket: Bucket, storage: Storage
) -> None:
    """The backup is found if the prefix includes this folder."""
    backup = full(5, name="1/2")
    objects = BAUER_GROUP.objects(storage.prefix, backup, CONTENT[:5])
    bucket.put(objects)
    agent = await ours()
    assert await agent.async_list_backups() == []
    assert bucket.objects() == objects
    below = await ours(prefix=f"{storage.prefix}/backups/1", folder="")
    assert await below.async_list_backups() == [backup]
