"""Repair issues: how they are created and resolved, and their repair flows."""

from typing import Any

import pytest
from conftest import FaultyServer, Load, Storage, agent_of, answer, health_of, new_entry, upload
from custom_components.s3_backup_agent.agent import AgentError
from custom_components.s3_backup_agent.backup import S3BackupAgent
from custom_components.s3_backup_agent.const import DOMAIN
from custom_components.s3_backup_agent.issues import ISSUES, VALIDATE, async_raise_error
from custom_components.s3_backup_agent.repairs import async_create_fix_flow
from homeassistant.components import repairs
from homeassistant.components.backup import BackupAgentError
from homeassistant.components.repairs import RepairsFlow
from homeassistant.components.repairs.const import DOMAIN as REPAIRS
from homeassistant.config_entries import SOURCE_REAUTH, SOURCE_RECONFIGURE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
from pytest_homeassistant_custom_component.common import MockConfigEntry, flush_store


def issue(hass: HomeAssistant, entry: MockConfigEntry, code: str) -> ir.IssueEntry | None:
    return ir.async_get(hass).async_get_issue(DOMAIN, f"{code}_{entry.entry_id}")


async def test_issue_survives_restart(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer, hass_storage: Any
) -> None:
    entry = await load(new_entry(storage.data))
    full = answer(403, "QuotaExceeded")
    faulty.rule = lambda line: full if line.startswith("PUT") else None
    with pytest.raises(BackupAgentError):
        await upload(agent_of(hass, entry), b"x")
    assert issue(hass, entry, "quota_exceeded")

    registry = ir.async_get(hass)
    await flush_store(registry._store)
    kept = hass_storage[ir.STORAGE_KEY]["data"]["issues"]
    (one,) = [item for item in kept if item["domain"] == DOMAIN]
    assert one["data"]["operation"] == "upload"
    registry.issues.clear()
    await registry.async_load()

    # A successful setup and listing does not resolve it.
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert issue(hass, entry, "quota_exceeded")
    faulty.rule = lambda _: None
    await upload(agent_of(hass, entry), b"x")
    assert not issue(hass, entry, "quota_exceeded")


async def test_issue_is_resolved_by_any_success(
    hass: HomeAssistant, agent: S3BackupAgent, entry: MockConfigEntry
) -> None:
    health = health_of(agent)
    for code in ISSUES:
        async_raise_error(hass, entry.entry_id, "T", "delete", AgentError("no", code=code))
    health.succeeded("list")
    left = {code for code in ISSUES if issue(hass, entry, code)}
    assert left == {code for code in ISSUES if not ISSUES[code].any_success_resolves}
    health.succeeded("delete")
    assert not any(issue(hass, entry, code) for code in ISSUES)


async def test_issues_end_with_entry(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    for code in ISSUES:
        async_raise_error(hass, entry.entry_id, "T", "delete", AgentError("no", code=code))
    await hass.config_entries.async_remove(entry.entry_id)
    assert not any(issue(hass, entry, code) for code in ISSUES)


async def fix(hass: HomeAssistant, entry: MockConfigEntry, code: str) -> RepairsFlow:
    """The repair flow of an issue."""
    assert await async_setup_component(hass, REPAIRS, {})
    known = issue(hass, entry, code)
    assert known
    assert known.is_fixable
    flow = await async_create_fix_flow(hass, known.issue_id, known.data)
    flow.hass, flow.issue_id, flow.flow_id, flow.handler = hass, known.issue_id, "f", DOMAIN
    flow.context = {"issue_id": known.issue_id}
    first: Any = await flow.async_step_init()
    assert (first["type"], first["step_id"]) == (FlowResultType.FORM, "confirm")
    assert first["description_placeholders"]["title"] == "T"
    return flow


@pytest.mark.parametrize(
    "code", [code for code in ISSUES if ISSUES[code].fix not in (None, "cleanup")]
)
async def test_repair_opens_form(
    hass: HomeAssistant, entry: MockConfigEntry, storage: Storage, code: str
) -> None:
    # Only another validation resolves it.
    async_raise_error(hass, entry.entry_id, "T", VALIDATE, AgentError("no", code=code))
    flow = await fix(hass, entry, code)
    result: Any = await flow.async_step_confirm({})
    assert result["type"] is FlowResultType.ABORT
    assert issue(hass, entry, code)
    source = SOURCE_REAUTH if ISSUES[code].fix == "reauth" else SOURCE_RECONFIGURE
    (form,) = entry.async_get_active_flows(hass, {source})
    # A second click opens the same form.
    again: Any = await flow.async_step_confirm({})
    # Releases before 2026.4 cannot open another flow.
    leads_on = hasattr(repairs, "FlowType")
    for ended in (result, again):
        assert ended["reason"] == ("form_opens" if leads_on else "open_integration")
        if leads_on:
            assert ended["next_flow"] == ("config_flow", form["flow_id"])
    # Settings that work resolve it.
    given = {name: storage.form[name] for name in ("access_key_id", "secret_access_key")}
    if source == SOURCE_RECONFIGURE:
        given |= {"endpoint": storage.endpoint, "more": {}}
    done = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    await hass.async_block_till_done()
    assert done["reason"] in ("reauth_successful", "reconfigure_successful")
    assert not issue(hass, entry, code)


async def test_repair_runs_cleanup(
    hass: HomeAssistant, load: Load, storage: Storage, faulty: FaultyServer
) -> None:
    entry = await load(new_entry(storage.data))
    error = AgentError("no", code="incomplete_uploads")
    async_raise_error(hass, entry.entry_id, "T", "cleanup", error)
    flow = await fix(hass, entry, "incomplete_uploads")
    faulty.rule = lambda _: answer(403, "AccessDenied")
    result: Any = await flow.async_step_confirm({})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "not_removed")
    faulty.rule = lambda _: None
    result = await flow.async_step_confirm({})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert not issue(hass, entry, "incomplete_uploads")
    assert await hass.config_entries.async_unload(entry.entry_id)
    result = await flow.async_step_confirm({})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "open_integration")


async def test_repair_of_deleted_entry_ends(hass: HomeAssistant) -> None:
    for data in (None, {"entry_id": "gone", "code": "object_locked"}):
        flow = await async_create_fix_flow(hass, "x", data)
        flow.hass, flow.flow_id, flow.handler, flow.context = hass, "f", DOMAIN, {"issue_id": "x"}
        result: Any = await flow.async_step_init()
        assert result["type"] is FlowResultType.CREATE_ENTRY
