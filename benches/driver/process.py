"""Runs a program and measures what it and all its children use."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from .results import MIB, Run

PAUSE = 0.03  # seconds between two looks at the memory, which cost a millisecond
LONGEST = 3600.0  # seconds


class ProgramError(Exception):
    """A program ended with an error. The message has its output."""


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    timeout: float = LONGEST,
    accepted: Container[int] = (0,),
) -> tuple[Run, bytes]:
    """Runs a program to its end. Returns what it took, and its output.

    environment: it gets nothing else but our PATH and HOME. accepted: exit codes that are no error.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    start = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in command],
        env=inherited | dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    memory = Memory(process.pid)
    killer = threading.Timer(timeout, process.kill)
    killer.start()
    errors: list[bytes] = []
    assert process.stdout and process.stderr
    try:
        with process.stdout as stdout, process.stderr as stderr:
            reader = threading.Thread(target=lambda: errors.append(stderr.read()))
            reader.start()
            output = stdout.read()
            reader.join()
        # Not `wait`: this one also tells what it and its children took.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        killer.cancel()
        peak = memory.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        said = (errors[0] + output).decode(errors="replace")[-3000:]
        raise ProgramError(f"{command[0]} ended with {process.returncode}: {said}")
    return Run(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, rss=peak / MIB), output


class Memory:
    """Watches how much memory a process and its children have."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        """The peak, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while True:
            now = [resident(pid) for pid in tree(self._pid)]
            # A process may have used more between two measurements: the system keeps its peak.
            self._peak = max(self._peak, sum(rss for rss, _ in now), *(high for _, high in now))
            if self._ended.wait(PAUSE):
                return


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, Path(thread, "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def resident(pid: int) -> tuple[int, int]:
    """Memory of a process in bytes: now, and its peak. 0 if the process has ended."""
    values = {}
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                values[name] = int(value.split()[0]) << 10
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    return values.get("VmRSS", 0), values.get("VmHWM", 0)
