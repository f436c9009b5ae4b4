"""The client of the agent.

It starts the agent on demand, restarts it after a crash, opens the targets in it, and turns answers
into models. session.py handles one running agent.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self

from .backoff import Backoff
from .binary import find_agent
from .download import DownloadStream, open_download
from .errors import AgentError, AgentGone, AgentProtocolError, AgentTimeout, Kind
from .exchange import Exchange
from .log import Redactor, proxy_passwords
from .models import AgentInfo, Json, NewBackup, Progress, UploadResult
from .requests import Requests
from .session import GRACE, OPEN_DEADLINE, Session
from .upload import ProgressReporter, Stream, StreamFactory, run_upload

_LOGGER = logging.getLogger(__package__)
_RETRY_PAUSE = 2.0  # seconds before an upload is repeated; doubles each time
_MAX_RETRY_PAUSE = 60.0
_SECRETS = ("secret_access_key", "session_token")
_LIMITS = {"bandwidth_limit", "concurrency", "memory"}
_TRANSIENT_KINDS = {Kind.CONNECT, Kind.TRANSIENT}  # failures of the server or the network


class AgentClient(Requests):
    """An agent process that starts on demand. Use all methods in one event loop.

    Every method raises `AgentError` (see errors.py). Every method can be canceled: the agent
    cleans up before `CancelledError` is raised. If the agent ended, the next call starts it again
    and opens its targets again; after repeated failures, calls wait for some seconds or fail at
    once. Deadlines are in seconds.
    """

    def __init__(
        self,
        *,
        command: Sequence[str | os.PathLike[str]] | None = None,
        folder: Path | None = None,
        state_dir: Path | None = None,
        name: str = "python-host",
        version: str = "1",
        made_for: str | None = None,
        log_level: Literal["error", "warning", "info", "debug"] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Does not start the agent yet.

        command: program and arguments. Default: the program that `find_agent` finds, with `serve`.
        folder: where to search for the program, after the directories of the Python installation.
        state_dir: directory for the upload journal (no secrets). With it, the next agent cleans up
            the incomplete uploads of an agent that was killed; without it, only `cleanup` does.
        name, version: of the host, for the agent's log.
        made_for: the version of the agent that the host was made for; see versions.py for the
            versions that are accepted. Default: any.
        log_level: of the agent. Default: `debug` if the logger is enabled for it, else `info`.
        logger: for the agent's log lines. Default: the logger of this package.
        """
        self._command = command
        self._folder = folder
        self._state_dir = state_dir
        self._host = {"name": name, "version": version}
        self._made_for = made_for
        self._log_level = log_level
        self._logger = logger or _LOGGER
        self._redact = Redactor()
        self._redact.add(proxy_passwords())
        self._targets: dict[str, Json] = {}
        self._session: Session | None = None
        self._starting = asyncio.Lock()
        self._backoff = Backoff()
        self._stopped = asyncio.Event()

    @property
    def info(self) -> AgentInfo | None:
        """The running agent, or None."""
        return self._session.info if self._session and self._session.is_ready else None

    @property
    def pid(self) -> int | None:
        """The process id of the running agent, or None."""
        return self._session.pid if self._session and self._session.is_ready else None

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last 50 log lines of the running or last agent. Secrets are redacted."""
        return self._session.log_tail if self._session else ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> AgentInfo:
        """Starts the agent now instead of with the first call. Required after `stop`."""
        self._stopped.clear()
        self._backoff.reset()
        async with self._starting:
            session = await self._ready_session()
        if session.info is None:
            raise AgentProtocolError("the agent did not say hello")
        return session.info

    async def stop(self) -> None:
        """Stops the agent, which first aborts running requests and cleans up. At most 25 seconds.

        Later calls raise `AgentError` with the code `shutting_down`. May be called twice.
        """
        self._stopped.set()
        if self._session and not self._session.is_ready:
            self._session.kill("it is no longer needed")
        async with self._starting:
            if self._session:
                await self._session.stop()

    async def open_target(self, name: str, config: Mapping[str, Any]) -> None:
        """Opens a target, or replaces the target of this name. Uses no network.

        config: `endpoint`, `region`, `bucket`, `prefix`, `access_key_id`, `secret_access_key`, ...
        Members that are None are omitted. Raises for example `invalid_config` with `field`; the
        target is then unchanged.
        """
        wire = _wire_config(config)
        self._redact.add(v for k in _SECRETS if isinstance(v := wire.get(k), str))
        async with self._starting:
            session = await self._ready_session()
            await session.open_target(name, wire)
            self._targets[name] = wire

    async def update_target(self, name: str, config: Mapping[str, Any]) -> None:
        """Changes the settings of an open target. config: as for `open_target`.

        Running transfers follow new limits (`bandwidth_limit`, `concurrency`, `memory`) at once and
        keep all other settings. With an agent without the capability `target.update` they also keep
        their limits. Raises the same errors as `open_target`.
        """
        wire = _wire_config(config)
        before = self._targets.get(name, {})
        changed = {k for k in wire.keys() | before.keys() if wire.get(k) != before.get(k)}
        self._redact.add(v for k in _SECRETS if isinstance(v := wire.get(k), str))
        async with self._starting:
            session = await self._ready_session()
            if name in session.targets and session.can("target.update"):
                limits = {limit: wire.get(limit) for limit in _LIMITS & changed}
                changed -= _LIMITS
                if limits:
                    params = {"target": name, "limits": limits}
                    await session.call("target.update", params, deadline=OPEN_DEADLINE)
            if changed or name not in session.targets:
                await session.open_target(name, wire)
            self._targets[name] = wire

    async def close_target(self, name: str) -> None:
        """Closes a target. Does nothing if there is none of this name."""
        self._targets.pop(name, None)
        session = self._session
        if session and session.is_ready and name in session.targets:
            session.targets.discard(name)
            with suppress(AgentError):
                await session.call("target.close", {"target": name}, deadline=OPEN_DEADLINE)

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
        retry_for: float = 0,
        resume: float = 0,
        deadline: float | None = None,
    ) -> UploadResult:
        """Uploads a backup from `source`. If this raises, nothing is stored.

        source: an async iterable of bytes, or a coroutine function that opens one. It is opened
            when the agent is ready for the first byte, and always closed (with `aclose`, else
            `abort`, if it has one of them). Its exceptions are raised unchanged. To copy a backup,
            pass a function that opens a download.
        size: expected length. Fewer bytes raise `length_mismatch`; more bytes do so with `exact`.
        on_progress: called about once a second in the event loop.
        attempts: the number of attempts if `source` is a function. An upload is repeated after a
            retryable failure of the server or the network, and once after an unexpected end of the
            agent. A second end is raised, because it points to a lack of memory or a bug.
        retry_for: seconds, up to an hour, for which the agent keeps retrying within an attempt if
            the server becomes unreachable. An agent that does not know this setting ignores it.
        resume: seconds, up to a day, for which the parts of a failed attempt are kept, so that the
            next attempt sends only the rest. The last attempt keeps nothing, and neither does an
            agent without the capability `upload.resume`.
        deadline: for one attempt.
        """
        params: Json = {
            "target": target,
            "backup": {"id": backup.id, "name": backup.name, "metadata": dict(backup.metadata)},
            "exact": exact,
            "if_exists": if_exists,
        } | ({} if size is None else {"size": size})
        if isinstance(source, AsyncIterable):
            attempts = 1
        report = ProgressReporter(on_progress)
        pause = _RETRY_PAUSE
        has_crashed = False
        while True:
            attempts -= 1
            try:
                session = await self._session_for(target)
                upload = run_upload(
                    session,
                    params,
                    source,
                    on_progress=report,
                    retry_for=retry_for,
                    resume=resume if attempts > 0 else 0,
                    deadline=deadline,
                )
                return UploadResult.parse(await upload)
            except AgentTimeout:
                raise
            except AgentError as error:
                if attempts <= 0 or not error.retryable or error.kind not in _TRANSIENT_KINDS:
                    raise
                if isinstance(error, AgentGone):
                    if has_crashed:
                        raise
                    has_crashed = True
                wait = max(pause, error.retry_after or 0)
                self._logger.warning("An upload is repeated in %g seconds: %s", wait, error)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopped.wait()
            pause = min(pause * 2, _MAX_RETRY_PAUSE)

    async def download(
        self,
        target: str,
        backup_id: str,
        *,
        offset: int = 0,
        retry_for: float = 0,
        deadline: float | None = None,
    ) -> DownloadStream:
        """Opens a backup for reading. Returns before the first byte.

        Raises `NoSuchBackup`, and other errors that occur before the first byte.
        offset: first byte to send; must be 0 for an agent without the capability `download.range`.
        retry_for: as for `upload`. deadline: for the whole download.
        """
        session = await self._session_for(target)
        if offset and not session.can("download.range"):
            raise AgentError(
                "this agent cannot start a download in the middle of a backup",
                code="unsupported_feature",
                kind=Kind.CONFIG,
                details={"feature": "download.range"},
            )
        params = {"target": target, "backup_id": backup_id, "offset": offset}
        return await open_download(session, params, retry_for=retry_for, deadline=deadline)

    async def _request(self, method: str, target: str, deadline: float, **params: Any) -> Json:
        now = asyncio.get_running_loop().time
        end = now() + deadline
        exchange = Exchange(method)
        try:
            async with asyncio.timeout_at(end):
                session = await self._session_for(target)
                await session.slot(exchange)
        except TimeoutError:
            raise AgentTimeout(f"no agent for {method} within the deadline") from None
        remaining = end - now()
        session.send(exchange, {"target": target, **params}, deadline=remaining)
        return await session.result(exchange, timeout=remaining + GRACE)

    async def _session_for(self, target: str) -> Session:
        """A running agent in which this target is open."""
        self._refuse_if_stopped()
        session = self._session
        if session and session.is_ready and target in session.targets:
            return session
        async with self._starting:
            if (config := self._targets.get(target)) is None:
                raise AgentError(
                    f"the target {target!r} is not open: open it first",
                    code="target_unknown",
                    kind=Kind.PROTOCOL,
                    details={"target": target},
                )
            session = await self._ready_session()
            if target not in session.targets:
                await session.open_target(target, config)
            return session

    async def _ready_session(self) -> Session:
        """A running agent. The caller must hold the lock `_starting`."""
        self._refuse_if_stopped()
        if self._session and self._session.is_ready:
            return self._session
        await self._backoff.wait()
        try:
            command = self._command
            if command is None:
                loop = asyncio.get_running_loop()
                command = (await loop.run_in_executor(None, find_agent, self._folder), "serve")
            if self._state_dir is not None:
                command = (*command, "--state-dir", self._state_dir)
            self._refuse_if_stopped()
            self._session = session = Session(self._logger, self._redact, self._on_exit)
            level = "debug" if self._logger.isEnabledFor(logging.DEBUG) else "info"
            await session.start(
                command,
                self._host,
                made_for=self._made_for,
                log_level=self._log_level or level,
            )
        except AgentError as error:
            self._backoff.failed(error)
            raise
        return session

    def _refuse_if_stopped(self) -> None:
        if self._stopped.is_set():
            raise AgentError("the agent was stopped", code="shutting_down", kind=Kind.CANCELLED)

    def _on_exit(self, error: AgentError, has_served: bool) -> None:
        """A running agent ended."""
        if not self._stopped.is_set():
            self._logger.error("The agent must be restarted: %s", error)
            self._backoff.failed(error, has_served=has_served)


def _wire_config(config: Mapping[str, Any]) -> Json:
    """The settings as they are sent to the agent."""
    return {"type": "s3"} | {k: v for k, v in config.items() if v is not None}
