"""The reference hosts reject programs that are not agents, in seconds and with little memory."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import setting

REFERENCE = Path(__file__).parents[2] / "protocol/reference"
HELLO = '{"method":"hello","params":{"protocol":"backup-agent","versions":[1],"limits":%s}}'
LITTLE = 512 << 20  # more than a host needs, less than a flood of messages in ten seconds


def hosts() -> dict[str, list[str]]:
    return {
        "python": [sys.executable, str(REFERENCE / "host.py")],
        "node": [setting("NODE_BIN"), str(REFERENCE / "host.mjs")],
    }


@pytest.mark.parametrize("name", ["python", "node"])
@pytest.mark.parametrize(
    ("lines", "then"),
    [
        (['{"method":"hello","params":[]}'], "cat >/dev/null"),
        (
            ['{"method":"hello","params":{"protocol":"backup-agent","versions":1}}'],
            "cat >/dev/null",
        ),
        ([HELLO % '"x"'], "exit 3"),
        ([HELLO % "{}"], "cat >/dev/null"),
        ([HELLO % "{}"], 'yes \'{"method":"hello","params":{}}\''),
        ([], "yes x | tr -d '\\n' >&2"),
        ([], "yes | tr -d '\\n'"),
        ([], "yes ''"),
    ],
    ids=str,
)
def test_odd_agent_is_given_up(name: str, lines: list[str], then: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"type":"memory"}')
    agent = ["sh", "-c", f'for line; do echo "$line"; done; {then}', "sh", *lines]
    environment = os.environ | {
        "BACKUP_AGENT": json.dumps(agent),
        "BACKUP_AGENT_CONFIG": str(config),
    }
    done = subprocess.run(
        [*hosts()[name], "list"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    code = done.stderr.partition("\n")[0]
    assert done.returncode == 2, done
    assert code in ("agent_start_failed", "agent_gone", "agent_protocol"), done
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < LITTLE >> 10
