"""Diagnostics help, and give nothing away."""

import json
from urllib.parse import quote

from conftest import Storage, agent_of, upload
from custom_components.s3_backup_agent.agent import AgentError
from custom_components.s3_backup_agent.const import AGENT_VERSION
from custom_components.s3_backup_agent.diagnostics import async_get_config_entry_diagnostics
from homeassistant.components.diagnostics import REDACTED
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry


async def test_diagnostics(hass: HomeAssistant, entry: MockConfigEntry, storage: Storage) -> None:
    backup = await upload(agent_of(hass, entry), b"x" * 100, name="Private name")
    storage.put("backups/junk.metadata.json", "not JSON")
    storage.put("backups/junk.tar", "junk")
    coordinator = entry.runtime_data.coordinator
    await coordinator.async_refresh()
    secret = storage.form["secret_access_key"]
    key = storage.form["access_key_id"]
    error = AgentError(
        f"no: {secret}",
        code="remote_error",
        facts={"host": f"x?key={secret}", "list": [1, secret]},
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
    assert [(b["id"], b["size"], b["verifiable"]) for b in data["backups"]] == [
        (backup.backup_id, 100, True)
    ]
    assert [item["code"] for item in data["skipped"]] == ["corrupt_metadata"]

    text = json.dumps(data)
    assert secret not in text
    assert quote(secret, safe="") not in text
    assert storage.form["access_key_id"] not in text
    assert "Private name" not in text


async def test_without_an_agent(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await entry.runtime_data.client.stop()
    data = await async_get_config_entry_diagnostics(hass, entry)
    assert data["agent"] is None
    assert data["last_error"] is None
