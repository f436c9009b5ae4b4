"""What the agent answers, as frozen dataclasses.

Reading is tolerant: unknown members are ignored and missing ones get their neutral value, because
the agent may be newer or older than this library. Only what cannot do without is insisted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .errors import AgentError, AgentProtocolError, from_wire

Json = dict[str, Any]

_STATUSES = ("passed", "failed", "skipped", "warning")
_FATES = ("removed", "found", "failed")
_CONDITIONS = ("ok", "unverified", "damaged")


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object, default: str = "") -> str:
    return value if isinstance(value, str) else default


def _number(value: object, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """The running agent, as it introduced itself."""

    name: str
    version: str
    capabilities: frozenset[str]
    max_line: int
    max_payload: int
    max_requests: int
    max_transfers: int

    @classmethod
    def parse(cls, hello: Json) -> Self:
        """Reads the parameters of `hello`."""
        agent, limits = _object(hello.get("agent")), _object(hello.get("limits"))
        return cls(
            name=_text(agent.get("name")),
            version=_text(agent.get("version")),
            capabilities=frozenset(_object(hello.get("capabilities"))),
            # The least that every agent accepts.
            max_line=max(65_536, _number(limits.get("max_line"))),
            max_payload=max(65_536, _number(limits.get("max_payload"))),
            max_requests=max(1, _number(limits.get("max_requests"), 8)),
            max_transfers=max(1, _number(limits.get("max_transfers"), 1)),
        )


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A backup to be stored.

    id: identity, 1 to 200 characters.
    name: wish for the name of the objects, without an ending (`suggested_filename` without `.tar`).
    metadata: stored verbatim; at most 32 KiB as JSON. `metadata["backup_id"]` must equal `id`.
    """

    id: str
    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backup:
    """A stored backup.

    size: bytes that its metadata announces. stored_size: bytes of the archive in the bucket.
    has_checksums: a download is checked against digests kept since the upload.
    metadata: as it was given, possibly by another program.
    """

    id: str
    name: str
    size: int
    stored_size: int
    has_checksums: bool
    metadata: Json

    @classmethod
    def parse(cls, value: object) -> Self:
        """Reads one entry of a list. Raises `AgentProtocolError` when it has no id."""
        raw = _object(value)
        if not _text(raw.get("id")):
            raise AgentProtocolError("a backup without an id came from the agent")
        size = _number(raw.get("size"))
        return cls(
            id=raw["id"],
            name=_text(raw.get("name"), raw["id"]),
            size=size,
            stored_size=_number(raw.get("stored_size"), size),
            has_checksums=raw.get("has_checksums") is True,
            metadata=_object(raw.get("metadata")),
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that looks like a part of a backup and is not offered; `code` says why."""

    key: str
    code: str
    message: str

    @classmethod
    def parse(cls, value: object) -> Self:
        raw = _object(value)
        return cls(_text(raw.get("key")), _text(raw.get("code")), _text(raw.get("message")))


@dataclass(frozen=True, slots=True)
class Listing:
    """All backups of a target, and what could not be read."""

    backups: tuple[Backup, ...]
    skipped: tuple[Skipped, ...]

    @classmethod
    def parse(cls, page: Json) -> Self:
        """Reads one page of `backup.list`."""
        backups, skipped = list[Backup](), list(map(Skipped.parse, _list(page.get("skipped"))))
        for entry in _list(page.get("backups")):
            try:
                backups.append(Backup.parse(entry))
            except AgentProtocolError as error:
                name = _text(_object(entry).get("name"))
                skipped.append(Skipped(name, "corrupt_metadata", error.message))
        return cls(tuple(backups), tuple(skipped))

    def __add__(self, other: Self) -> Self:
        return type(self)(self.backups + other.backups, self.skipped + other.skipped)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A backup that is stored, as `list` shows it from now on.

    resumed_bytes: what an earlier attempt had stored, so that it was not sent again.
    """

    backup: Backup
    etag: str | None
    version_id: str | None
    resumed_bytes: int | None = None

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Reads the result of `backup.upload`."""
        return cls(
            backup=Backup.parse(result.get("backup")),
            etag=_text(result.get("etag")) or None,
            version_id=_text(result.get("version_id")) or None,
            resumed_bytes=_number(result.get("resumed_bytes")) or None,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a target.

    status: `passed`, `failed`, `skipped`, or `warning` for what works but should be looked at, and
    for what this library does not know yet. message: what was found, in English; empty if there is
    nothing to say. details: the same for words of our own. error: why it failed, or what to look at.
    """

    name: str
    status: str
    ms: int
    message: str
    details: Json
    error: AgentError | None

    @property
    def words(self) -> str:
        """All that was said about it, in English."""
        said = self.error.message if self.error else "", self.message
        return "; ".join(filter(None, said))

    @classmethod
    def parse(cls, value: object) -> Self:
        raw = _object(value)
        error, status = raw.get("error"), _text(raw.get("status"))
        return cls(
            name=_text(raw.get("name")),
            status=status if status in _STATUSES else "warning",
            ms=_number(raw.get("ms")),
            message=_text(raw.get("message")),
            details=_object(raw.get("details")),
            error=from_wire(error) if isinstance(error, dict) else None,
        )


@dataclass(frozen=True, slots=True)
class Validation:
    """What `validate` found. A bad target is a result, not an exception.

    details: what is in force (`endpoint`, `region`, `addressing_style`), and with whom (`provider`,
    `server`). suggestion: settings that work in place of the given ones; empty if there are none.
    """

    ok: bool
    checks: tuple[Check, ...]
    details: Json
    suggestion: Json

    @property
    def error(self) -> AgentError | None:
        """The error of the first failed check."""
        return next((c.error for c in self.checks if c.status == "failed" and c.error), None)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """What works, but should be looked at."""
        return tuple(check for check in self.checks if check.status == "warning")

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Reads the result of `target.validate`."""
        return cls(
            ok=result.get("ok") is True,
            checks=tuple(map(Check.parse, _list(result.get("checks")))),
            details=_object(result.get("details")),
            suggestion=_object(result.get("suggestion")),
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. A broken backup is a result, not an exception.

    status: `ok` (every byte is the one that was stored), `unverified` (nothing speaks against it,
    and not every byte could be compared, or was to be), or `damaged`, which has an `error`.
    length: of the stored archive; 0 where there is none, or where it was not looked at.
    """

    status: str
    length: int
    error: AgentError | None

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Reads the result of `backup.verify`. What is newer than this library counts as broken if
        it has an error, else as plausible.
        """
        error, status = result.get("error"), _text(result.get("status"))
        known = from_wire(error) if isinstance(error, dict) else None
        return cls(
            status=status if status in _CONDITIONS else "damaged" if known else "unverified",
            length=_number(result.get("length")),
            error=known,
        )


@dataclass(frozen=True, slots=True)
class CleanupItem:
    """What a transfer that came to no end has left in the bucket.

    kind: `upload` (its parts take up space, and no listing shows them), or what is newer than this
    library. key: of the object in question. idle: seconds since anybody last touched it.
    status: `removed`, `found` (and left alone), or `failed`, which has an `error`.
    """

    kind: str
    key: str
    idle: int
    status: str
    error: AgentError | None

    @classmethod
    def parse(cls, value: object) -> Self:
        raw = _object(value)
        error, status = raw.get("error"), _text(raw.get("status"))
        return cls(
            kind=_text(raw.get("kind")),
            key=_text(raw.get("key")),
            idle=_number(raw.get("idle_s")),
            status=status if status in _FATES else "found",
            error=from_wire(error) if isinstance(error, dict) else None,
        )

    @classmethod
    def parse_all(cls, result: Json) -> tuple[Self, ...]:
        """Reads the result of `target.cleanup`."""
        return tuple(map(cls.parse, _list(result.get("items"))))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload has come.

    done: bytes that are safe in the storage; never decreases, not even when an upload is repeated.
    total: bytes in all, if known. waiting_for: `host`, `remote` or None.
    phase: `queued`, `starting`, `transferring`, `finalizing`, `verifying` or `aborting`.
    """

    phase: str
    done: int
    total: int | None
    waiting_for: str | None
    retries: int

    @classmethod
    def parse(cls, params: Json, at_least: int = 0) -> Self:
        """Reads the parameters of `progress`."""
        total = params.get("total")
        return cls(
            phase=_text(params.get("phase"), "transferring"),
            done=max(at_least, _number(params.get("done"))),
            total=_number(total) if total is not None else None,
            waiting_for=_text(params.get("waiting_for")) or None,
            retries=_number(params.get("retries")),
        )
