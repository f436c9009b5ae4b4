"""Uploads and downloads of one file."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import content, server
from .link import LINKS, open_link
from .peers import HomeAssistant, Peer, Place, peer
from .process import ProgramError
from .results import GIB, MIB, Cell, Run
from .tools import Tools

TRIAL = 24 * MIB  # large enough for an upload in parts
WORKS = ("upload", "download", "view")


@dataclass(frozen=True)
class Plan:
    """The transfers to measure: each peer with each size over each link."""

    group: str
    links: Sequence[str]
    sizes: Sequence[int]
    peers: Sequence[str]
    rounds: int
    works: Sequence[str] = WORKS[:2]


@dataclass(frozen=True)
class Bench:
    """Where it is measured."""

    tools: Tools
    server: server.Server
    data: Path  # a folder of ours
    in_memory: bool


def measure(plan: Plan, bench: Bench, versions: dict[str, str]) -> Iterator[list[Cell]]:
    """All cells of a size and a link together, when they are done. Notes the versions."""
    peers = {name: peer(name, bench.tools) for name in plan.peers}
    versions |= {name: one.version() for name, one in peers.items()}
    problems = tried(bench, peers)
    for size in plan.sizes:
        file = bench.data / "file"
        digest = content.make_file(file, size)
        for link in plan.links:
            yield one_link(plan, bench, peers, problems, link, file, digest)
        file.unlink()


def tried(bench: Bench, peers: dict[str, Peer]) -> dict[str, str]:
    """Loads all programs into memory, and checks that all bytes come back. Returns the failures."""
    file = bench.data / "trial"
    digest = content.make_file(file, TRIAL)
    problems = {}
    for name, one in peers.items():
        try:
            there_and_back(bench, one, WORKS[:2], "plain", file, digest, 0)
            said(f"{name} works")
        except ProgramError as failure:
            problems[name] = problem(name, failure)
    file.unlink()
    return problems


def problem(name: str, failure: ProgramError) -> str:
    """A failure in one line."""
    said(f"{name}: {failure}")
    return str(failure).splitlines()[-1][:200]


def one_link(
    plan: Plan,
    bench: Bench,
    peers: dict[str, Peer],
    problems: dict[str, str],
    link: str,
    file: Path,
    digest: str,
) -> list[Cell]:
    size = file.stat().st_size
    when = time.strftime("%Y-%m")
    data = "memory" if bench.in_memory else "disk"
    cells = {
        name: [
            Cell(plan.group, link, name, work, size, one.commands[work], when, data, settled=True)
            for work in plan.works
            if work in one.commands
        ]
        for name, one in peers.items()
    }
    failed = dict(problems)
    for number in range(1, plan.rounds + 1):
        # They take turns. The first one of a round is the last one of the next.
        for name in list(peers)[:: 1 if number % 2 else -1]:
            if name in failed:
                continue
            works = [cell.work for cell in cells[name]]
            try:
                runs = there_and_back(bench, peers[name], works, link, file, digest, number)
            except ProgramError as failure:
                failed[name] = problem(f"{link} {name}", failure)
                continue
            for cell, run in zip(cells[name], runs, strict=True):
                cell.runs.append(run)
                said(f"{link} {name} {cell.work} {size / MIB:.0f} MiB: {run.measured()}")
    for name, why in failed.items():
        for cell in cells[name]:
            cell.problem = why
    return [cell for mine in cells.values() for cell in mine]


def there_and_back(
    bench: Bench,
    one: Peer,
    works: Sequence[str],
    link: str,
    file: Path,
    digest: str,
    number: int,
) -> list[Run]:
    """An upload into an empty bucket, and what can be done with it."""
    home, back = bench.data / "home", bench.data / "back"
    home.mkdir()
    runs = []
    # A bucket of its own each time: deleting it frees the disk of the server.
    with (
        server.bucket(f"bench-{number}-{time.time_ns()}") as bucket,
        open_link(LINKS[link], bench.tools.link, bench.server.endpoint, number) as way,
    ):
        try:
            place = Place(bench.server, way.endpoint, bucket, home)
            one.prepare(place)
            for work in works:
                settle(bench, file.stat().st_size)
                way.counts()
                if work == "upload":
                    run = one.upload(place, file)
                elif work == "view":
                    run = one.view(place, file.stat().st_size)
                else:
                    run = one.download(place, back, file.stat().st_size)
                if counts := way.counts():
                    run.failed = counts.pop("failed", 0)
                    counts.pop("connections", None)
                    run.requests = sum(counts.values())
                runs.append(run)
            if isinstance(one, HomeAssistant):
                if number == 0:
                    one.check(place)
            elif content.digest_of(back) != digest:
                raise ProgramError("what came back is not what was stored")
        finally:
            back.unlink(missing_ok=True)
            shutil.rmtree(home)
    return runs


def settle(bench: Bench, size: int) -> None:
    """So that no transfer pays for the one before. A virtual machine may return memory to its host
    that has been free for a moment, and who takes it next waits for it: so what a transfer fills,
    and a gibibyte for the server, is taken and freed before each."""
    if not bench.in_memory:
        os.sync()
        return
    taken = bench.data / "taken"
    with taken.open("wb") as file:
        for _ in range(0, size + GIB, MIB):
            file.write(bytes(MIB))
    taken.unlink()


def said(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
