"""The page for users: three plots, and one table of ratios."""

import textwrap
from collections.abc import Iterator

from .aims import Figures, number, ratio
from .results import Results

# What is compared with each program, and the column of that program.
PEERS = {
    "aws_s3": ("ours-ha", "Home Assistant's `aws_s3`"),
    "aws-cli": ("ours", "AWS CLI"),
    "rclone": ("ours", "rclone"),
    "s5cmd": ("ours", "s5cmd"),
    "restic": ("ours", "restic"),
    "rustic": ("ours", "rustic"),
}
# A row for each: title, group, link, work, measure.
ROWS = [
    (f"{name}: {work} of 1 GiB, {where}", group, link, work, measure)
    for name, measure, links in (
        ("speed", "seconds", (("far", "far", "100 ms round trip"), ("plain", "plain", "loopback"))),
        ("CPU time", "cpu", (("plain", "plain", "loopback"),)),
        ("memory", "rss", (("plain", "plain", "loopback"),)),
    )
    for group, link, where in links
    for work in ("upload", "download")
]
LISTS = (("first list", "list, cold"), ("list after a restart", "list, restarted"))
OVERVIEW = "These figures compare the agent with other programs that store files on S3:"

PAGE = """# Benchmarks

{versions}

Each program ran with its defaults, on the same machine and against the same server. The method
and all figures are in [the full report](development/benchmarks.md). `benches/run` measures
again.

**A long round trip**, as to a provider on another continent. The agent sends and receives many
parts at the same time:

![Speed of 1 GiB with 100 ms round trip and 20 MB/s per connection](images/benchmark-far.svg)

**CPU time**, which matters most on a small machine:

![CPU time of 1 GiB on the loopback](images/benchmark-processor.svg)

**The list of backups in Home Assistant.** The agent keeps the metadata that it has read, so a
list after a restart takes one request for each 1,000 objects:

![Time of a list with 20 ms round trip](images/benchmark-list-near.svg)

## Compared with other programs

In each cell, 2 means twice as fast, or half the CPU time or memory. A number below 1, in
italics, means that the other program does better.
For example, {example}.

{table}
Home Assistant's `aws_s3` is compared with the integration, including Home Assistant itself. The
other programs are compared with the command line. restic and rustic also deduplicate and
encrypt, which the agent does not do.

## Memory

{memory}

Set the [memory budget](settings.md#memory) as a size:

```sh
s3-backup-agent upload backup.tar --memory 32MiB
```
"""


def page(results: Results) -> str:
    figures = Figures(results)
    names = {"ours": "s3-backup-agent", "aws_s3": "aws_s3 of Home Assistant"}
    peers = ["ours", *PEERS]
    given = [f"{names.get(k, k)} {results.versions[k]}" for k in peers if k in results.versions]
    versions = f"{OVERVIEW} {', '.join(given)}."
    return PAGE.format(
        versions=textwrap.fill(versions, 110, break_on_hyphens=False),
        table="\n".join(table(figures)),
        example=example(figures),
        memory=textwrap.fill(memory(figures), 110, break_on_hyphens=False),
    )


def better(figures: Figures, peer: str, row: tuple[str, str, str, str, str]) -> float | None:
    """How many times better the agent is."""
    _, group, link, work, measure = row
    theirs = figures.median(group, link, peer, work, measure)
    return ratio(theirs, figures.median(group, link, PEERS[peer][0], work, measure))


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"*{number(value)}*" if value < 1 else number(value)


def table(figures: Figures) -> Iterator[str]:
    yield f"| | {' | '.join(title for _, title in PEERS.values())} |"
    yield f"|---|{'--:|' * len(PEERS)}"
    for row in ROWS:
        yield f"| {row[0]} | {' | '.join(shown(better(figures, p, row)) for p in PEERS)} |"
    for title, work in LISTS:
        times = [figures.median("list", "near", p, work, "seconds", 1000) for p in PEERS]
        ours = figures.median("list", "near", "ours-ha", work, "seconds", 1000)
        cells = [shown(ratio(theirs, ours)) for theirs in times]
        yield f"| speed: {title}, 1,000 backups, 20 ms round trip | {' | '.join(cells)} |"
    yield ""


def example(figures: Figures) -> str:
    value = better(figures, "rclone", ROWS[0])
    if value is None:
        return "3 for an upload means that the other program needs three times as long"
    return f"with 100 ms round trip, an upload is {number(value)} times as fast as with rclone"


def memory(figures: Figures) -> str:
    """Sentences with the figures that were measured."""
    most = figures.most_memory({"ours": "rss", "ours-ha": "agent_rss"})
    small = figures.most_memory({"ours-32": "rss"})
    idle = cell.median("rss") if (cell := figures.cell("idle")) else None
    text = ""
    if most is not None:
        text += (
            f"The agent used at most {number(most)} MiB in all transfers, from 16 MiB to 5 GiB. "
        )
    if idle is not None:
        text += f"It uses {number(idle)} MiB while idle. "
    if small is not None:
        text += f"With `--memory 32MiB`, it used at most {number(small)} MiB. "
    return text or "Not measured yet."
