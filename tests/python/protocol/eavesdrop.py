"""Runs an agent and records everything that other processes could see of it:

    eavesdrop.py FOLDER PROGRAM ARGUMENT...

It passes standard output and error on and copies them to `stdout` and `stderr` in FOLDER. `cmdline`
and `environ` there are the command line and the environment that the system shows to others.
"""

import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO


def tee(source: IO[bytes], through: IO[bytes], file: Path) -> None:
    with file.open("wb") as kept:
        while data := source.read1(65536):  # type: ignore[attr-defined]
            kept.write(data)
            through.write(data)
            through.flush()


def main() -> int:
    folder, *command = sys.argv[1:]
    kept = Path(folder)
    kept.mkdir(parents=True)
    # Standard input is passed on without a record, because it may contain secrets.
    agent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert agent.stdout
    assert agent.stderr
    pumps = [
        threading.Thread(target=tee, args=(agent.stdout, sys.stdout.buffer, kept / "stdout")),
        threading.Thread(target=tee, args=(agent.stderr, sys.stderr.buffer, kept / "stderr")),
    ]
    for pump in pumps:
        pump.start()
    for name in ("cmdline", "environ"):
        gone = contextlib.suppress(ProcessLookupError, PermissionError)
        with (kept / name).open("wb") as file, gone:
            # The files are gone if the program has already ended, or are readable for root only.
            file.write(Path(f"/proc/{agent.pid}/{name}").read_bytes())
    for pump in pumps:
        pump.join()
    return agent.wait()


if __name__ == "__main__":
    sys.exit(main())
