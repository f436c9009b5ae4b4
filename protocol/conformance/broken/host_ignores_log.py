"""Does not read the log of its agent before the end."""

import sys
import threading
from typing import Any

from replacing import replace
from the_host import host

start = threading.Thread.start


class Waiting(threading.Thread):
    """The reader of the log, which begins when it is waited for."""

    def start(self) -> None:
        if self._target is not None and getattr(self._target, "__name__", "") != "extend":  # type: ignore[attr-defined]
            super().start()

    def join(self, timeout: Any = None) -> None:
        if not self.is_alive() and self.ident is None:
            start(self)
        super().join(timeout)


replace(threading, "Thread", Waiting)
sys.exit(host.serve_program(sys.argv[1:]))
