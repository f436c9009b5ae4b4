"""Runs an agent and keeps all that others could see of it:

    eavesdrop.py FOLDER PROGRAM ARGUMENT...

Standard output and error go through, and into FOLDER as `stdout` and `stderr`; the command line and
the environment of the program, as the system shows them to others, into `cmdline` and `environ`.
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
    # Standard input is handed on as it is: what the host sends may hold secrets.
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
            # Nothing is there any more when the program has ended already, or hides it from all but
            # root.
            file.write(Path(f"/proc/{agent.pid}/{name}").read_bytes())
    for pump in pumps:
        pump.join()
    return agent.wait()


if __name__ == "__main__":
    sys.exit(main())
