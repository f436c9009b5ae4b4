#!/usr/bin/env python3
"""Programs that tests start get the default signals, whatever the test run inherited:
    default_signals.py COMMAND...

A shell without job control starts background jobs with SIGINT ignored, `nohup` ignores SIGHUP, and
some schedulers block signals. A child process inherits all of that, and an interrupt that a test
sends would never arrive. Python tests import this file; shell scripts run it in front of a command.
"""

import os
import signal
import sys


def give_default_signals() -> None:
    """Lets programs that this process starts from now on begin with the default signals.

    This process itself goes on ignoring what it ignored: a handler that does nothing is not
    inherited, while "ignored" is.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    give_default_signals()
    os.execvp(sys.argv[1], sys.argv[1:])
