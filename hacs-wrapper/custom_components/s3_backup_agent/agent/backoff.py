"""The pauses between restarts of an agent that keeps failing."""

import asyncio
import copy

from .errors import AgentError

MIN_PAUSE = 0.5  # seconds; doubles with each further failure
MAX_PAUSE = 60.0
MAX_WAIT = 5.0  # seconds that a call waits for a pause to end


class Backoff:
    """Counts failures in a row. An agent that answered a request for a target resets the count."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0
        self._error: AgentError | None = None

    def failed(self, error: AgentError, *, has_served: bool = False) -> None:
        """Records that an agent could not be started, or ended unexpectedly."""
        self._error = error
        self._failures = 0 if has_served else self._failures + 1
        pause = min(MIN_PAUSE * 2 ** (self._failures - 1), MAX_PAUSE) if self._failures else 0
        self._not_before = asyncio.get_running_loop().time() + pause

    def reset(self) -> None:
        """Forgets all failures."""
        self._failures, self._not_before, self._error = 0, 0.0, None

    async def wait(self) -> None:
        """Waits for the pause to end. Raises the last error again if that takes too long."""
        pause = self._not_before - asyncio.get_running_loop().time()
        if pause > MAX_WAIT and self._error:
            error = copy.copy(self._error)
            error.retry_after = pause
            raise error
        if pause > 0:
            await asyncio.sleep(pause)
