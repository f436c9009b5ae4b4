"""Lists of many backups."""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from . import server
from .link import LINKS, open_link
from .peers import HomeAssistant, Place
from .process import run
from .results import Cell, Run
from .transfers import Bench, said

SIDES = {"ours-ha": "ours", "aws_s3": "theirs"}
COMMANDS = {
    "list, cold": "the first listing of a new process",
    "list, warm": "the second one",
    "list, restarted": "the first listing of the next process, with the state of the last one",
}


def measure(
    bench: Bench, links: Sequence[str], counts: Sequence[int], peers: Sequence[str], rounds: int
) -> Iterator[list[Cell]]:
    """All cells with as many backups together."""
    names = [name for name in SIDES if name in peers]
    with server.bucket(f"list-{time.time_ns()}") as bucket:
        model = stored_backup(bench, bucket)
        for before, count in pairwise([0, *sorted(counts)]):
            populate(bucket, model, range(before, count))
            for link in links:
                yield one_link(bench, bucket, link, count, names, rounds)


def stored_backup(bench: Bench, bucket: str) -> tuple[str, bytes, bytes]:
    """The start of the keys, the archive and the metadata object of a backup of the agent."""
    archive = bench.data / "archive"
    archive.write_bytes(b"a" * 1000)
    metadata = bench.data / "metadata"
    metadata.write_text(
        '{"addons":[],"backup_id":"0000model","database_included":true,'
        '"date":"2026-01-01T00:00:00+00:00","extra_metadata":{},"folders":[],'
        '"homeassistant_included":true,"homeassistant_version":"2026.11.0",'
        '"name":"Nightly 0000model","protected":false,"size":1000}'
    )
    environment = {
        "S3_BACKUP_AGENT_ENDPOINT": bench.server.endpoint,
        "S3_BACKUP_AGENT_REGION": bench.server.region,
        "S3_BACKUP_AGENT_BUCKET": bucket,
        "S3_BACKUP_AGENT_PREFIX": "list",
        "S3_BACKUP_AGENT_ACCESS_KEY_ID": bench.server.key_id,
        "S3_BACKUP_AGENT_SECRET_ACCESS_KEY": bench.server.secret,
        "XDG_STATE_HOME": str(bench.data),
    }
    options = ["--id", "0000model", "--name", "Nightly 0000model"]
    options += ["--metadata", str(metadata)]
    run([bench.tools.agent, "upload", archive, *options], environment)
    archive_key, document_key = sorted(server.keys_of(bucket), key=lambda key: key.endswith("json"))
    stored = server.get(bucket, document_key)
    for key in (archive_key, document_key):
        server.delete(bucket, key)
    assert document_key == archive_key.removesuffix(".tar") + ".metadata.json", document_key
    assert b"0000model" in stored
    return archive_key.removesuffix(".tar"), archive.read_bytes(), stored


def populate(bucket: str, model: tuple[str, bytes, bytes], numbers: range) -> None:
    """Stores copies with their own IDs, names and keys, as the agent does."""
    start, archive, metadata = model

    def store(number: int) -> None:
        name = f"{number:05}copy"
        key = start.replace("0000model", name)
        server.put(bucket, f"{key}.tar", archive)
        server.put(bucket, f"{key}.metadata.json", metadata.replace(b"0000model", name.encode()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, numbers))


def one_link(
    bench: Bench, bucket: str, link: str, count: int, names: Sequence[str], rounds: int
) -> list[Cell]:
    when = time.strftime("%Y-%m")
    cells = {
        (name, work): Cell("list", link, name, work, count, command, when)
        for name in names
        for work, command in COMMANDS.items()
    }
    for number in range(rounds):
        for name in names[:: 1 if number % 2 else -1]:
            cold, warm, restarted = both_processes(bench, bucket, link, name, count)
            for work, taken in zip(COMMANDS, (cold, warm, restarted), strict=True):
                cells[name, work].runs.append(taken)
                said(f"{link} {name} {work} of {count}: {taken.measured()}")
    return list(cells.values())


def both_processes(
    bench: Bench, bucket: str, link: str, name: str, count: int
) -> tuple[Run, Run, Run]:
    """The first listing, the second, and the first of the next process."""
    home = bench.data / "home"
    home.mkdir()
    runs = []
    try:
        with open_link(LINKS[link], bench.tools.link, bench.server.endpoint) as way:
            place = Place(bench.server, way.endpoint, bucket, home)
            for _ in range(2):
                way.counts()
                found = HomeAssistant(bench.tools, SIDES[name]).script(
                    "listing.py", place, SIDES[name], "list", str(Path(home, "state"))
                )
                if found["count"] != count:
                    raise ValueError(f"{name} lists {found['count']} backups of {count}")
                requests = way.counts()
                asked = requests.get("LIST", 0) + requests.get("GET", 0) if requests else None
                runs.append(Run(seconds=found["first"], stall=found["stall"], requests=asked))
                runs.append(Run(seconds=found["warm"]))
    finally:
        shutil.rmtree(home)
    return runs[0], runs[1], runs[2]
