"""What is asked of a target in one message and answered in one, without a stream of bytes."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Literal

from .errors import AgentProtocolError
from .models import Backup, Json, CleanupItem, Listing, Validation, Verification


class Requests(ABC):
    """The questions. `AgentClient` sends them."""

    @abstractmethod
    async def _request(self, method: str, target: str, deadline: float, **params: Any) -> Json:
        """A request on a target, with everything that it takes, within the deadline."""

    async def validate(
        self, target: str, *, level: Literal["read", "write"] = "write", deadline: float = 60
    ) -> Validation:
        """Tries out a target: reads, and with `write` also stores and deletes a small object."""
        result = await self._request("target.validate", target, deadline, level=level)
        return Validation.parse(result)

    async def cleanup(
        self,
        target: str,
        *,
        older_than: float = 86_400,
        dry_run: bool = False,
        objects: bool = False,
        deadline: float = 60,
    ) -> tuple[CleanupItem, ...]:
        """Removes what was left by uploads that nobody goes on with, of whatever program.

        older_than: seconds, up to a year, that nobody has begun it or sent a part of it.
        dry_run: only look. objects: also remove halves of backups, which are only named otherwise.
        An agent that is too old for it raises `method_not_found`.
        """
        params = {"older_than_s": round(older_than), "dry_run": dry_run, "objects": objects}
        return CleanupItem.parse_all(await self._request("target.cleanup", target, deadline, **params))

    async def list(
        self, target: str, *, refresh: bool = False, stale: float = 0, deadline: float = 30
    ) -> Listing:
        """All backups.

        refresh: ask the storage even when a recent listing is at hand. stale: seconds, up to a day,
        that a listing may be older than usual if it is at hand; a new one is made meanwhile.
        """
        now = asyncio.get_running_loop().time
        end = now() + deadline
        listing, cursor = Listing((), ()), None
        while True:
            params: dict[str, Any] = {"cursor": cursor, "refresh": refresh}
            if stale:
                params["stale_s"] = round(stale)
            page = await self._request("backup.list", target, end - now(), **params)
            listing += Listing.parse(page)
            if (following := page.get("next")) is None:
                return listing
            if not isinstance(following, str) or following == cursor:
                raise AgentProtocolError("the pages of a listing go round in circles")
            cursor, refresh = following, False

    async def get(self, target: str, backup_id: str, *, deadline: float = 30) -> Backup:
        """One backup. Raises `NoSuchBackup`."""
        result = await self._request("backup.get", target, deadline, backup_id=backup_id)
        return Backup.parse(result.get("backup"))

    async def verify(
        self, target: str, backup_id: str, *, quick: bool = False, deadline: float = 86_400
    ) -> Verification:
        """Tells whether a backup is still what was stored, without fetching it.

        quick: compare lengths only, instead of reading every byte. Raises `NoSuchBackup`, and what
        keeps the agent from looking. One without the capability `verify` raises `method_not_found`.
        """
        level = "quick" if quick else "full"
        result = await self._request(
            "backup.verify", target, deadline, backup_id=backup_id, level=level
        )
        return Verification.parse(result)

    async def delete(self, target: str, backup_id: str, *, deadline: float = 60) -> None:
        """Deletes a backup. Raises `NoSuchBackup`."""
        await self._request("backup.delete", target, deadline, backup_id=backup_id)
