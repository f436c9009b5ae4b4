"""Counts the requests of each command that docs/costs.md shows."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import markdown
import pytest
from conftest import Folder, setting
from counting_relay import Relay, counting_relay

READS = {"GetObject", "HeadObject", "GetObjectLockConfiguration"}
DELETIONS = {"DeleteObject", "AbortMultipartUpload"}
Counts = tuple[int, int, int]
Run = Callable[..., Counts]


def told() -> dict[str, list[str]]:
    """The table: writes and listings, reads, deletions, by operation."""
    text = markdown.section(
        (markdown.ROOT / "docs/costs.md").read_text("utf-8"), "## Requests per command"
    )
    rows = re.findall(r"^\| (`.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.M)
    return {re.sub(r"[`*]", "", row[0]): list(row[1:]) for row in rows}


def fits(counted: int, wanted: str) -> bool:
    """Whether a cell tells the truth; what it calls the most has to be near."""
    most = re.fullmatch(r"at most (\d+)", wanted)
    return int(most[1]) - 3 <= counted <= int(most[1]) if most else counted == int(wanted)


def check(operation: str, counted: Counts, n: int = 0) -> None:
    cells = [cell.replace("n", str(n)) if cell == "n" else cell for cell in told()[operation]]
    wrong = [cell for count, cell in zip(counted, cells, strict=True) if not fits(count, cell)]
    assert wrong == [], f"{operation}: counted {counted}"


@pytest.fixture
def run(binary: str, folder: Folder, tmp_path: Path) -> Iterator[Run]:
    """Runs the program, and counts what it asks."""
    with counting_relay(setting("TEST_S3_ENDPOINT")) as relay:
        environment = folder.environment | {"S3_BACKUP_AGENT_ENDPOINT": relay.endpoint}

        def run(*arguments: str, state: str = "state") -> Counts:
            subprocess.run(
                [binary, *arguments],
                env=environment | {"S3_BACKUP_AGENT_STATE_DIR": str(tmp_path / state)},
                cwd=tmp_path,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            return by_kind(relay)

        yield run


def by_kind(relay: Relay) -> Counts:
    calls: Counter[str] = relay.take()
    reads = sum(calls[name] for name in READS)
    deletions = sum(calls[name] for name in DELETIONS)
    return calls.total() - reads - deletions, reads, deletions


def test_each_operation_asks_what_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(os.urandom(1000))
    (tmp_path / "large").write_bytes(os.urandom(40 << 20))
    check("list, no backups", run("list"))
    check("validate --read-only", run("validate", "--read-only"))
    check("validate", run("validate"))
    # With another state folder, so that both are new to the listing below.
    small = run("upload", "small", "--name", "small", "--id", "small", state="other")
    check("upload, under 20 MiB", small)
    run("list", state="other")
    large = run("upload", "large", "--name", "large", "--id", "large", state="other")
    check("upload of 40 MiB, in 8 parts", large)
    check("list, n new backups", run("list"), n=2)
    check("list, nothing new", run("list"))
    check("download of 40 MiB, stored in 8 parts", run("download", "large", "-o", "copy"))
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "large").read_bytes()
    check("verify, the same", run("verify", "large"))
    check("verify --quick", run("verify", "--quick", "large"))
    check("cleanup, nothing found", run("cleanup"))
    check("delete", run("delete", "-y", "small"))
    assert len(told()) == 12


def test_what_is_wrong_is_found() -> None:
    assert fits(5, "5") and not fits(4, "5") and not fits(6, "5")
    assert fits(5, "at most 5") and fits(3, "at most 5")
    assert not fits(6, "at most 5") and not fits(1, "at most 5")
