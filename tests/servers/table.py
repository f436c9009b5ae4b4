"""Writes the page of tested servers from the reports of the scenarios: `table.py REPORTS PAGE`."""

import json
import sys
from pathlib import Path
from typing import Any

TITLES = {
    "seaweedfs": "[SeaweedFS](https://github.com/seaweedfs/seaweedfs)",
    "ceph": "[Ceph](https://ceph.io) object gateway",
    "garage": "[Garage](https://garagehq.deuxfleurs.fr)",
    "minio": "MinIO's gateway, in [JuiceFS](https://github.com/juicedata/juicefs)",
    "swift": "[OpenStack Swift](https://docs.openstack.org/swift/latest/) with its S3 interface",
    "rclone": "[rclone](https://rclone.org) `serve s3`",
    "moto": "[moto](https://github.com/getmoto/moto)",
}
PAGE = """# Tested S3 servers

`tests/servers/matrix` runs the end-to-end scenarios on each of these servers and writes this page.
Do not edit it by hand. To run one server:

```sh
tests/servers/matrix garage
```

A scenario is a test that runs the real agent and then checks the bucket. The table has the number
of scenarios that passed, without TLS, and with TLS and a private CA. If a server has users with
configurable permissions, one more test removes the permissions one by one.

| server | version | without TLS | TLS | date | differs from AWS |
|---|---|---|---|---|---|
{rows}
{failed}{left_out}{permissions}"""

Report = dict[str, Any]


def passed(report: Report | None) -> str:
    """How many scenarios passed, as a cell of the table."""
    if report is None:
        return "not run"
    failed = len(report["failed"])
    return f"{report['passed']} of {report['passed'] + failed}"


def row(plain: Report, tls: Report | None) -> str:
    """A server, as a row of the table."""
    differs = "; ".join(plain["differs"]) or "no difference found"
    cells = [TITLES[plain["server"]], plain["version"], passed(plain), passed(tls)]
    return f"| {' | '.join([*cells, plain['month'], differs])} |"


def failures(reports: list[Report]) -> str:
    """The scenarios that failed, as a list."""
    lines = [
        f"* {report['server']}{' with TLS' if report['tls'] else ''}: `{name}`"
        for report in reports
        for name in report["failed"]
    ]
    return "\n## Failed\n\n" + "\n".join(lines) + "\n" if lines else ""


def left_out() -> str:
    """The scenarios that a server cannot pass, as a list."""
    rows = [
        line.split("\t")
        for line in (Path(__file__).parent / "cannot.tsv").read_text().splitlines()
        if not line.startswith("#")
    ]
    lines = [f"* {server}: `{scenario}`: {reason}" for server, scenario, reason in rows]
    text = "\n".join(lines) if lines else "None: every scenario runs on every server."
    return f"\n## Skipped\n\n{text}\n"


def permissions(reports: list[Report]) -> str:
    """How each operation ends without each permission, on each server with such users."""
    text = ""
    for report in reports:
        ends = {(missing, operation): how for missing, operation, how in report["permissions"]}
        if report["tls"] or not ends:
            continue
        columns = list(dict.fromkeys(missing for missing, _ in ends))
        text += f"\n### On {TITLES[report['server']]}\n\n"
        text += f"| operation | {' | '.join(columns)} |\n"
        text += "|---" * (1 + len(columns)) + "|\n"
        for operation in dict.fromkeys(operation for _, operation in ends):
            cells = " | ".join(ends[column, operation] for column in columns)
            text += f"| {operation} | {cells} |\n"
    if not text:
        return ""
    return f"""
## Without a permission

Each cell has the result of an operation for a user who has all
[permissions](../security.md#permissions) except the one at the top of the column.
{text}"""


def main() -> None:
    folder, page = map(Path, sys.argv[1:])
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    plain = [found[name] for name in TITLES if name in found]
    rows = [row(report, found.get(f"{report['server']}--tls")) for report in plain]
    reports = [found[name + tls] for name in TITLES for tls in ("", "--tls") if name + tls in found]
    page.write_text(
        PAGE.format(
            rows="\n".join(rows),
            failed=failures(reports),
            left_out=left_out(),
            permissions=permissions(reports),
        )
    )


if __name__ == "__main__":
    main()
