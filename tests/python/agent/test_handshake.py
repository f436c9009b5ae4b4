"""Programs that are not the agent, or not a compatible version of it."""

import asyncio
import time
from pathlib import Path

import agent.session
import pytest
from agent import AgentClient, AgentStartFailed
from agent.versions import is_compatible
from support import fails, fake_agent_command


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "no_answer" in request.node.name:
        monkeypatch.setattr(agent.session, "HELLO_TIMEOUT", 0.3)


@pytest.mark.parametrize(
    ("scenario", "reason", "words"),
    [
        ("silence", "no_answer", "did not say hello"),
        ("no_answer", "no_answer", "does not answer"),
        ("prints_text", "wrong_program", "Welcome to the machine"),
        ("sends_other_message", "wrong_program", "progress"),
        ("other_protocol", "wrong_program", "speaks another protocol"),
        ("other_version", "wrong_version", "speaks version [7, 8] of the protocol, 1 is needed"),
        ("refuses", "refused", "unsupported_protocol"),
        ("dies", "died", "exit code 3"),
        ("leaves", "died", "exit code 74"),
    ],
)
async def test_start_of_other_program_names_reason(scenario: str, reason: str, words: str) -> None:
    command = fake_agent_command(scenario)
    async with AgentClient(command=command) as client:
        begin = time.monotonic()
        with pytest.raises(AgentStartFailed) as caught:
            await client.start()
        assert time.monotonic() - begin < 5
        assert client.info is None
        assert client.pid is None
    assert caught.value.details["reason"] == reason
    assert caught.value.details["path"] == command[0]
    assert words in caught.value.message
    if scenario == "dies":
        assert caught.value.details["exit_code"] == 3
        assert caught.value.details["stderr_tail"] == "no such library"


async def test_start_of_program_that_ends_at_once_names_reason() -> None:
    async with AgentClient(command=["true"]) as client:
        with pytest.raises(AgentStartFailed) as caught:
            await client.start()
    assert caught.value.details["exit_code"] == 0


@pytest.mark.parametrize(
    ("made_for", "yes", "no"),
    [
        ("0.0.1", ["0.0.0", "0.1.7", "1.0.0"], ["0.2.0", "2.0.0"]),
        ("0.3.1", ["0.2.0", "0.3.0", "0.3.9-rc.1", "0.4.0", "1.9.0"], ["0.1.9", "0.5.0", "2.0.0"]),
        ("1.2.0", ["0.1.0", "0.10.0", "1.0.0", "1.99.3", "2.0.0"], ["3.0.0", "10.0.0"]),
        ("11.0.0", ["10.2.0", "11.1.0", "12.0.0"], ["1.1.0", "9.0.0", "13.0.0", "0.11.0"]),
    ],
)
def test_compatible_versions_are_one_step_apart(
    made_for: str, yes: list[str], no: list[str]
) -> None:
    assert [version for version in yes if not is_compatible(version, made_for)] == []
    assert [
        version for version in ["", "?", ".", "peer", *no] if is_compatible(version, made_for)
    ] == []


async def test_start_checks_agent_version() -> None:
    for made_for in (None, "1.2.3", "2.0.0", "0.7.0"):
        async with AgentClient(command=fake_agent_command("newer"), made_for=made_for) as client:
            info = await client.start()
            assert client.info == info
            assert (info.name, info.version) == ("peer", "1.2.3")
            assert set(info.capabilities) == {"x-new"}
    async with AgentClient(command=fake_agent_command("newer"), made_for="3.0.0") as client:
        with pytest.raises(AgentStartFailed) as caught:
            await client.start()
    assert caught.value.details["reason"] == "wrong_version"
    assert caught.value.details["actual"] == "1.2.3"
    assert caught.value.details["expected"] == "2 / 3 / 4"
    assert "is version 1.2.3, but 2 / 3 / 4 is needed: update the older of" in caught.value.message


async def test_stop_ends_start() -> None:
    client = AgentClient(command=fake_agent_command("silence"))
    start = asyncio.create_task(client.start())
    await asyncio.sleep(0.3)
    begin = time.monotonic()
    await client.stop()
    assert time.monotonic() - begin < 3
    with fails("agent_start_failed"):
        await start


async def test_start_cancelled_leaves_no_process(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    client = AgentClient(command=fake_agent_command("silence", starts))
    start = asyncio.create_task(client.start())
    while not starts.exists():
        await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await client.stop()
    with fails("shutting_down"):
        await client.list("t1")
