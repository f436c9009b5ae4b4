"""Measures the agent and other programs that store files on S3. Writes docs/benchmarks.md for
users, and docs/development/benchmarks.md with all results.

GROUP is one of these. Each replaces its own part of the results, and both pages are written again:

  plain    1 GiB on the loopback, by all peers                            about {plain}
  sizes    16 MiB to 5 GiB on the loopback                                about {sizes}
  near     1 GiB with 20 ms round trip and 20 MB/s per connection         about {near}
  far      the same with 100 ms                                           about {far}
  failing  1 GiB while one request of a hundred fails, and without        about {failing}
  list     10 to 5,000 backups, on the loopback and 20 ms away            about {list}
  start    start, first response, memory while idle, size of the program    about {start}
  page     no measurement: only writes the pages from the results

The programs are installed into the cache, $S3_BACKUP_AGENT_TEST_CACHE or .cache, from the package
indexes of Python and Debian, and crates.io. rustic is compiled once, which takes some minutes.
Needs Linux, a Rust toolchain, curl, and Python 3.11 or newer. Run nothing else on the machine
meanwhile.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import listing, page, server, starting, transfers
from .link import LINKS
from .peers import NAMES
from .results import GIB, MIB, Cell, Results, available_memory
from .tools import Tools

PAGES = server.ROOT / "docs"
RESULTS = PAGES / "development/benchmarks.json"
UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": GIB}
SIZES = (16 * MIB, 256 * MIB, GIB, 5 * GIB)
COUNTS = (10, 100, 1000, 5000)
SOME = ("ours-ha", "aws_s3", "ours", "s5cmd", "rclone", "aws-cli")
PLANS: dict[str, tuple[Sequence[str], Sequence[int], Sequence[str]]] = {
    "plain": (["plain"], [GIB], list(NAMES)),
    "sizes": (["plain"], SIZES, ["ours-ha", "aws_s3", "ours", "s5cmd", "rclone", "curl"]),
    "near": (["near"], [GIB], [*SOME, "restic", "rustic", "curl"]),
    "far": (["far"], [GIB], [*SOME, "ours-32", "restic", "rustic", "curl"]),
    "failing": (["whole", "failing"], [GIB], SOME),
}
GROUPS = (*PLANS, "list", "start", "page")
# Of three rounds on two cores.
TAKES = {
    "plain": "25 min",
    "sizes": "45 min",
    "near": "30 min",
    "far": "40 min",
    "failing": "25 min",
    "list": "20 min",
    "start": "3 min",
}


def bytes_of(text: str) -> int:
    if not (match := re.fullmatch(r"(\d+)([KMG]?)", text.upper())):
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 512M")
    return int(match[1]) * UNITS[match[2]]


def arguments() -> argparse.Namespace:
    description = (__doc__ or "").format(**TAKES)
    parser = argparse.ArgumentParser(
        prog="benches/run",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--only", choices=GROUPS, metavar="GROUP", help="may be repeated", **many)
    parser.add_argument("--size", type=bytes_of, help="such as 256M; may be repeated", **many)
    parser.add_argument("--count", type=int, help="backups of a list; may be repeated", **many)
    parser.add_argument("--peer", choices=NAMES, help="may be repeated", **many)
    parser.add_argument("--link", choices=LINKS, help="may be repeated", **many)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 16 MiB, as a test")
    parser.add_argument(
        "--server", default="seaweedfs", help="of tests/servers; by default seaweedfs"
    )
    parser.add_argument("--agent", type=Path, help="use this program instead of building one")
    folder = "folder for files and the server; default: memory, if there is enough"
    parser.add_argument("--data", type=Path, help=folder)
    where = "default: docs/development/benchmarks.json, or one in the cache with --quick"
    parser.add_argument("--results", type=Path, help=where)
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.size = 1, given.size or [16 * MIB]
        given.count = given.count or [10, 100]
    return given


@contextlib.contextmanager
def bench(given: argparse.Namespace, tools: Tools, largest: int) -> Iterator[transfers.Bench]:
    """A server and a folder for files of this size."""
    cache = tools.cache
    # The file that is stored, what the server has of it, and what comes back.
    needed = 3 * largest + 2 * GIB
    memory = Path("/dev/shm")
    in_memory = (
        given.data is None
        and memory.is_dir()
        and min(shutil.disk_usage(memory).free, available_memory()) > needed
    )
    parent = given.data or (memory if in_memory else cache)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as folder:
        data = Path(folder)
        with server.running(given.server, data / "server") as one:
            yield transfers.Bench(tools, one, data, in_memory)


def measured(
    group: str, given: argparse.Namespace, tools: Tools, results: Results
) -> Iterator[list[Cell]]:
    """The cells of a group, as they are done."""
    if group in PLANS:
        links, sizes, peers = PLANS[group]
        sizes = given.size or sizes
        works = transfers.WORKS if group == "plain" else transfers.WORKS[:2]
        peers = given.peer or peers
        plan = transfers.Plan(group, given.link or links, sizes, peers, given.rounds, works)
        with bench(given, tools, max(sizes)) as one:
            note_server(results, one)
            yield from transfers.measure(plan, one, results.versions)
    elif group == "list":
        counts = given.count or COUNTS
        with bench(given, tools, 0) as one:
            note_server(results, one)
            links, peers = given.link or ["plain", "near"], given.peer or list(listing.SIDES)
            yield from listing.measure(one, links, counts, peers, given.rounds)
    elif group == "start":
        with bench(given, tools, 0) as one:
            note_server(results, one)
            yield from starting.measure(one, given.rounds)


def note_server(results: Results, one: transfers.Bench) -> None:
    results.versions["server"] = f"{one.server.name} {one.server.version}"


def main() -> None:
    given = arguments()
    cache = Path(os.environ["S3_BACKUP_AGENT_TEST_CACHE"])
    if given.results is None:
        given.results = cache / "bench-quick/benchmarks.json" if given.quick else RESULTS
    # So that the server ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.results.parent.mkdir(parents=True, exist_ok=True)
    tools = Tools(cache, given.agent)
    results = Results.read(given.results)
    for group in given.only or [group for group in GROUPS if group != "page"]:
        begin = time.monotonic()
        for cells in measured(group, given, tools, results):
            results.put(cells)
            results.write(given.results)
        if group != "page":
            transfers.said(f"{group}: {(time.monotonic() - begin) / 60:.1f} min")
    # From the file, whose figures are rounded, so that the same file always makes the same pages.
    pages = PAGES if given.results == RESULTS else given.results.parent
    for line in page.write(Results.read(given.results), pages):
        print(line)


if __name__ == "__main__":
    main()
