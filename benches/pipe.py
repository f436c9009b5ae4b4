"""Throughput from a Python host to the agent, compared with a raw pipe: `pipe.py [--size 4G]`.

The host is protocol/reference/host.py, standard library only. The agent is the real one, except
that its server discards all bytes (sink.rs). So the figures are those of the pipe, the protocol and
the SHA-256 over all bytes. The raw pipe is a `dd` that reads the same blocks. `sha256` is OpenSSL
over blocks in memory, the maximum for one thread. They take turns. The output has medians of GB/s,
and of the CPU seconds per GB of the host and of the other process.
"""

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "protocol/reference"))

from host import Agent  # noqa: E402

BLOCK = bytes(1 << 20)
CONFIG = {
    "type": "s3",
    "endpoint": "http://nowhere.invalid",
    "bucket": "nowhere",
    "access_key_id": "AK",
    "secret_access_key": "SK",
}


@dataclass
class Run:
    seconds: float
    host_cpu: float
    other_cpu: float


def cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], None]) -> Run:
    """Runs what starts and ends a child."""
    host, children, start = (
        cpu(resource.RUSAGE_SELF),
        cpu(resource.RUSAGE_CHILDREN),
        time.monotonic(),
    )
    work()
    return Run(
        time.monotonic() - start,
        cpu(resource.RUSAGE_SELF) - host,
        cpu(resource.RUSAGE_CHILDREN) - children,
    )


def blocks(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield BLOCK


def through_agent(program: Path, size: int) -> None:
    agent = Agent([str(program)])
    try:
        agent.call("target.open", target="t", config=CONFIG)
        backup = {"id": "b", "name": "b", "metadata": {}}
        stored = agent.upload("t", backup, blocks(size), size=size)
        assert stored["backup"]["stored_size"] == size
    finally:
        assert agent.close() == 0


def through_pipe(size: int) -> None:
    dd = ["dd", "of=/dev/null", "bs=1M", "status=none"]
    with subprocess.Popen(dd, stdin=subprocess.PIPE, bufsize=0, pipesize=1 << 20) as reader:
        assert reader.stdin
        for block in blocks(size):
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(reader.stdin.fileno(), rest) :]
        reader.stdin.close()


def through_digest(size: int) -> None:
    digest = hashlib.sha256()
    for block in blocks(size):
        digest.update(block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="4G", help="such as 512M or 4G")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sink", type=Path, help="built already, instead of building it now")
    options = parser.parse_args()
    size = int(options.size[:-1]) << {"M": 20, "G": 30}[options.size[-1]]
    if (sink := options.sink) is None:
        build = ["cargo", "build", "--release", "--features", "fuzzing", "--example", "sink"]
        subprocess.run(build, cwd=ROOT, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        sink = target / "release/examples/sink"
    runs: dict[str, list[Run]] = {"agent": [], "pipe": [], "sha256": []}
    for _ in range(options.rounds):
        runs["agent"].append(timed(lambda: through_agent(sink, size)))
        runs["pipe"].append(timed(lambda: through_pipe(size)))
        runs["sha256"].append(timed(lambda: through_digest(size)))
    speed = {}
    print("         GB/s   host CPU s/GB   other CPU s/GB")
    for name, all_runs in runs.items():
        speed[name] = statistics.median(size / run.seconds / 1e9 for run in all_runs)
        host, other = (
            statistics.median(getattr(run, part) / size * 1e9 for run in all_runs)
            for part in ("host_cpu", "other_cpu")
        )
        print(f"{name:6} {speed[name]:6.2f} {host:15.2f} {other:16.2f}")
    print(f"agent/pipe: {speed['agent'] / speed['pipe']:.2f}")


if __name__ == "__main__":
    main()
