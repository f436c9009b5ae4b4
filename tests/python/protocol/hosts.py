"""The hosts of this project, driven by the requests of a transcript.

Each reports what its caller sees: a result, an error, or that it gave up itself.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol

import agent
import host
from player import Json, Line

_DATA = ("code", "kind", "retryable", "field", "details")  # of an error; all hosts expose these


class StoppedError(Exception):
    """The source or the sink of a transfer failed, or the caller cancelled it."""


class FailedError(Exception):
    """An error that a caller saw: members of an error's `data`."""

    def __init__(self, data: Json) -> None:
        super().__init__(data["code"])
        self.data = {name: value for name, value in data.items() if value not in (None, {})}


class Call:
    """One request of a transcript, from its caller's view."""

    def __init__(self, request: Line, about: Sequence[Line] = ()) -> None:
        """about: the other lines about it."""
        self.method = str(request.method)
        self.params: Json = request.message.get("params", {})
        self.feed = queue.SimpleQueue[bytes | None]()  # to the source of an upload; None: its end
        self.received = bytearray()  # by the sink of a download
        self.stopped = threading.Event()
        cancels = [i for i, line in enumerate(about) if line.method == "cancel"]
        self.is_cancelled = bool(cancels)
        before = about[: cancels[0]] if cancels else about
        self.has_credit = any(line.method == "stream.credit" for line in before)
        self.before_cancel = sum(line.payload.length for line in before if line.payload)

    def stop(self) -> None:
        self.stopped.set()
        self.feed.put(None)

    def chunks(self) -> Iterator[bytes]:
        """The source of an upload."""
        while (chunk := self.feed.get()) is not None:
            yield chunk
        if self.stopped.is_set():
            raise StoppedError

    def take(self, payload: bytes) -> None:
        """The sink of a download."""
        self.received += payload
        if self.is_cancelled and len(self.received) >= self.before_cancel:
            self.stopped.wait()
            raise StoppedError

    def options(self, *names: str) -> Json:
        """Returns the parameters except these."""
        return {name: value for name, value in self.params.items() if name not in names}


class Host(Protocol):
    """A host under test."""

    lacks: Collection[str]  # methods that it does not have

    async def start(self, command: Sequence[str]) -> None:
        """Starts the agent and makes the handshake."""

    async def perform(self, call: Call) -> Json:
        """Performs a request. Raises `FailedError`, or `StoppedError`."""

    async def stop(self) -> None:
        """Ends the agent."""

    def seen(self, method: str, result: Json) -> Json:
        """Returns a result as its callers see it."""

    def seen_error(self, data: Json) -> Json:
        """Returns the `data` of an error as its callers see it."""


class ReferenceHost:
    """protocol/reference/host.py. Its methods block, so each call gets a thread."""

    lacks: Collection[str] = ()

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(40)
        self._agent: host.Agent | None = None

    async def _run(self, work: Callable[..., Any], *arguments: object) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, *arguments)

    async def start(self, command: Sequence[str]) -> None:
        self._agent = await self._run(host.Agent, command)

    async def perform(self, call: Call) -> Json:
        assert self._agent
        try:
            result: Json = await self._run(self._perform, self._agent, call)
            return self.seen(call.method, result)
        except host.AgentError as error:
            raise FailedError({name: getattr(error, name) for name in _DATA}) from error

    def _perform(self, agent: host.Agent, call: Call) -> Json:
        params = call.params
        match call.method:
            case _ if call.is_cancelled and not (call.has_credit or call.before_cancel):
                request = agent.start(call.method, **params)
                call.stopped.wait()
                request.cancel("user")
                raise StoppedError
            case "backup.upload":
                options = call.options("target", "backup")
                return agent.upload(params["target"], params["backup"], call.chunks(), **options)
            case "backup.download":
                window = max(1000, params["up_to"])
                return agent.download(params["target"], params["backup_id"], call.take, window)
            case "backup.list" if "refresh" not in params:
                return agent.list(params["target"])
        return agent.call(call.method, **params)

    async def stop(self) -> None:
        running, self._agent = self._agent, None
        if running:
            exit_code = await self._run(running.close)
            self._pool.shutdown(wait=False)
            if exit_code:
                raise FailedError({"code": f"exit code {exit_code}"})

    def seen(self, method: str, result: Json) -> Json:
        return _only(result, "backups", "skipped") if method == "backup.list" else result

    def seen_error(self, data: Json) -> Json:
        return {name: data[name] for name in _DATA if name in data}


class ClientHost:
    """The library of the Home Assistant integration."""

    lacks: Collection[str] = ("ping", "target.repair", "target.update")

    def __init__(self) -> None:
        self._client = agent.AgentClient()

    async def start(self, command: Sequence[str]) -> None:
        self._client = agent.AgentClient(command=command)
        await self._client.start()

    async def perform(self, call: Call) -> Json:
        task = asyncio.create_task(self._perform(call, call.params.get("target", "")))
        if call.is_cancelled and not call.has_credit:
            await asyncio.to_thread(call.stopped.wait)
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError as error:
            raise StoppedError from error
        except agent.AgentError as error:
            raise FailedError(_error(error)) from error

    async def _perform(self, call: Call, target: str) -> Json:
        client, params = self._client, call.params
        options = call.options(
            "target", "backup_id", "cursor", "page_size", "progress_ms", "deadline_ms"
        )
        if "deadline_ms" in params:
            options["deadline"] = params["deadline_ms"] / 1000
        match call.method:
            case "target.open":
                await client.open_target(target, params["config"])
                return {}
            case "target.close":
                await client.close_target(target)
                return {}
            case "target.validate":
                validation = await client.validate(target, **options)
                found = asdict(validation) | {"checks": list(map(_check, validation.checks))}
                return {name: value for name, value in found.items() if value != {}}
            case "target.cleanup":
                if "older_than_s" in options:
                    options["older_than"] = options.pop("older_than_s")
                items = await client.cleanup(target, **options)
                return {"items": [_renamed(asdict(item)) for item in items]}
            case "backup.list":
                if "stale_s" in options:
                    options["stale"] = options.pop("stale_s")
                listing = await client.list(target, **options)
                return {name: list(entries) for name, entries in asdict(listing).items()}
            case "backup.get":
                return {"backup": asdict(await client.get(target, params["backup_id"], **options))}
            case "backup.verify":
                quick = options.pop("level", "full") == "quick"
                number = params["backup_id"]
                verification = await client.verify(target, number, quick=quick, **options)
                return _verification(verification)
            case "backup.delete":
                await client.delete(target, params["backup_id"], **options)
                return {}
            case "backup.upload":
                new = agent.NewBackup(**options.pop("backup"))
                stored = await client.upload(target, new, _source(call), **options)
                return _renamed(asdict(stored))
            case "backup.download":
                options.pop("up_to")
                stream = await client.download(target, params["backup_id"], **options)
                async for chunk in stream:
                    call.received += chunk
                return {"length": stream.length}
            case "shutdown":
                await client.stop()
                return {}
        raise NotImplementedError(call.method)

    async def stop(self) -> None:
        await self._client.stop()

    def seen(self, method: str, result: Json) -> Json:
        match method:
            case "target.validate":
                told = ("name", "status", "ms", "message", "details")
                checks = [_only(check, *told) for check in result["checks"]]
                for check, raw in zip(checks, result["checks"], strict=True):
                    if check["status"] not in ("passed", "failed", "skipped", "warning"):
                        check["status"] = "warning"
                    if error := raw.get("error"):
                        check["error"] = self.seen_error(error)
                return _only(result, "ok", "details", "suggestion") | {"checks": checks}
            case "target.cleanup":
                members = ("kind", "key", "idle_s", "status")
                items = [_only(item, *members) for item in result["items"]]
                for item in items:
                    if item["status"] not in ("removed", "found", "failed"):
                        item["status"] = "found"
                return {"items": items}
            case "backup.list":
                backups = [self._seen_backup(backup) for backup in result["backups"]]
                return {"backups": backups, "skipped": result["skipped"]}
            case "backup.get":
                return {"backup": self._seen_backup(result["backup"])}
            case "backup.verify":
                seen = _only(result, "status", "length")
                if error := result.get("error"):
                    seen["error"] = self.seen_error(error)
                return seen
            case "backup.upload":
                return result | {"backup": self._seen_backup(result["backup"])}
            case "backup.download":
                return _only(result, "length")
        return {}

    def _seen_backup(self, raw: Json) -> Json:
        return _only(raw, "id", "name", "size", "stored_size", "has_checksums", "metadata")

    def seen_error(self, data: Json) -> Json:
        return _only(data, *_DATA, "retry_after_ms", "cleanup", "upstream")


async def _source(call: Call) -> AsyncIterator[bytes]:
    """The source of an upload. Waits for chunks in a thread, like a real source."""
    chunks = call.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _only(raw: Json, *names: str) -> Json:
    return {name: raw[name] for name in names if name in raw}


def _renamed(members: Json) -> Json:
    """Returns the values with the protocol's names, without missing ones."""
    if "idle" in members:
        members["idle_s"] = members.pop("idle")
    return {name: value for name, value in members.items() if value is not None}


def _check(check: agent.Check) -> Json:
    members: Json = {"name": check.name, "status": check.status, "ms": check.ms}
    members |= {"message": check.message} if check.message else {}
    members |= {"details": check.details} if check.details else {}
    return members | ({"error": FailedError(_error(check.error)).data} if check.error else {})


def _verification(found: agent.VerifyResult) -> Json:
    members: Json = {"status": found.status, "length": found.length}
    return members | ({"error": FailedError(_error(found.error)).data} if found.error else {})


def _error(error: agent.AgentError) -> Json:
    wait = error.retry_after
    data = {name: getattr(error, name) for name in (*_DATA, "cleanup", "upstream")}
    return data | {"retry_after_ms": None if wait is None else round(wait * 1000)}
