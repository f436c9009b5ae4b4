"""A request of a session and its answer."""

import asyncio
from collections.abc import Sequence

from .frame import Piece
from .models import Json


class Exchange:
    """A running request. Transfers use subclasses that receive their stream messages."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.id = 0
        self.is_cancelled = False
        self.answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        # Without this, asyncio logs an error that is never retrieved.
        self.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def receive(self, method: str, params: Json, payload: Sequence[Piece] | None) -> None:
        """Handles a notification about this request. Must not block.

        Raises `AgentProtocolError` if the notification is invalid; the request is then abandoned.
        """
