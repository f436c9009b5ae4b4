"""Adding a backup location through the API."""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import pytest
from conftest import Flow, Storage, program_of_the_wheel
from home_assistant import HomeAssistant, Json
from pausing_proxy import PausingProxy


async def test_form_shows_error_at_its_field(
    flow: Flow, form: Json, proxy: PausingProxy, unused_tcp_port: int
) -> None:
    answer = await flow.start()
    assert (answer["type"], answer["step_id"]) == ("form", "connection")
    form = form | {"prefix": f"{form['prefix']}-of-another"}
    closed = f"http://127.0.0.1:{unused_tcp_port}"
    for wrong, errors in (
        ({"secret_access_key": "wrong"}, {"secret_access_key": "invalid_credentials_signature"}),
        ({"access_key_id": "nobody"}, {"access_key_id": "invalid_credentials_access_key"}),
        ({"bucket": "s3-backup-agent-missing"}, {"bucket": "bucket_not_found"}),
        ({"endpoint": closed}, {"endpoint": "cannot_connect"}),
    ):
        answer = await flow.fill(form | wrong)
        assert (answer["type"], answer["errors"]) == ("form", errors)


async def test_form_refuses_configured_location(flow: Flow, entry: Json, form: Json) -> None:
    await flow.start()
    answer = await flow.fill(form | {"prefix": f"/{form['prefix']}/"})
    assert (answer["type"], answer["reason"]) == ("abort", "already_configured")


async def test_program_is_installed_from_wheel(home: HomeAssistant, entry: Json) -> None:
    """Home Assistant installs it as a requirement of the manifest."""
    (agent,) = home.agents()
    program = home.program(agent)
    assert program == home.venv / "bin" / "s3-backup-agent"
    digest = await asyncio.to_thread(lambda: hashlib.sha256(program.read_bytes()).hexdigest())
    assert digest == hashlib.sha256(program_of_the_wheel()).hexdigest()


async def test_secrets_are_not_visible(home: HomeAssistant, entry: Json, storage: Storage) -> None:
    """Neither in the log, nor in files that other users can read."""
    assert storage.secret_access_key not in home.log
    (agent,) = home.agents()
    for file in ("cmdline", "environ"):
        # Only root can read `environ`.
        with contextlib.suppress(PermissionError):
            content = Path(f"/proc/{agent}/{file}").read_bytes()
            assert storage.secret_access_key.encode() not in content
    diagnostics = await home.get(f"/api/diagnostics/config_entry/{entry['entry_id']}")
    assert diagnostics["data"]
    text = str(diagnostics)
    assert storage.secret_access_key not in text
    assert storage.access_key_id not in text


async def test_entry_added_again_has_same_location_id(
    home: HomeAssistant, entry: Json, form: Json, agent_id: str
) -> None:
    """After deleting and adding the entry, the schedule applies to the same location."""
    await home.delete(f"/api/config/config_entries/entry/{entry['entry_id']}")
    await home.until(lambda: not home.agents(), "the agent has ended")
    flow = Flow(home)
    await flow.start()
    answer = await flow.fill(form)
    assert answer["type"] == "create_entry"
    await home.until(home.locations, "the backup manager knows the location")
    assert await home.locations() == [agent_id]
    entry.update(answer["result"])


@pytest.mark.parametrize("times", [1, 2])
async def test_reload_keeps_one_agent(
    home: HomeAssistant, entry: Json, agent_id: str, times: int
) -> None:
    for _ in range(times):
        answer = await home.post(f"/api/config/config_entries/entry/{entry['entry_id']}/reload")
        assert not answer["require_restart"]
    await home.until(home.locations, "the backup manager knows the location")
    await home.backups(agent_id)
    assert len(home.agents()) == 1
