"""The requests on a target that have no data stream: one message, one answer."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Literal

from .errors import AgentProtocolError
from .models import Backup, CleanupItem, Json, Listing, ValidateResult, VerifyResult


class Requests(ABC):
    """The methods for these requests. `AgentClient` sends them."""

    @abstractmethod
    async def _request(self, method: str, target: str, deadline: float, **params: Any) -> Json:
        """Starts the agent and opens the target if needed, sends the request, returns the result.

        The deadline covers all of this.
        """

    async def validate(
        self, target: str, *, level: Literal["read", "write"] = "write", deadline: float = 60
    ) -> ValidateResult:
        """Checks a target. Level `write` also stores and deletes a small object."""
        result = await self._request("target.validate", target, deadline, level=level)
        return ValidateResult.parse(result)

    async def cleanup(
        self,
        target: str,
        *,
        older_than: float = 86_400,
        dry_run: bool = False,
        objects: bool = False,
        deadline: float = 60,
    ) -> tuple[CleanupItem, ...]:
        """Removes incomplete uploads, also those of other programs.

        older_than: seconds since the last activity of an upload, up to a year. Newer uploads stay.
        dry_run: only list them.
        objects: also remove orphaned objects (an archive without metadata, or metadata without an
            archive), which are otherwise only listed.
        An agent without this method raises `method_not_found`.
        """
        params = {"older_than_s": round(older_than), "dry_run": dry_run, "objects": objects}
        return CleanupItem.parse_all(
            await self._request("target.cleanup", target, deadline, **params)
        )

    async def list(
        self, target: str, *, refresh: bool = False, stale: float = 0, deadline: float = 30
    ) -> Listing:
        """All backups.

        refresh: list the bucket even if the agent has a recent listing in its cache.
        stale: accept a cached listing that is up to this many seconds older than usual, at most a
            day. The agent updates the cache in the background.
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
                raise AgentProtocolError("the listing repeats a page: its cursor is invalid")
            cursor, refresh = following, False

    async def get(self, target: str, backup_id: str, *, deadline: float = 30) -> Backup:
        """One backup. Raises `NoSuchBackup`."""
        result = await self._request("backup.get", target, deadline, backup_id=backup_id)
        return Backup.parse(result.get("backup"))

    async def verify(
        self, target: str, backup_id: str, *, quick: bool = False, deadline: float = 86_400
    ) -> VerifyResult:
        """Checks a stored backup without downloading it.

        quick: compare only the lengths instead of reading every byte.
        Raises `NoSuchBackup`, or the error that prevented the check. An agent without the
        capability `verify` raises `method_not_found`.
        """
        level = "quick" if quick else "full"
        result = await self._request(
            "backup.verify", target, deadline, backup_id=backup_id, level=level
        )
        return VerifyResult.parse(result)

    async def delete(self, target: str, backup_id: str, *, deadline: float = 60) -> None:
        """Deletes a backup. Raises `NoSuchBackup`."""
        await self._request("backup.delete", target, deadline, backup_id=backup_id)
