"""Prints the results of a run of the scenarios as JSON: `report.py OUTPUT`, with the output of
cargo nextest or cargo test. The environment is that of the server.

    {"server": "garage", "version": "2.5.0", "tls": false, "passed": 85, "failed": ["e2e::..."],
     "permissions": [["s3:PutObject", "upload", "access_denied s3:PutObject"], ...],
     "month": "2026-11", "differs": ["..."]}
"""

import datetime
import json
import os
import re
import sys
from pathlib import Path

from traits import differences

# As in "        PASS [   0.1s] (1/85) s3-backup-agent::it e2e::x::y" and "test e2e::x::y ... ok".
NEXTEST = re.compile(r"^ *(PASS|FAIL|SIG\w+|TIMEOUT|ABORT) +\[.*\] .*::it (\w+::\S+)$")
LIBTEST = re.compile(r"^test (\w+::\S+) \.\.\. (ok|FAILED)$")


def results(output: str) -> dict[str, bool]:
    """Whether each test passed. The last line about a test counts."""
    found = {}
    for line in output.splitlines():
        if match := NEXTEST.match(line):
            found[match[2]] = match[1] == "PASS"
        elif match := LIBTEST.match(line):
            found[match[1]] = match[2] == "ok"
    return found


def main() -> None:
    output = Path(sys.argv[1]).read_text()
    tests = results(output)
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in output.splitlines()
        if line.startswith(("| none |", "| s3:"))
    ]
    report = {
        "server": os.environ["TEST_S3_NAME"],
        "version": os.environ["TEST_S3_VERSION"],
        "tls": "TEST_S3_CA_CERTIFICATE" in os.environ,
        "passed": sum(tests.values()),
        "failed": sorted(name for name, passed in tests.items() if not passed),
        "permissions": rows,
        "month": datetime.datetime.now(datetime.UTC).strftime("%Y-%m"),
        "differs": differences(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
