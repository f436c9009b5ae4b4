"""The report with all results, and its plots."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from . import plot, summary
from .aims import aims, beside_curl, number
from .link import LINKS
from .peers import NAMES
from .results import GIB, MIB, Cell, Results

WORKS = ("upload", "download")
TITLES = {
    "upload": "Upload",
    "download": "Download",
    "view": "Download from Home Assistant over HTTP",
}
OURS = ("ours-ha", "ours", "ours-32")
LISTED = {"ours-ha": "s3-backup-agent", "aws_s3": "aws_s3"}
HEAD = """# Benchmark report

`benches/run` writes this page from [benchmarks.json](benchmarks.json). Do not edit it by hand.
To measure again, see `benches/run --help`. The short version for users is
[benchmarks](../benchmarks.md).

## Method

The server runs on the same machine as the programs.

* **Transfers.** Each program uploads one file into an empty bucket and downloads it, in a new
  process and with its defaults. Then the next program follows. The rounds alternate their
  direction.
* **Times** are medians, with the fastest and the slowest in brackets.
* **Memory of the machine.** Before each transfer, the driver allocates 1 GiB more than the
  transfer needs, and frees it. A virtual machine can return unused memory to its host, and the
  next program would then wait for that memory.
* **CPU time** is that of all processes of the program; for Home Assistant, of the transfer
  alone.
* **Memory** is the maximum of all processes together.
* **Home Assistant** is a core with its backup and HTTP integrations, started anew for each
  transfer. Most of the memory in its rows is its own. The figure in brackets is what the
  transfer added. `aws_s3` is the integration that Home Assistant includes.
* **Event-loop lag** is the longest delay of the event loop of Home Assistant, above the idle
  value.
* **Links.** A [proxy](../../benches/link/src/main.rs) simulates them. It has no slow start and
  no packet loss. So the figures include how a program fills a long link, and not how the system
  does.
* **restic and rustic** keep a repository: they split the file by its content, encrypt it, and
  search for existing data. The others do not. rustic is built from crates.io, without the
  optional features of its releases.
"""


def write(results: Results, folder: Path) -> list[str]:
    """Writes both pages and the plots into a folder such as docs. Returns a line for each goal."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    report = folder / "development/benchmarks.md"
    report.parent.mkdir(exist_ok=True)
    parts = [HEAD, *versions(results), *aim_table(results)]
    for section in (transfers, sizes, lists, start):
        parts += section(results, images)
    parts += behind(results)
    report.write_text("\n".join(parts).rstrip() + "\n", "utf-8")
    (folder / "benchmarks.md").write_text(summary.page(results), "utf-8")
    return [" | ".join(aim.row()) for aim in aims(results)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def versions(results: Results) -> list[str]:
    names = [f"{NAMES.get(k, k)} {v}" for k, v in sorted(results.versions.items())]
    return [f"Versions: {'; '.join(names)}.", ""]


def measured(cells: Sequence[Cell]) -> str:
    """Where and when these figures were taken."""
    when = ", ".join(sorted({c.when for c in cells}))
    machines = " and ".join(sorted({c.machine for c in cells}))
    where = ", ".join(sorted({c.data for c in cells if c.data}))
    return f"Measured in {when} on {machines}{where and f', files and server in {where}'}.\n"


def aim_table(results: Results) -> list[str]:
    rows = [aim.row() for aim in aims(results)]
    beside = [f"{k} {number(v)}" for k, v in beside_curl(results).items() if v is not None]
    curl = f"Speed relative to one request with curl: {', '.join(beside)}.\n"
    return [
        "## Goals\n",
        *table(["", "goal", "measured", ""], rows),
        *([curl] if beside else []),
    ]


def size_name(size: float) -> str:
    return f"{size / GIB:g} GiB" if size >= GIB else f"{size / MIB:g} MiB"


def seconds(cell: Cell) -> str:
    """The median, and the range."""
    values = cell.values("seconds")
    if not values:
        return cell.problem and "fails"
    middle = cell.median("seconds") or 0
    if len(values) == 1:
        return number(middle)
    return f"{number(middle)} ({number(min(values))} to {number(max(values))})"


def optional(value: float | None) -> str:
    return "" if value is None else number(value)


def memory(cell: Cell) -> str:
    """All of it; for Home Assistant also what came with the transfer."""
    whole, growth, agent = (cell.highest(what) for what in ("rss", "growth", "agent_rss"))
    if growth is None:
        return optional(whole)
    added = f"+{number(growth)}" + (f", agent {number(agent)}" if agent is not None else "")
    return f"{optional(whole)} ({added})"


def in_order(cells: Sequence[Cell]) -> list[Cell]:
    """By peer, and an upload before a download."""
    names = list(NAMES)
    return sorted(cells, key=lambda c: (names.index(c.peer), c.work not in WORKS[:1], c.amount))


def name_of(peer: str) -> str:
    return f"**{NAMES[peer]}**" if peer in OURS else NAMES[peer]


def transfer_table(cells: Sequence[Cell]) -> list[str]:
    """All peers at the same work."""
    failing = any(cell.highest("failed") for cell in cells)
    head = ["", "s", "MB/s", "CPU s", "of which Home Assistant", "memory MiB", "lag ms"]
    rows = []
    for cell in in_order(cells):
        taken = cell.median("seconds")
        row = [
            name_of(cell.peer),
            seconds(cell),
            optional(cell.amount / taken / 1e6 if taken else None),
            optional(cell.median("cpu")),
            optional(cell.median("host_cpu")),
            memory(cell),
            optional(cell.median("stall")),
        ]
        if failing:
            requests, failed = sum(cell.values("requests")), sum(cell.values("failed"))
            row.append(f"{failed:.0f} of {requests:.0f}")
        rows.append(row)
    return table([*head, "failed requests"] if failing else head, rows)


def transfers(results: Results, images: Path) -> Iterator[str]:
    """The groups that transfer one size."""
    for group in ("plain", "near", "far", "failing"):
        cells = [cell for cell in results.cells if cell.group == group]
        links = {cell.link: None for cell in cells}
        for link in (link for link in LINKS if link in links):
            for size in sorted({cell.amount for cell in cells if cell.link == link}):
                here = [cell for cell in cells if (cell.link, cell.amount) == (link, size)]
                title = f"{size_name(size)}, {LINKS[link].title}"
                yield f"## {title}\n"
                if size == GIB:
                    yield from speed_plot(here, images / f"benchmark-{link}.svg", title)
                if group == "plain" and size == GIB:
                    yield from cpu_plot(here, images / "benchmark-processor.svg", title)
                for work, name in TITLES.items():
                    if same := [cell for cell in here if cell.work == work]:
                        yield f"### {name}\n"
                        yield from transfer_table(same)
        if cells:
            yield from commands(cells)
        if not all(cell.settled for cell in cells):
            yield "For these transfers, the driver did not allocate and free memory first.\n"


def by_work(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Upload and download of each peer."""
    found: dict[str, list[Cell]] = {}
    for cell in in_order(cells):
        if cell.work in WORKS:
            found.setdefault(cell.peer, []).append(cell)
    return {k: sorted(v, key=lambda cell: WORKS.index(cell.work)) for k, v in found.items()}


def speed_plot(cells: Sequence[Cell], file: Path, title: str) -> Iterator[str]:
    rows = {
        NAMES[peer]: [c.amount / t / 1e6 if (t := c.median("seconds")) else None for c in both]
        for peer, both in by_work(cells).items()
    }
    yield picture(file, f"{title}: speed", plot.bars(f"{title}: speed", "MB/s", WORKS, rows))


def cpu_plot(cells: Sequence[Cell], file: Path, title: str) -> Iterator[str]:
    rows = {NAMES[peer]: [c.median("cpu") for c in both] for peer, both in by_work(cells).items()}
    title = f"{title}: CPU time"
    yield picture(file, title, plot.bars(title, "s", WORKS, rows))


def picture(file: Path, title: str, content: str) -> str:
    file.write_text(content, "utf-8")
    return f"![{title}](../images/{file.name})\n"


def commands(cells: Sequence[Cell]) -> list[str]:
    lines = {f"* {NAMES[c.peer]}, {c.work}: `{c.command}`": None for c in in_order(cells)}
    problems = {f"* {NAMES[c.peer]} fails: {c.problem}": None for c in cells if c.problem}
    return [
        measured(cells),
        *problems,
        *["<details><summary>Commands</summary>\n", *lines, "\n</details>\n"],
    ]


def sizes(results: Results, images: Path) -> Iterator[str]:
    cells = [cell for cell in results.cells if cell.group == "sizes"]
    if not cells:
        return
    amounts = sorted({cell.amount for cell in cells})
    yield f"## From {size_name(amounts[0])} to {size_name(amounts[-1])}\n"
    x_names = {float(amount): size_name(amount) for amount in amounts}
    measures = (("seconds", "s", "time", seconds), ("rss", "MiB", "memory", memory))
    for work in WORKS:
        here = [cell for cell in cells if cell.work == work]
        for what, unit, name, entry in measures:
            series = {
                NAMES[peer]: [
                    (float(cell.amount), value)
                    for cell in sorted(here, key=lambda cell: cell.amount)
                    if cell.peer == peer and (value := cell.median(what)) is not None
                ]
                for peer in NAMES
                if any(cell.peer == peer for cell in here)
            }
            title = f"{work.capitalize()}: {name}"
            content = plot.lines(title, "size", unit, series, x_names)
            yield picture(images / f"benchmark-{work}-{name}.svg", title, content)
            yield from size_table(here, amounts, unit, entry)
    yield from commands(cells)


def size_table(
    cells: Sequence[Cell], amounts: Sequence[int], unit: str, entry: Callable[[Cell], str]
) -> list[str]:
    rows = []
    for peer in NAMES:
        found = {cell.amount: cell for cell in cells if cell.peer == peer}
        if found:
            entries = (entry(found[a]) if a in found else "" for a in amounts)
            rows.append([name_of(peer), *entries])
    return table([unit, *map(size_name, amounts)], rows)


def lists(results: Results, images: Path) -> Iterator[str]:
    cells = [cell for cell in results.cells if cell.group == "list"]
    if not cells:
        return
    yield "## Lists\n"
    yield "In seconds. A proxy counted the requests, except on the loopback.\n"
    yield measured(cells)
    works = list(dict.fromkeys(cell.work for cell in reversed(cells)))
    works.sort(key=("list, cold", "list, warm", "list, restarted").index)
    counts = sorted({cell.amount for cell in cells})
    for link in (link for link in LINKS if any(cell.link == link for cell in cells)):
        here = {(cell.peer, cell.work, cell.amount): cell for cell in cells if cell.link == link}
        yield f"### {LINKS[link].title}\n"
        rows, series = [], {}
        for peer in (peer for peer in NAMES if any(key[0] == peer for key in here)):
            for work in works:
                found = [here.get((peer, work, count)) for count in counts]
                rows.append([f"{name_of(peer)}: {work}", *map(list_entry, found)])
                points = [(float(c.amount), t) for c in found if c and (t := c.median("seconds"))]
                if work != "list, warm":
                    name = LISTED[peer] + work.removeprefix("list")
                    series[name] = points
        yield from table(["", *(f"{count:,}" for count in counts)], rows)
        title = f"Time of a list, {LINKS[link].title}"
        x_names = {float(count): f"{count:,}" for count in counts}
        content = plot.lines(title, "backups", "s", series, x_names)
        yield picture(images / f"benchmark-list-{link}.svg", title, content)


def list_entry(cell: Cell | None) -> str:
    if cell is None:
        return ""
    requests = cell.median("requests")
    return seconds(cell) + ("" if requests is None else f", {requests:,.0f} requests")


def start(results: Results, images: Path) -> Iterator[str]:
    cells = [cell for cell in results.cells if cell.group == "start"]
    if not cells:
        return
    yield "## Start\n"
    yield measured(cells)
    rows = []
    for cell in sorted(cells, key=lambda cell: (cell.work, list(NAMES).index(cell.peer))):
        if cell.work == "size of the program":
            value = f"{optional(cell.median('megabytes'))} MB"
        elif cell.work == "idle":
            value = f"{optional(cell.median('rss'))} MiB"
        else:
            values = [1000 * value for value in cell.values("seconds")]
            middle = 1000 * (cell.median("seconds") or 0)
            value = f"{number(middle)} ms ({number(min(values))} to {number(max(values))})"
        rows.append([f"{cell.work}: {name_of(cell.peer)}", value, f"`{cell.command}`"])
    yield from table(["", "", "measured with"], rows)


def behind(results: Results) -> list[str]:
    """The figures in which a program for the same purpose does better."""
    rows = []
    pairs = {"ours-ha": ("aws_s3",), "ours": ("s5cmd", "rclone", "aws-cli", "restic", "rustic")}
    for cell in results.cells:
        for peer in pairs.get(cell.peer, ()):
            other = results.find(cell.group, cell.link, peer, cell.work, cell.amount)
            if other is None:
                continue
            for what, name in (("seconds", "time"), ("cpu", "CPU time"), ("rss", "memory")):
                mine, theirs = cell.median(what), other.median(what)
                if mine and theirs and mine > theirs * 1.05:
                    where = f"{LINKS[cell.link].title}: {cell.work}, {amount_name(cell)}"
                    times = f"{mine / theirs:.2f} times that of {NAMES[peer]}"
                    rows.append(f"* {where}, {NAMES[cell.peer]}: {name} is {times}")
    return ["## Other programs that do better\n", *(sorted(rows) or ["None by more than 5 %."])]


def amount_name(cell: Cell) -> str:
    if cell.work in TITLES:
        return size_name(cell.amount)
    return f"{cell.amount:,} backups" if cell.work.startswith("list") else "start"
