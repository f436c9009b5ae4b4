"""The goals of the project, and whether the results reach them."""

from collections.abc import Iterator
from dataclasses import dataclass

from .results import GIB, MIB, Cell, Results

WORKS = ("upload", "download")
LARGE, SMALL = 5 * GIB, 256 * MIB
# Time and memory count as linear and flat while the large size costs at most this much more.
SLACK = 1.25


@dataclass(frozen=True)
class Aim:
    """A goal for one figure. It is reached if the figure is at most, or at least, the limit."""

    group: str
    title: str
    value: float | None  # None: not measured
    limit: float
    at_most: bool = True
    unit: str = ""

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def row(self) -> list[str]:
        """As a row of a table: figure, goal, measured, reached."""
        word = {None: "not measured", True: "reached", False: "**not reached**"}[self.reached]
        wanted = f"{'at most' if self.at_most else 'at least'} {number(self.limit)}{self.unit}"
        measured = "" if self.value is None else f"{number(self.value)}{self.unit}"
        return [self.title, wanted, measured, word]


def number(value: float) -> str:
    """With three digits that count, at least."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def beside_curl(results: Results) -> dict[str, float | None]:
    """Speed compared with one plain request. Not a goal: little can be faster than that."""
    figures = Figures(results)
    times = {
        work: [figures.median("plain", "plain", peer, work, "seconds") for peer in ("curl", "ours")]
        for work in WORKS
    }
    return {f"1 GiB {work}": ratio(curl, ours) for work, (curl, ours) in times.items()}


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


class Figures:
    """What the aims are made from."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def median(
        self, group: str, link: str, peer: str, work: str, what: str, amount: int = GIB
    ) -> float | None:
        cell = self._results.find(group, link, peer, work, amount)
        return cell.median(what) if cell else None

    def fastest(self, group: str, link: str, peers: tuple[str, ...], work: str) -> float | None:
        found = [self.median(group, link, peer, work, "seconds") for peer in peers]
        return min((seconds for seconds in found if seconds is not None), default=None)

    def most_memory(self, peers: dict[str, str]) -> float | None:
        """Of all transfers of these peers, by the measure that is the agent's."""
        cells = [cell for cell in self._results.cells if cell.work in WORKS]
        found = [cell.highest(peers[cell.peer]) for cell in cells if cell.peer in peers]
        return max((memory for memory in found if memory is not None), default=None)

    def cell(self, work: str) -> Cell | None:
        return next((c for c in self._results.cells if (c.peer, c.work) == ("ours", work)), None)


def aims(results: Results) -> list[Aim]:
    figures = Figures(results)
    return [
        *processor(figures),
        *throughput(figures),
        *faults(figures),
        *memory(figures),
        *lists(figures),
        *start(figures),
        *growth(figures),
    ]


def processor(figures: Figures) -> Iterator[Aim]:
    """CPU time, memory and event-loop lag of Home Assistant."""
    for work, limit in zip(WORKS, (0.75, 0.5), strict=True):
        theirs = figures.median("plain", "plain", "aws_s3", work, "cpu")
        whole = figures.median("plain", "plain", "ours-ha", work, "cpu")
        host = figures.median("plain", "plain", "ours-ha", work, "host_cpu")
        title = f"1 GiB {work}, CPU time relative to aws_s3"
        yield Aim("plain", f"{title}: Home Assistant and agent", ratio(whole, theirs), limit)
        yield Aim("plain", f"{title}: Home Assistant alone", ratio(host, theirs), 0.15)
        grown = figures.median("plain", "plain", "ours-ha", work, "growth")
        yield Aim("plain", f"1 GiB {work}, growth of Home Assistant", grown, 16, unit=" MiB")
        late = figures.median("plain", "plain", "ours-ha", work, "stall")
        title = f"1 GiB {work}, event-loop lag above idle"
        yield Aim("plain", title, late, 20, unit=" ms")


def throughput(figures: Figures) -> Iterator[Aim]:
    for work in WORKS:
        alone = figures.median("plain", "plain", "ours", work, "seconds")
        others = figures.fastest("plain", "plain", ("s5cmd", "rclone"), work)
        title = f"1 GiB {work}, speed relative to the faster of s5cmd and rclone"
        yield Aim("plain", title, ratio(others, alone), 0.85, at_most=False)
    for work in WORKS:
        for peer, ours, limit in (
            ("aws_s3", "ours-ha", 4.0),
            ("rclone", "ours", 1.0),
            ("aws-cli", "ours", 1.0),
        ):
            theirs = figures.median("far", "far", peer, work, "seconds")
            mine = figures.median("far", "far", ours, work, "seconds")
            title = f"1 GiB {work} at 100 ms, speed relative to {peer}"
            yield Aim("far", title, ratio(theirs, mine), limit, at_most=False)


def faults(figures: Figures) -> Iterator[Aim]:
    for peer, name in (("ours", "command line"), ("ours-ha", "Home Assistant")):
        for work in WORKS:
            with_faults = figures.median("failing", "failing", peer, work, "seconds")
            without = figures.median("failing", "whole", peer, work, "seconds")
            title = f"1 GiB {work} while 1 % of the requests fail, time relative to none ({name})"
            yield Aim("failing", title, ratio(with_faults, without), 1.1)


def memory(figures: Figures) -> Iterator[Aim]:
    whole = figures.most_memory({"ours": "rss", "ours-ha": "agent_rss"})
    yield Aim("all", "Memory of the agent, maximum of all transfers", whole, 96, unit=" MiB")
    small = figures.most_memory({"ours-32": "rss"})
    yield Aim("all", "The same with --memory 32MiB", small, 40, unit=" MiB")
    idle = cell.median("rss") if (cell := figures.cell("idle")) else None
    yield Aim("start", "Memory of the agent while idle", idle, 12, unit=" MiB")


def lists(figures: Figures) -> Iterator[Aim]:
    def listed(peer: str, work: str, count: int = 1000) -> float | None:
        return figures.median("list", "near", peer, f"list, {work}", "seconds", count)

    theirs = listed("aws_s3", "cold")
    title = "list of 1,000 backups at 20 ms, speed relative to aws_s3"
    yield Aim("list", f"{title}: first list", ratio(theirs, listed("ours-ha", "cold")), 20, False)
    again = ratio(listed("aws_s3", "restarted"), listed("ours-ha", "restarted"))
    yield Aim("list", f"{title}: after a restart", again, 200, False)
    more = ratio(listed("ours-ha", "cold", 5000), listed("ours-ha", "cold"))
    yield Aim("list", "5,000 backups relative to 1,000, time of the first list", more, 5 * SLACK)


def start(figures: Figures) -> Iterator[Aim]:
    hello = figures.cell("hello")
    seconds = hello.percentile("seconds", 95) if hello else None
    value = None if seconds is None else seconds * 1000
    yield Aim("start", "From start to `hello`, 95th percentile", value, 15, unit=" ms")
    size = cell.median("megabytes") if (cell := figures.cell("size of the program")) else None
    yield Aim("start", "Size of the program", size, 8, unit=" MB")


def growth(figures: Figures) -> Iterator[Aim]:
    for work in WORKS:
        for what, name in (("seconds", "time"), ("rss", "memory")):
            large = figures.median("sizes", "plain", "ours", work, what, LARGE)
            small = figures.median("sizes", "plain", "ours", work, what, SMALL)
            limit = SLACK * (LARGE / SMALL if what == "seconds" else 1)
            title = f"5 GiB relative to 256 MiB, {work}: {name}"
            yield Aim("sizes", title, ratio(large, small), limit)
