"""The agent's log: levels, secrets, large logs, and the last lines."""

import logging

import pytest
from agent import AgentGone
from agent.log import Redactor
from support import fails, scripted

SECRET = 's3cr/t+k"y'  # as support.scripted sets it


async def test_log_keeps_levels_and_redacts_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with scripted("logs_secrets") as client:
        with pytest.raises(AgentGone) as caught:
            await client.list("t1")
        tail = client.log_tail
    error = caught.value
    assert error.details["exit_code"] == 70
    everything = [caplog.text, error.message, repr(error.details), *tail]
    everything += [str(vars(record)) for record in caplog.records]
    spellings = [SECRET, SECRET.replace('"', '\\"'), "s3cr%2Ft%2Bk%22y"]
    assert not [text for text in everything if any(word in text for word in spellings)]

    found = {record.message: record.levelno for record in caplog.records if "agent" in record.name}
    assert found["the key is **REDACTED**"] == logging.INFO
    assert found["details (key: **REDACTED**, id: 3)"] == logging.WARNING
    assert found["nested (config: {'key': ['**REDACTED**']})"] == logging.DEBUG
    assert found["thread panicked at **REDACTED**"] == logging.ERROR
    assert any("loud" in text and level == logging.ERROR for text, level in found.items())
    assert max(len(line) for line in tail) <= 3 * 8192


def test_redactor_replaces_all_spellings() -> None:
    redact = Redactor()
    assert redact("nothing to hide") == "nothing to hide"
    redact.add(["abcd", "abcdef", "a/b+c=", "ab", ""])
    assert redact("abcdef abcd a%2Fb%2Bc%3D a/b+c= ab") == " ".join(["**REDACTED**"] * 4) + " ab"


async def test_log_redacts_proxy_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:the key is@proxy:3128")
    async with scripted("logs_secrets") as client:
        with fails("agent_gone"):
            await client.list("t1")
    assert "**REDACTED** **REDACTED**" in caplog.text


async def test_log_uses_given_logger(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mine")
    logger.setLevel(logging.WARNING)
    async with scripted("logs_secrets", logger=logger) as client:
        with fails("agent_gone"):
            await client.list("t1")
    levels = {record.levelno for record in caplog.records if record.name == "mine"}
    assert levels == {logging.WARNING, logging.ERROR}


async def test_log_of_one_megabyte_does_not_block_requests() -> None:
    async with scripted("logs_a_megabyte") as client:
        assert (await client.list("t1", deadline=30)).backups == ()
        await client.stop()
        assert len(client.log_tail) == 50
        assert client.log_tail[-1].startswith("line 8999 (filler: xxx")
