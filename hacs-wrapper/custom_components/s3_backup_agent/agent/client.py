"""The agent as a Python object that is always there.

Starts the agent when it is needed and again when it died, opens the targets in it, and turns
answers into models. What happens inside one running agent is in session.py.
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
from .log import Redactor, proxy_passwords
from .models import AgentInfo, Json, NewBackup, Progress, Uploaded
from .requests import Requests
from .session import GRACE, OPEN_DEADLINE, Exchange, Session
from .upload import Reporter, Stream, StreamFactory, run_upload

_LOGGER = logging.getLogger(__package__)
_RETRY_PAUSE = 2.0  # seconds before an upload is repeated; doubles each time
_LONGEST_RETRY_PAUSE = 60.0
_SECRETS = ("secret_access_key", "session_token")
_LIMITS = {"bandwidth_limit", "concurrency", "memory"}
_MAY_PASS = {Kind.CONNECT, Kind.TRANSIENT}  # faults of the storage, and of the way to it


class AgentClient(Requests):
    """An agent process that is there when it is needed. All methods belong to one event loop.

    Every method raises `AgentError` (see errors.py) and may be cancelled: what was begun is then
    taken back before `CancelledError` goes on. An agent that died is started again by the next
    call, and its targets are opened again; after repeated deaths calls wait a little, or fail at
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
        """Starts nothing yet.

        command: program and arguments. Default: the program that `find_agent` finds, with `serve`.
        folder: where to look for a program besides the places of the Python installation.
        state_dir: where the agent notes what it has begun (no secrets), so that the next one takes
            back what one that was killed has left. Without it only `cleanup` finds that.
        name, version: of the host, for the log of the agent.
        made_for: the version of the agent that the host was made for. Those before and after it do
            as well, see versions.py. Default: any.
        log_level: of the agent. Default: `debug` if the logger is, else `info`.
        logger: where the agent's log lines go. Default: this package's.
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
        """The last 50 log lines of the agent that runs, or ran last. Secrets are redacted."""
        return self._session.log_tail if self._session else ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> AgentInfo:
        """Starts the agent now instead of at the first call. Also needed to go on after `stop`."""
        self._stopped.clear()
        self._backoff.reset()
        async with self._starting:
            session = await self._running()
        if session.info is None:
            raise AgentProtocolError("the agent did not introduce itself")
        return session.info

    async def stop(self) -> None:
        """Ends the agent: running requests are aborted and cleaned up first. At most 25 seconds.

        Calls from now on raise `AgentError` with the code `shutting_down`. May be called twice.
        """
        self._stopped.set()
        if self._session and not self._session.is_ready:
            self._session.kill("it is not needed any more")
        async with self._starting:
            if self._session:
                await self._session.stop()

    async def open_target(self, name: str, config: Mapping[str, Any]) -> None:
        """Gives a name to a bucket with its keys; no network. Replaces a target of this name.

        config: `endpoint`, `region`, `bucket`, `prefix`, `access_key_id`, `secret_access_key`, ...
        Members that are None are left out. Raises `invalid_config` and such with `field`; then the
        target is as it was before.
        """
        wanted = _wanted(config)
        self._redact.add(v for k in _SECRETS if isinstance(v := wanted.get(k), str))
        async with self._starting:
            session = await self._running()
            await session.open_target(name, wanted)
            self._targets[name] = wanted

    async def change_target(self, name: str, config: Mapping[str, Any]) -> None:
        """Gives a target that was opened other settings, as `open_target` takes them.

        Transfers that run follow the limits (`bandwidth_limit`, `concurrency`,
        `memory`) at once and keep all else; an agent without the capability
        `target.update` lets them keep the limits as well. Raises as `open_target` does.
        """
        wanted = _wanted(config)
        before = self._targets.get(name, {})
        changed = {k for k in wanted.keys() | before.keys() if wanted.get(k) != before.get(k)}
        self._redact.add(v for k in _SECRETS if isinstance(v := wanted.get(k), str))
        async with self._starting:
            session = await self._running()
            if name in session.targets and session.can("target.update"):
                limits = {limit: wanted.get(limit) for limit in _LIMITS & changed}
                changed -= _LIMITS
                if limits:
                    params = {"target": name, "limits": limits}
                    await session.call("target.update", params, deadline=OPEN_DEADLINE)
            if changed or name not in session.targets:
                await session.open_target(name, wanted)
            self._targets[name] = wanted

    async def close_target(self, name: str) -> None:
        """Forgets a target. Does nothing if there is none of this name."""
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
        outage: float = 0,
        resume: float = 0,
        deadline: float | None = None,
    ) -> Uploaded:
        """Stores what `source` yields. Nothing is stored unless this returns.

        source: an async iterable of bytes, or a coroutine function that opens one. It is touched
        only when the agent is ready for the first byte, and closed in any case (by its `aclose`, or
        else its `abort`, where it has one). What it raises is raised here, unchanged. To copy a
        backup, give a function that opens a download.
        size: announced length; fewer bytes end in `length_mismatch`, more only with `exact`.
        on_progress: called about once a second, in the event loop.
        attempts: how often to try in all, if `source` can be opened again, when the storage or the
            network fails and the agent says that this may pass, or the agent itself ends. When that
            happens a second time it is raised: the agent runs out of memory or has a fault, which
            further repetitions would only hide.
        outage: seconds, up to an hour, that the storage may be away in the middle of an attempt,
            which then goes on where it was. An agent that is too old for it does not wait.
        resume: seconds, up to a day, that what an attempt has stored waits for the next one, which
            then has only the rest sent to the storage. Of the last attempt nothing is kept, and by
            an agent without the capability `upload.resume` of none.
        deadline: of one attempt.
        """
        params: Json = {
            "target": target,
            "backup": {"id": backup.id, "name": backup.name, "metadata": dict(backup.metadata)},
            "exact": exact,
            "if_exists": if_exists,
        } | ({} if size is None else {"size": size})
        if isinstance(source, AsyncIterable):
            attempts = 1
        report = Reporter(on_progress)
        pause = _RETRY_PAUSE
        has_died = False
        while True:
            attempts -= 1
            try:
                session = await self._session_for(target)
                upload = run_upload(
                    session,
                    params,
                    source,
                    on_progress=report,
                    outage=outage,
                    resume=resume if attempts > 0 else 0,
                    deadline=deadline,
                )
                return Uploaded.parse(await upload)
            except AgentTimeout:
                raise
            except AgentError as error:
                if attempts <= 0 or not error.retryable or error.kind not in _MAY_PASS:
                    raise
                if isinstance(error, AgentGone):
                    if has_died:
                        raise
                    has_died = True
                wait = max(pause, error.retry_after or 0)
                self._logger.warning("An upload is repeated in %g seconds: %s", wait, error)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopped.wait()
            pause = min(pause * 2, _LONGEST_RETRY_PAUSE)

    async def download(
        self,
        target: str,
        backup_id: str,
        *,
        offset: int = 0,
        outage: float = 0,
        deadline: float | None = None,
    ) -> DownloadStream:
        """Opens a backup for reading. Returns when its first bytes are on the way.

        Raises `NoSuchBackup` and whatever else is known before the first byte.
        offset: first byte wanted; an agent without the capability `download.range` has only 0.
        outage: as in `upload`. deadline: of the whole download.
        """
        session = await self._session_for(target)
        if offset and not session.can("download.range"):
            raise AgentError(
                "this agent sends backups from their first byte on only",
                code="unsupported_feature",
                kind=Kind.CONFIG,
                details={"feature": "download.range"},
            )
        params = {"target": target, "backup_id": backup_id, "offset": offset}
        return await open_download(session, params, outage=outage, deadline=deadline)

    async def _request(self, method: str, target: str, deadline: float, **params: Any) -> Json:
        """A request on a target, with everything that it takes, within the deadline."""
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
        session.begin(exchange, {"target": target, **params}, deadline=remaining)
        return await session.result(exchange, timeout=remaining + GRACE)

    async def _session_for(self, target: str) -> Session:
        """A running agent that has this target open."""
        self._refuse_if_stopped()
        session = self._session
        if session and session.is_ready and target in session.targets:
            return session
        async with self._starting:
            if (config := self._targets.get(target)) is None:
                raise AgentError(
                    f"there is no target {target!r}: open it first",
                    code="target_unknown",
                    kind=Kind.PROTOCOL,
                    details={"target": target},
                )
            session = await self._running()
            if target not in session.targets:
                await session.open_target(target, config)
            return session

    async def _running(self) -> Session:
        """A running agent. The lock `_starting` must be held."""
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
            self._session = session = Session(self._logger, self._redact, self._died)
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

    def _died(self, fault: AgentError, was_of_use: bool) -> None:
        """A running agent has ended."""
        if not self._stopped.is_set():
            self._logger.error("The agent has to be started again: %s", fault)
            self._backoff.failed(fault, was_of_use=was_of_use)


def _wanted(config: Mapping[str, Any]) -> Json:
    """The settings as they are sent."""
    return {"type": "s3"} | {k: v for k, v in config.items() if v is not None}
