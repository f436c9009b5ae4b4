"""Diagnostics."""

import json
from urllib.parse import quote

import pytest
from conftest import Storage, agent_of, read, upload
from custom_components.s3_backup_agent.agent import AgentError
from custom_components.s3_backup_agent.const import AGENT_VERSION
from custom_components.s3_backup_agent.diagnostics import async_get_config_entry_diagnostics
from homeassistant.components.backup import BackupNotFound
from homeassistant.components.diagnostics import REDACTED
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry


async def test_diagnostics_contain_no_secrets_or_names(
    hass: HomeAssistant, entry: MockConfigEntry, storage: Storage
) -> None:
    agent = agent_of(hass, entry)
    backup = await upload(agent, b"x" * 100, name="Christmas")
    gone = await upload(agent, b"x" * 100, name="Easter")
    await agent.async_delete_backup(gone.backup_id)
    storage.put("backups/Whitsun.metadata.json", "not JSON")
    storage.put("backups/Whitsun.tar", "junk")
    with pytest.raises(BackupNotFound):
        await read(agent, "Michaelmas")
    coordinator = entry.runtime_data.coordinator
    await coordinator.async_refresh()
    secret = storage.form["secret_access_key"]
    key = storage.form["access_key_id"]
    error = AgentError(
        f"no: {secret}",
        code="remote_error",
        details={"host": f"x?key={secret}", "list": [1, secret]},
        upstream={"message": f"No such key: {key}", "request_id": quote(secret, safe="")},
    )
    coordinator.health.failed("upload", error)

    data = await async_get_config_entry_diagnostics(hass, entry)
    assert data["config"]["bucket"] == storage.bucket
    assert data["config"]["secret_access_key"] == data["config"]["access_key_id"] == REDACTED
    assert data["agent"]["version"] == AGENT_VERSION
    assert data["agent_log"]
    assert data["last_error"]["code"] == "remote_error"
    assert data["last_upload"]
    assert [(b["size"], b["has_checksums"]) for b in data["backups"]] == [(100, True)]
    assert data["skipped"] == ["corrupt_metadata"]

    text = json.dumps(data)
    assert secret not in text
    assert quote(secret, safe="") not in text
    assert storage.form["access_key_id"] not in text
    # In object keys, details and messages.
    for name in ("Christmas", "Easter", "Whitsun", "Michaelmas", backup.backup_id, gone.backup_id):
        assert name.lower() not in text.lower()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('the backup "Xmas" exists', 'the backup "**REDACTED**" exists'),
        ('the bucket "b" does not exist', 'the bucket "b" does not exist'),
        ("GetObject p/backups/My Xmas 2.tar: no", "**REDACTED**.tar: no"),
        ("gone (key: p/backups/Xmas, size: 3)", "gone (key: **REDACTED**, size: 3)"),
        ("gone (size: 3, name: Xmas, at home)", "gone (size: 3, name: **REDACTED**)"),
        ("sent (retries: 2)", "sent (retries: 2)"),
    ],
)
async def test_diagnostics_redact_names_of_deleted_backups(
    hass: HomeAssistant, entry: MockConfigEntry, text: str, shown: str
) -> None:
    hass.config_entries.async_update_entry(entry, data=entry.data | {"bucket": "b"})
    error = AgentError(text, code="remote_error", details={"member": text, "key": "Xmas"})
    entry.runtime_data.coordinator.health.failed("upload", error)
    data = await async_get_config_entry_diagnostics(hass, entry)
    assert data["last_error"]["message"] == data["last_error"]["details"]["member"] == shown
    assert "Xmas" not in json.dumps(data)


async def test_diagnostics_without_agent(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await entry.runtime_data.client.stop()
    data = await async_get_config_entry_diagnostics(hass, entry)
    assert data["agent"] is None
    assert data["last_error"] is None
