"""The results, as they are kept in docs/development/benchmarks.json."""

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

MIB = 1 << 20
GIB = 1 << 30


@dataclass
class Run:
    """One run. A measure that was not taken is None."""

    seconds: float | None = None
    cpu: float | None = None  # seconds of all processes of the peer, user and system
    host_cpu: float | None = None  # seconds of these of the program that uses the peer
    rss: float | None = None  # MiB of all processes together, at most
    agent_rss: float | None = None  # MiB of the agent, where it is one of several processes
    growth: float | None = None  # MiB by which the program that uses the peer has grown, at most
    stall: float | None = None  # ms by which an event loop was late, above what it is when idle
    megabytes: float | None = None  # on the disk
    requests: int | None = None  # that went over the link
    failed: int | None = None  # that the link has failed

    def measured(self) -> dict[str, float]:
        """All that is not None, rounded to what means something."""
        return {k: round(v, 4) for k, v in asdict(self).items() if v is not None}


@dataclass
class Cell:
    """All runs of one peer at one work over one link."""

    group: str
    link: str
    peer: str
    work: str  # such as upload
    amount: int  # bytes of a transfer, or backups of a list
    command: str = ""
    when: str = ""  # the month
    machine: str = ""
    data: str = ""  # where the files were: memory or disk
    settled: bool = False  # whether memory was freed before each transfer
    runs: list[Run] = field(default_factory=list)
    problem: str = ""  # why there are no runs, if there are none

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        return self.group, self.link, self.peer, self.work, self.amount

    def values(self, what: str) -> list[float]:
        """One measure of all runs that have it."""
        return [float(value) for run in self.runs if (value := getattr(run, what)) is not None]

    def median(self, what: str) -> float | None:
        values = self.values(what)
        return statistics.median(values) if values else None

    def highest(self, what: str) -> float | None:
        return max(self.values(what), default=None)

    def percentile(self, what: str, percent: float) -> float | None:
        """The smallest value that so many percent of the runs do not exceed."""
        values = sorted(self.values(what))
        if not values:
            return None
        return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


@dataclass
class Results:
    """Everything. What is compared is from one machine; another may have measured another group."""

    versions: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Results":
        if not path.exists():
            return cls()
        whole: dict[str, Any] = json.loads(path.read_text("utf-8"))
        cells = [
            Cell(**(cell | {"runs": [Run(**run) for run in cell["runs"]]}))
            for cell in whole["cells"]
        ]
        return cls(whole["versions"], cells)

    def write(self, path: Path) -> None:
        """A cell a line, in a fixed order, so that two files are easy to compare."""
        cells = [
            json.dumps(asdict(cell) | {"runs": [run.measured() for run in cell.runs]})
            for cell in sorted(self.cells, key=lambda cell: cell.key)
        ]
        head = json.dumps({"versions": self.versions}, indent=1)
        text = head.removesuffix("\n}") + ',\n "cells": [\n  ' + ",\n  ".join(cells) + "\n ]\n}\n"
        new = path.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(path)

    def put(self, cells: Iterable[Cell]) -> None:
        """Takes in cells that were measured here, in place of what was there of the same."""
        new = {cell.key: replace(cell, machine=this_machine()) for cell in cells}
        self.cells = [cell for cell in self.cells if cell.key not in new] + list(new.values())

    def find(self, group: str, link: str, peer: str, work: str, amount: int) -> Cell | None:
        key = (group, link, peer, work, amount)
        return next((cell for cell in self.cells if cell.key == key), None)


def this_machine() -> str:
    """What the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"
    return f"{model}, {os.cpu_count()} cores, {memory / GIB:.0f} GiB, {system}"


def available_memory() -> int:
    """Bytes that programs could have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
