"""Transfers with our integration and with core's aws_s3, side by side: `bench.py`.

Every measurement has a process of its own, and the sides take turns. The last line is `passed` or
`failed`.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from measure import MIB, SIDES, TRANSFERS, Result, digest

MEASURE = Path(__file__).with_name("measure.py")
UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30}

# What Home Assistant's own process may take.
CPU_RATIO = 0.25  # of theirs
GROWTH = 16.0  # MiB
STALL = 20.0  # ms above idle

Results = dict[tuple[str, str], list[Result]]


def bytes_of(text: str) -> int:
    if not (match := re.fullmatch(r"(\d+)([KMG]?)", text.upper())):
        raise argparse.ArgumentTypeError(f"{text} is not a size such as 512M")
    return int(match[1]) * UNITS[match[2]]


def measure(side: str, transfer: str, size: int, *options: str) -> Result:
    """One transfer in a new process; one with the wrong length is an error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(MEASURE), side, transfer, str(size), f"--port={port}", *options]
    environment = os.environ | {"AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=600)
    if done.returncode:
        sys.exit(f"{side} {transfer} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
    result = Result(**json.loads(done.stdout.splitlines()[-1]))
    if result.length != size:
        sys.exit(f"{side} {transfer}: {result.length} bytes instead of {size}")
    return result


def check(side: str, transfer: str, size: int) -> None:
    """Downloads once to compare the content, which would cost time in a measurement."""
    if measure(side, transfer, size, "--check").sha256 != digest(size):
        sys.exit(f"{side} {transfer}: the content is wrong")


def run(size: int, rounds: int) -> Results:
    sizes = {"upload": size, "download": size, "view": size // 2}
    results: Results = {(side, transfer): [] for transfer in TRANSFERS for side in SIDES}
    for side in SIDES:
        for stored in sorted(set(sizes.values())):
            measure(side, "upload", stored)
            check(side, "download", stored)
        check(side, "view", sizes["view"])
    for n in range(rounds):
        for transfer in TRANSFERS:
            for side in SIDES if n % 2 == 0 else reversed(SIDES):
                result = measure(side, transfer, sizes[transfer])
                results[side, transfer].append(result)
                print(f"round {n + 1}: {side} {transfer} {result}", file=sys.stderr)
    return results


def median(results: Sequence[Result], what: str) -> float:
    return statistics.median(float(getattr(result, what)) for result in results)


def stall(results: Sequence[Result]) -> float:
    """Above idle."""
    return statistics.median(result.stall - result.idle_stall for result in results)


def report(results: Results) -> list[str]:
    """Prints the table, and returns what is beyond the limits."""
    print(
        f"{'':16}{'MiB':>6}{'CPU s':>9}{'agent CPU s':>13}{'growth MiB':>12}"
        f"{'stall ms':>10}{'idle ms':>9}{'above idle':>12}{'wall s':>9}"
    )
    beyond = []
    for transfer in TRANSFERS:
        rows = {side: results[side, transfer] for side in SIDES}
        for side, row in rows.items():
            print(
                f"{transfer:9}{side:7}{row[0].length / MIB:6.0f}{median(row, 'cpu'):9.3f}"
                f"{median(row, 'agent_cpu'):13.2f}{median(row, 'growth'):12.1f}"
                f"{median(row, 'stall'):10.1f}{median(row, 'idle_stall'):9.1f}"
                f"{stall(row):12.1f}{median(row, 'wall'):9.2f}"
            )
        ours, theirs = rows["ours"], rows["theirs"]
        cpu = median(ours, "cpu") / median(theirs, "cpu")
        wall = median(ours, "wall") / median(theirs, "wall")
        print(f"{transfer:9}ours/theirs: CPU {cpu:.3f}, wall {wall:.2f}")
        if cpu > CPU_RATIO:
            beyond.append(f"{transfer}: CPU {cpu:.3f} of theirs, limit {CPU_RATIO}")
        if (growth := median(ours, "growth")) > GROWTH:
            beyond.append(f"{transfer}: grows by {growth:.1f} MiB, limit {GROWTH:.0f}")
        if (late := stall(ours)) > STALL:
            beyond.append(f"{transfer}: {late:.1f} ms late above idle, limit {STALL:.0f}")
    return beyond


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=bytes_of, default="1G", help="of the class; the view: half")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    beyond = report(run(given.size, given.rounds))
    for line in beyond:
        print(line)
    print("failed" if beyond else "passed")
    sys.exit(bool(beyond))


if __name__ == "__main__":
    main()
