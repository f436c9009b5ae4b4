"""When an agent that died is started again: at once, unless it never was of use."""

import asyncio
import copy

from .errors import AgentError

FIRST_PAUSE = 0.5  # seconds; doubles with every further failure
LONGEST_PAUSE = 60.0
PATIENCE = 5.0  # seconds that a call waits for a pause to end


class Backoff:
    """Counts failures in a row. An agent that answered a request on a target ends the row."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0
        self._error: AgentError | None = None

    def failed(self, error: AgentError, *, was_of_use: bool = False) -> None:
        """An agent could not be started, or has died."""
        self._error = error
        self._failures = 0 if was_of_use else self._failures + 1
        pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE) if self._failures else 0
        self._not_before = asyncio.get_running_loop().time() + pause

    def reset(self) -> None:
        """Somebody wants a new beginning."""
        self._failures, self._not_before, self._error = 0, 0.0, None

    async def wait(self) -> None:
        """Waits for the pause to end. Raises the last error again if that takes too long."""
        pause = self._not_before - asyncio.get_running_loop().time()
        if pause > PATIENCE and self._error:
            error = copy.copy(self._error)
            error.retry_after = pause
            raise error
        if pause > 0:
            await asyncio.sleep(pause)
