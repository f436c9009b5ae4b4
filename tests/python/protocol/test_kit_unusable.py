"""The conformance kit stops with one sentence if the program under test does not work at all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

KIT = Path(__file__).resolve().parents[3] / "protocol/conformance/conform.py"
REFERENCE = [sys.executable, str(KIT.parents[1] / "reference/agent.py")]

# The first messages of an agent, and its first responses.
HELLO = '{"method":"hello","params":{"protocol":"backup-agent","versions":[1],"limits":{}}}'
INITIALIZED = '{"id":1,"result":{"protocol":1}}'
OPENED = '{"id":2,"result":{"target":"t1"}}'
REFUSED = '{"id":2,"error":{"code":-32000,"message":"no %s","data":{"code":"invalid_config"}}}'

SILENT = "the program is not an agent: saw nothing for 5 s, expected hello"


def run(side: str, *words: str) -> tuple[str, int]:
    """Returns the output of the kit after its plan, and its exit code."""
    command = [sys.executable, str(KIT), side, "--timeout", "5", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    head, _, said = done.stdout.partition("\nBail out! ")
    assert head.startswith("TAP version 13\n1.."), done
    assert (done.stderr, head.count("\n"), said.count("\n")) == ("", 1, 1), done
    return said.strip(), done.returncode


def saying(*lines: str, then: str = "cat >/dev/null") -> list[str]:
    """Returns a program that prints these lines for any input."""
    return ["sh", "-c", f'printf "%s\\n" "$@"; {then}', "sh", *lines]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["cat"], SILENT),
        (["sleep", "100"], SILENT),
        (["yes", ""], SILENT),
        (["sh", "-c", "yes >&2"], SILENT),
        (["sh", "-c", "sleep 9 & setsid sleep 9"], SILENT),
        (["false"], "ended with exit code 1, log: none, expected hello"),
        (["sh", "-c", "echo why >&2; kill -9 $$"], "ended with signal 9, log: why"),
        (["/nonexistent"], "the agent cannot be started: [Errno 2]"),
        (["/etc/passwd"], "the agent cannot be started: [Errno 13]"),
        (["yes"], r"saw b'y\n' instead of a line of JSON, expected hello"),
        (["cat", "/dev/zero"], "saw a line without an end"),
        (["sh", "-c", "exec >&-; sleep 100"], "closed its output and did not end"),
        (saying('{"method":"hi","params":{}}'), "expected hello"),
        (saying('{"method":"hello"}'), "saw a message of an unexpected form"),
        (saying('{"method":"hello","params":[]}'), "saw a message of an unexpected form"),
        (saying(HELLO.replace("[1]", "[2]")), "does not speak version 1 of the protocol"),
        (saying(HELLO, then="exit 3"), "ended with exit code 3"),
        (saying(HELLO), "saw nothing for 5 s, expected a response to initialize"),
        (saying(HELLO.replace("[1]", "1")), "saw a message of an unexpected form"),
        (saying(HELLO, '{"id":1,"result":7}'), "does not speak version 1"),
        (
            saying(HELLO, INITIALIZED, REFUSED % "x"),
            'refuses the config of target.open, which is {"type":"memory"} unless you pass one '
            "with --config FILE: invalid_config: no x",
        ),
        (saying(HELLO, INITIALIZED, OPENED, then="exec >&-; sleep 100"), "cannot list the backups"),
    ],
    ids=str,
)
def test_unusable_agent_ends_the_run_in_one_sentence(command: list[str], sentence: str) -> None:
    said, exit_code = run("agent", "--", *command)
    assert (sentence in said, exit_code) == (True, 1), said


def test_refused_config_shows_no_secret(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"type": "x", "secret_key": "canary" * 60}))
    refused = REFUSED % ("canary" * 60)
    said, _ = run("agent", "--config", str(config), "--", *saying(HELLO, INITIALIZED, refused))
    assert said == "the program refuses the config of target.open: invalid_config: no ***"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["cat"], "exit code 1"),
        (["sh", "-c", "sleep 100"], "saw a host that does not end within 5 s"),
        (["false"], "exit code 1"),
        (["true"], "saw 0 bytes b''"),
        (["/nonexistent"], "the host cannot be started: [Errno 2]"),
        (["yes"], r"saw endless output b'list\nlist\n"),
        (["sh", "-c", "yes >&2"], r"saw endless output b'y\ny\n"),
    ],
    ids=str,
)
def test_unusable_host_ends_the_run_in_one_sentence(command: list[str], sentence: str) -> None:
    said, exit_code = run("host", "--", *command)
    assert (sentence in said, exit_code) == (True, 1), said


def test_agent_that_starts_once_ends_the_run(tmp_path: Path) -> None:
    """The run also ends later, when handshakes no longer work."""
    once = f'mkdir "{tmp_path}/lock" 2>/dev/null || exec sleep 100; exec "$@"'
    command = [sys.executable, str(KIT), "agent", "--timeout", "5", "--json", "--"]
    command += ["sh", "-c", once, "sh", *REFERENCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    sentence = "the last 4 handshakes failed: saw nothing for 5 s, expected hello"
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == f"Bail out! {sentence}\n"


@pytest.mark.parametrize("content", ["", "[]", "{", "7", None])
def test_unreadable_config_is_refused(tmp_path: Path, content: str | None) -> None:
    config = tmp_path / "config.json"
    if content is None:
        os.mkfifo(config)
    else:
        config.write_text(content)
    command = [sys.executable, str(KIT), "agent", "--config", str(config), "--", *REFERENCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: --config {config}: not " in done.stderr.splitlines()[-1]


def under(ignored: Sequence[int], blocked: Sequence[int], command: list[str]) -> list[str]:
    """Returns a command that inherits these signals as ignored and as blocked."""
    program = (
        "import os, signal, sys\n"
        f"for number in {[int(n) for n in ignored]}: signal.signal(number, signal.SIG_IGN)\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, {[int(n) for n in blocked]})\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", program, *command]


@pytest.mark.parametrize(
    ("ignored", "blocked"),
    [
        ([signal.SIGINT], []),
        ([signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD], []),
        ([], [signal.SIGINT, signal.SIGTERM, signal.SIGALRM]),
        ([signal.SIGTERM], [signal.SIGINT]),
    ],
    ids=str,
)
def test_inherited_signals_change_no_verdict(ignored: list[int], blocked: list[int]) -> None:
    host = [sys.executable, str(KIT.parents[1] / "reference/host.py")]
    kit = [sys.executable, str(KIT), "host", "--json", "--only", "S6.interrupted", "--", *host]
    done = subprocess.run(
        under(ignored, blocked, kit), capture_output=True, text=True, timeout=90, check=False
    )
    assert [v["status"] for v in json.loads(done.stdout)] == ["passed"], done
