"""The agent as a Python object (signatures first; the bodies follow)."""

import logging
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from .models import AgentInfo, Backup, Listing, NewBackup, Progress, Uploaded, Validation

#: A source of bytes, or something that opens one (again, when an upload is repeated).
Stream = AsyncIterable[bytes]
StreamFactory = Callable[[], Awaitable[Stream]]


class DownloadStream(AsyncIterator[bytes]):
    """The bytes of a backup, in chunks of about 1 MiB. `async for chunk in stream`.

    The bytes are good only once the iteration ends by itself: the length is verified, and the error
    of the agent is raised even when all bytes came. Reading on after an error raises it again.
    The transfer ends at the end, at an error, with `aclose`, and when nobody holds the stream any more.
    """

    @property
    def backup(self) -> Backup:
        """What is being downloaded."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        """Bytes that the stream will have (those from `offset` on)."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        raise NotImplementedError

    async def __anext__(self) -> bytes:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Ends the transfer. Reading on raises `StopAsyncIteration`."""
        raise NotImplementedError


class AgentClient:
    """An agent process that is there when it is needed. All methods belong to one event loop.

    Every method raises `AgentError` (see errors.py) and may be cancelled: what was begun is then
    taken back before `CancelledError` goes on. An agent that died is started again by the next call,
    and its targets are opened again; after repeated deaths calls wait a little, or fail at once.
    """

    def __init__(
        self,
        *,
        command: Sequence[str | os.PathLike[str]] | None = None,
        folder: Path | None = None,
        name: str = "python-host",
        version: str = "1",
        required_version: str | None = None,
        log_level: Literal["error", "warning", "info", "debug"] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Starts nothing yet.

        command: program and arguments. Default: the program that `find_agent` finds, with `serve`.
        folder: where to look for a program besides the places of the Python installation.
        name, version: of the host, for the log of the agent.
        required_version: the only version of the agent that will do.
        log_level: of the agent. Default: `debug` if the logger is, else `info`.
        logger: where the agent's log lines go. Default: this package's.
        """
        raise NotImplementedError

    @property
    def info(self) -> AgentInfo | None:
        """The running agent, or None."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """The process id of the running agent, or None."""
        raise NotImplementedError

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last 50 log lines of the agent, the one that died included. Secrets are redacted."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError

    async def start(self) -> AgentInfo:
        """Starts the agent now instead of at the first call. Also needed to go on after `stop`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Ends the agent: running requests are aborted and cleaned up first. At most 20 seconds.

        Calls from now on raise `AgentError` with the code `shutting_down`. May be called twice.
        """
        raise NotImplementedError

    async def open_target(self, name: str, config: Mapping[str, Any]) -> None:
        """Gives a name to a bucket with its keys; no network. Replaces a target of this name.

        config: `endpoint`, `region`, `bucket`, `prefix`, `access_key_id`, `secret_access_key`, ...
        Members that are None are left out. Raises `invalid_config` and such with `field`; then the
        target is as it was before.
        """
        raise NotImplementedError

    async def close_target(self, name: str) -> None:
        """Forgets a target. Does nothing if there is none of this name."""
        raise NotImplementedError

    async def validate(
        self, target: str, *, level: Literal["read", "write"] = "write", deadline: float = 60
    ) -> Validation:
        """Tries out a target: reads, and with `write` also stores and deletes a small object."""
        raise NotImplementedError

    async def list(self, target: str, *, refresh: bool = False, deadline: float = 30) -> Listing:
        """All backups. refresh: ask the storage even when a recent listing is at hand."""
        raise NotImplementedError

    async def get(self, target: str, backup_id: str, *, deadline: float = 30) -> Backup:
        """One backup. Raises `NoSuchBackup`."""
        raise NotImplementedError

    async def delete(self, target: str, backup_id: str, *, deadline: float = 60) -> None:
        """Deletes a backup. Raises `NoSuchBackup`."""
        raise NotImplementedError

    async def upload(
        self,
        target: str,
        backup: NewBackup,
        source: Stream | StreamFactory,
        *,
        size: int | None = None,
        exact: bool = False,
        if_exists: Literal["fail", "replace"] = "fail",
        on_progress: Callable[[Progress], None] | None = None,
        attempts: int = 1,
        deadline: float | None = None,
    ) -> Uploaded:
        """Stores what `source` yields. Nothing is stored unless this returns.

        source: an async iterable of bytes, or a coroutine function that opens one. It is touched
        only when the agent is ready for the first byte, and closed in any case (by its `aclose`, or
        else its `abort`, where it has one). What it raises is raised here, unchanged.
        size: announced length; fewer bytes end in `length_mismatch`, more only with `exact`.
        on_progress: called about once a second, in the event loop, with what is safe in the storage.
        attempts: how often to try after errors that are retryable, if `source` can be opened again.
        """
        raise NotImplementedError

    async def download(
        self, target: str, backup_id: str, *, offset: int = 0, deadline: float | None = None
    ) -> DownloadStream:
        """Opens a backup for reading. Returns when its first bytes are on the way.

        Raises `NoSuchBackup` and whatever else is known before the first byte.
        """
        raise NotImplementedError
