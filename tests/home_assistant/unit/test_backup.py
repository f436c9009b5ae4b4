"""The backup agent with a real server."""

import asyncio
import gc
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    HANG,
    MIB,
    FaultyServer,
    Load,
    Source,
    Storage,
    agent_of,
    answer,
    health_of,
    new_backup,
    new_entry,
    read,
    upload,
)
from custom_components.s3_backup_agent.agent import (
    AgentClient,
    AgentError,
    Backup,
    Kind,
    UploadResult,
)
from custom_components.s3_backup_agent.backup import S3BackupAgent, agent_backup
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.issues import VERSIONED_BUCKET
from homeassistant.components.backup import (
    BackupAgentError,
    BackupNotFound,
    BackupReaderWriterError,
    suggested_filename,
)
from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.const import EVENT_HOMEASSISTANT_STOP
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

CLIENT = "custom_components.s3_backup_agent.agent.client"
CONTENT = os.urandom(1 << 16) * 384  # 24 MiB: several parts


async def test_backup_can_be_uploaded_listed_downloaded_and_deleted(
    agent: S3BackupAgent, storage: Storage
) -> None:
    source, seen = Source(CONTENT), []
    backup = new_backup(len(CONTENT))

    def on_progress(*, bytes_uploaded: int, **_: Any) -> None:
        seen.append(bytes_uploaded)

    await agent.async_upload_backup(open_stream=source.open, backup=backup, on_progress=on_progress)
    assert (source.opened, source.closed) == (1, 1)
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)

    name = suggested_filename(backup).removesuffix(".tar")
    assert sorted(storage.keys()) == [f"backups/{name}.metadata.json", f"backups/{name}.tar"]
    assert await agent.async_list_backups() == [backup]
    assert await agent.async_get_backup(backup.backup_id) == backup
    assert await read(agent, backup.backup_id) == CONTENT

    await agent.async_delete_backup(backup.backup_id)
    assert await agent.async_list_backups() == []
    assert storage.keys() == storage.unfinished() == []


@pytest.mark.parametrize("chunk", [777, 5 * MIB])
async def test_upload_accepts_chunks_of_any_size(agent: S3BackupAgent, chunk: int) -> None:
    content = CONTENT[: 6 * MIB + 5]
    backup = new_backup(len(content))
    await agent.async_upload_backup(open_stream=Source(content, chunk=chunk).open, backup=backup)
    assert await read(agent, backup.backup_id) == content


async def test_upload_with_same_id_replaces_backup(agent: S3BackupAgent) -> None:
    await upload(agent, b"first", backup_id="same")
    await upload(agent, b"second", backup_id="same")
    assert [backup.size for backup in await agent.async_list_backups()] == [6]
    assert await read(agent, "same") == b"second"


@pytest.mark.parametrize("size", [100, len(CONTENT)])
async def test_upload_of_truncated_source_is_refused(
    agent: S3BackupAgent, storage: Storage, size: int
) -> None:
    source = Source(CONTENT[:size])
    with pytest.raises(BackupAgentError, match="incomplete") as caught:
        await agent.async_upload_backup(open_stream=source.open, backup=new_backup(size + 1))
    assert caught.value.translation_domain == DOMAIN
    assert caught.value.translation_key == "length_mismatch"
    assert caught.value.translation_placeholders
    assert caught.value.translation_placeholders["actual"] == str(size)
    assert (source.opened, source.closed) == (1, 1)
    assert storage.keys() == storage.unfinished() == []


async def test_upload_of_longer_source_is_stored(agent: S3BackupAgent) -> None:
    backup = new_backup(90, backup_id="long")
    await agent.async_upload_backup(open_stream=Source(b"x" * 100).open, backup=backup)
    assert (await agent.async_get_backup("long")).size == 100


async def test_upload_raises_source_error_unchanged(agent: S3BackupAgent, storage: Storage) -> None:
    error = BackupReaderWriterError("the disk is gone")
    source = Source(CONTENT, error)
    with pytest.raises(BackupReaderWriterError) as caught:
        await agent.async_upload_backup(
            open_stream=source.open, backup=new_backup(len(CONTENT) + 1)
        )
    assert caught.value is error
    assert source.closed == 1
    assert storage.keys() == storage.unfinished() == []


async def test_upload_cancelled_leaves_nothing(agent: S3BackupAgent, storage: Storage) -> None:
    reached, closed = asyncio.Event(), asyncio.Event()

    async def endless() -> Any:
        async def stream() -> Any:
            try:
                for start in range(0, len(CONTENT), MIB):
                    yield CONTENT[start : start + MIB]
                reached.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        return stream()

    task = asyncio.create_task(
        agent.async_upload_backup(open_stream=endless, backup=new_backup(1 << 30))
    )
    await reached.wait()
    assert storage.unfinished()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
    assert storage.keys() == storage.unfinished() == []


async def test_upload_with_home_assistant_stopping_leaves_nothing(
    hass: HomeAssistant, agent: S3BackupAgent, storage: Storage
) -> None:
    reached = asyncio.Event()

    async def endless() -> Any:
        async def stream() -> Any:
            for start in range(0, len(CONTENT), MIB):
                yield CONTENT[start : start + MIB]
            reached.set()
            await asyncio.Event().wait()

        return stream()

    task = asyncio.create_task(
        agent.async_upload_backup(open_stream=endless, backup=new_backup(1 << 30))
    )
    await reached.wait()
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    with pytest.raises(BackupAgentError):
        await task
    await hass.async_block_till_done()
    assert health_of(agent).error_code == "none"
    assert storage.keys() == storage.unfinished() == []


async def test_operations_without_answer_time_out(
    hass: HomeAssistant,
    load: Load,
    storage: Storage,
    faulty: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LIST_DEADLINE", "GET_DEADLINE", "DELETE_DEADLINE"):
        monkeypatch.setattr(f"custom_components.s3_backup_agent.backup.{name}", 0.3)
    agent = agent_of(hass, await load(new_entry(storage.data)))
    backup = await upload(agent, b"x")
    # A new agent has no listing in its cache.
    os.kill(agent._client.pid or 0, signal.SIGKILL)
    while agent._client.pid:
        await asyncio.sleep(0.01)
    faulty.rule = lambda _: HANG
    for call in (
        agent.async_list_backups(),
        agent.async_get_backup(backup.backup_id),
        agent.async_delete_backup(backup.backup_id),
    ):
        with pytest.raises(BackupAgentError, match="did not answer in time"):
            await call
    faulty.rule = lambda _: None
    assert await agent.async_list_backups() == [backup]


async def test_missing_backup_raises_not_found(agent: S3BackupAgent) -> None:
    for call in (agent.async_get_backup, agent.async_delete_backup, agent.async_download_backup):
        with pytest.raises(BackupNotFound) as caught:
            await call("nothing")
        assert caught.value.translation_key == "not_found"
        assert "nothing" in str(caught.value)
    assert health_of(agent).error_code == "none"


@pytest.mark.parametrize(
    ("altered", "key"),
    [
        (lambda text: flipped(text, 0), "integrity_mismatch"),
        (lambda text: flipped(text, len(text) // 2), "integrity_mismatch"),
        (lambda text: flipped(text, len(text) - 1), "integrity_mismatch"),
        (lambda text: text + "x", "length_mismatch"),
        (lambda text: text[:-1], "length_mismatch"),
    ],
    ids=["first byte", "middle", "last byte", "appended", "truncated"],
)
async def test_download_of_altered_backup_is_refused(
    agent: S3BackupAgent, storage: Storage, altered: Callable[[str], str], key: str
) -> None:
    content = "0123456789" * 10_000
    backup = await upload(agent, content.encode(), name="Altered")
    archive = f"backups/{suggested_filename(backup)}"
    storage.put(archive, altered(content))
    received = []
    with pytest.raises(BackupAgentError) as caught:
        async for chunk in await agent.async_download_backup(backup.backup_id):
            received.append(chunk)
    assert caught.value.translation_key == key
    assert received == []
    storage.put(archive, content)
    assert await read(agent, backup.backup_id) == content.encode()


def flipped(text: str, position: int) -> str:
    """The text with one bit of the byte at this position inverted."""
    other = chr(ord(text[position]) ^ 1)
    return text[:position] + other + text[position + 1 :]


async def test_download_closed_stops_transfer(agent: S3BackupAgent) -> None:
    backup = await upload(agent, CONTENT)
    # More downloads than the agent runs at the same time.
    for _ in range(8):
        stream: Any = await agent.async_download_backup(backup.backup_id)
        assert await anext(aiter(stream))
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert await read(agent, backup.backup_id) == CONTENT


async def test_download_garbage_collected_stops_transfer(agent: S3BackupAgent) -> None:
    backup = await upload(agent, CONTENT)
    for _ in range(8):
        stream = await agent.async_download_backup(backup.backup_id)
        assert await anext(aiter(stream))
        del stream
        gc.collect()
    assert await read(agent, backup.backup_id) == CONTENT


async def test_download_error_is_raised_again(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    agent = agent_of(hass, await load(new_entry(storage.data)))
    backup = await upload(agent, CONTENT)
    stream = await agent.async_download_backup(backup.backup_id)
    faulty.rule = lambda line: answer(403, "AccessDenied") if line.startswith("GET") else None
    with pytest.raises(BackupAgentError, match="s3:GetObject"):
        async for _ in stream:
            pass
    with pytest.raises(BackupAgentError, match="s3:GetObject"):
        await anext(stream)
    issue_id = f"access_denied_{agent._entry.entry_id}"
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    faulty.rule = lambda _: None
    assert await read(agent, backup.backup_id) == CONTENT
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)


@pytest.mark.parametrize(
    ("status", "code", "key"),
    [
        (403, "InvalidAccessKeyId", "invalid_credentials_access_key"),
        (403, "SignatureDoesNotMatch", "invalid_credentials_signature"),
        (400, "ExpiredToken", "credentials_expired"),
    ],
)
async def test_refused_keys_start_reauth(
    hass: HomeAssistant,
    load: Load,
    storage: Storage,
    faulty: FaultyServer,
    status: int,
    code: str,
    key: str,
) -> None:
    entry = await load(new_entry(storage.data))
    agent = agent_of(hass, entry)
    faulty.rule = lambda _: answer(status, code)
    with pytest.raises(BackupAgentError) as caught:
        await upload(agent, b"x")
    assert caught.value.translation_key == key
    await hass.async_block_till_done()
    flows = list(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))
    assert [flow["step_id"] for flow in flows] == ["reauth_confirm"]


async def test_missing_permission_starts_no_reauth(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    entry = await load(new_entry(storage.data))
    agent = agent_of(hass, entry)
    faulty.rule = lambda line: answer(403, "AccessDenied") if line.startswith("PUT") else None
    with pytest.raises(BackupAgentError, match="s3:PutObject"):
        await upload(agent, b"x")
    await hass.async_block_till_done()
    assert not list(entry.async_get_active_flows(hass, {SOURCE_REAUTH}))


async def test_full_storage_is_issue_until_upload_succeeds(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    entry = await load(new_entry(storage.data))
    agent = agent_of(hass, entry)
    faulty.rule = lambda line: answer(403, "QuotaExceeded") if line.startswith("PUT") else None
    with pytest.raises(BackupAgentError, match="full"):
        await upload(agent, b"x")
    issue_id = f"quota_exceeded_{entry.entry_id}"
    # A successful listing does not resolve the issue.
    await agent.async_list_backups()
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    faulty.rule = lambda _: None
    await upload(agent, b"x")
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)


async def test_versioned_bucket_is_issue(hass: HomeAssistant, agent: S3BackupAgent) -> None:
    issue_id = f"{VERSIONED_BUCKET}_{agent._entry.entry_id}"
    stored = Backup("b", "b", 1, 1, True, {})
    health_of(agent).uploaded(UploadResult(stored, None, "v1"))
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
    health_of(agent).uploaded(UploadResult(stored, None, "null"))
    assert not ir.async_get(hass).async_get_issue(DOMAIN, issue_id)


async def test_agent_killed_is_error_and_restarts(
    agent: S3BackupAgent,
    entry: MockConfigEntry,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = entry.runtime_data.client
    opened = 0

    async def killing_source() -> Any:
        nonlocal opened
        opened += 1

        async def stream() -> Any:
            for start in range(0, len(CONTENT), MIB):
                yield CONTENT[start : start + MIB]
            while not storage.unfinished():
                await asyncio.sleep(0.01)
            kill(client)
            await asyncio.Event().wait()

        return stream()

    monkeypatch.setattr("custom_components.s3_backup_agent.backup.RESUME", 1)
    monkeypatch.setattr(f"{CLIENT}._RETRY_PAUSE", 0)
    backup = new_backup(len(CONTENT) + 1)
    with pytest.raises(BackupAgentError, match="ended unexpectedly"):
        await agent.async_upload_backup(open_stream=killing_source, backup=backup)
    # A second end of the agent is not repeated: it may lack memory.
    assert opened == 2
    assert health_of(agent).error_code == "agent_gone"
    assert await agent.async_list_backups() == []
    # The restarted agent cleans up.
    async with asyncio.timeout(30):
        while storage.unfinished() or storage.keys():
            await asyncio.sleep(0.05)

    backup = await upload(agent, CONTENT)
    stream = await agent.async_download_backup(backup.backup_id)
    kill(client)
    with pytest.raises(BackupAgentError, match="ended unexpectedly"):
        async for _ in stream:
            pass
    assert await agent.async_list_backups() == [backup]
    os.kill(client.pid or 0, signal.SIGSTOP)
    listing = asyncio.create_task(agent.async_list_backups())
    await asyncio.sleep(0)
    kill(client)
    with pytest.raises(BackupAgentError, match="ended unexpectedly"):
        await listing
    assert await read(agent, backup.backup_id) == CONTENT


def kill(client: AgentClient) -> None:
    os.kill(client.pid or 0, signal.SIGKILL)


async def test_upload_resumes_after_agent_was_killed(
    hass: HomeAssistant, load: Load, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CLIENT}._RETRY_PAUSE", 0)
    entry = await load(new_entry(storage.data, {"part_size": 5 * MIB}))
    agent = agent_of(hass, entry)
    uploaded: list[UploadResult] = []
    monkeypatch.setattr(health_of(agent), "uploaded", uploaded.append)
    records = Path(hass.config.cache_path(DOMAIN), "uploads")
    opened, seen = 0, []

    def on_progress(*, bytes_uploaded: int, **_: Any) -> None:
        seen.append(bytes_uploaded)

    async def killing_once() -> Any:
        nonlocal opened
        opened += 1

        async def stream(kills: bool) -> Any:
            for start in range(0, len(CONTENT), MIB):
                yield CONTENT[start : start + MIB]
            while kills:
                parts = [record.read_text().count('"part":') for record in records.glob("*.json")]
                if parts == [4]:
                    kill(agent._client)
                    await asyncio.Event().wait()
                await asyncio.sleep(0.01)

        return stream(opened == 1)

    backup = new_backup(len(CONTENT))
    await agent.async_upload_backup(
        open_stream=killing_once, backup=backup, on_progress=on_progress
    )
    assert opened == 2
    assert [result.resumed_bytes for result in uploaded] == [20 * MIB]
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert await read(agent, backup.backup_id) == CONTENT
    assert len(storage.keys()) == 2
    assert storage.unfinished() == []


async def test_upload_resumes_after_server_failure(
    hass: HomeAssistant,
    load: Load,
    storage: Storage,
    faulty: FaultyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("custom_components.s3_backup_agent.backup.RETRY_FOR", 0)
    monkeypatch.setattr(f"{CLIENT}._RETRY_PAUSE", 0)
    agent = agent_of(hass, await load(new_entry(storage.data, {"part_size": 5 * MIB})))
    source = Source(CONTENT)

    def away_at_first(line: str) -> bytes | None:
        late = re.search(r"partNumber=([345])\b", line)
        return answer(503, "SlowDown") if late and source.opened < 2 else None

    faulty.rule = away_at_first
    backup = new_backup(len(CONTENT))
    await agent.async_upload_backup(open_stream=source.open, backup=backup)
    assert (source.opened, source.closed) == (2, 2)
    accepted = [line for line in faulty.seen if "PUT" in line and "partNumber=" in line]
    assert [sum(f"partNumber={part}&" in line for line in accepted) for part in (1, 2)] == [1, 1]
    assert await read(agent, backup.backup_id) == CONTENT
    assert storage.unfinished() == []


async def test_upload_has_three_attempts(
    agent: S3BackupAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = "custom_components.s3_backup_agent.agent.client"

    async def throttled(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise AgentError("slow down", code="throttled", kind=Kind.TRANSIENT, retryable=True)

    calls: list[int] = []
    monkeypatch.setattr(f"{library}._RETRY_PAUSE", 0)
    monkeypatch.setattr(f"{library}.run_upload", throttled)
    with pytest.raises(BackupAgentError) as caught:
        await upload(agent, b"x")
    assert caught.value.translation_key == "throttled"
    assert len(calls) == 3


async def test_transfer_retries_while_server_fails(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    agent = agent_of(hass, await load(new_entry(storage.data)))
    # More failures than one call retries quickly.
    refusals = [answer(503, "SlowDown")] * 6
    faulty.rule = lambda line: refusals.pop() if line.startswith("PUT") and refusals else None
    source = Source(b"x")
    await agent.async_upload_backup(open_stream=source.open, backup=new_backup(1, backup_id="b"))
    assert (source.opened, refusals) == (1, [])

    # The number of failures for which reading one piece is retried.
    refusals = [answer(503, "SlowDown")] * 21
    faulty.rule = lambda line: (
        refusals.pop() if "GET" in line and ".tar" in line and refusals else None
    )
    assert await read(agent, "b") == b"x"
    assert refusals == []


async def test_backups_page_shows_translated_error(
    hass: HomeAssistant,
    hass_ws_client: WebSocketGenerator,
    load: Load,
    storage: Storage,
    faulty: FaultyServer,
) -> None:
    entry = await load(new_entry(storage.data))
    faulty.rule = lambda _: answer(404, "NoSuchBucket")
    # The last listing is still in the cache.
    with pytest.raises(AgentError):
        await entry.runtime_data.client.list(entry.entry_id, refresh=True)
    socket = await hass_ws_client(hass)
    await socket.send_json_auto_id({"type": "backup/info"})
    result = (await socket.receive_json())["result"]
    message = result["agent_errors"][f"{DOMAIN}.{entry.unique_id}"]
    assert storage.bucket in message


async def test_list_includes_backups_of_other_programs(
    agent: S3BackupAgent, storage: Storage
) -> None:
    storage.put(
        "backups/old.metadata.json",
        json.dumps({"backup_id": "old", "name": "Old one", "size": 3, "addons": [{"x": 1}]}),
    )
    storage.put("backups/old.tar", "tar")
    storage.put("backups/junk.metadata.json", "not JSON")
    storage.put("backups/junk.tar", "junk")
    await agent._client.list(agent._entry.entry_id, refresh=True)
    (backup,) = await agent.async_list_backups()
    assert (backup.backup_id, backup.name, backup.size) == ("old", "Old one", 3)
    assert backup.addons == []
    assert await read(agent, "old") == b"tar"
    await agent.async_delete_backup("old")


def test_agent_backup_accepts_sparse_metadata() -> None:
    metadata = {
        "addons": [{"slug": "a", "unknown": 1}, "?"],
        "folders": ["share", "no-such-folder"],
        "extra_metadata": None,
        "homeassistant_version": 5,
    }
    backup = agent_backup(Backup("b", "name", 1, 2, False, metadata))
    assert [addon.slug for addon in backup.addons] == ["a"]
    assert [folder.value for folder in backup.folders] == ["share"]
    assert backup.extra_metadata == {}
    assert backup.homeassistant_version is None
    assert (backup.name, backup.size) == ("name", 2)
