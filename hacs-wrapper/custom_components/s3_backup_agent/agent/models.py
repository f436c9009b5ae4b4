"""The agent's answers as frozen dataclasses.

Parsing is tolerant because the agent may be newer or older than this library: unknown members are
ignored, missing members get a neutral value. Only the ID of a backup is required.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .errors import AgentError, AgentProtocolError, parse_error

Json = dict[str, Any]

_CHECK_STATUSES = ("passed", "failed", "skipped", "warning")
_ITEM_STATUSES = ("removed", "found", "failed")
_VERIFY_STATUSES = ("ok", "unverified", "damaged")


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
    """Name, version, capabilities and limits of the running agent, from its `hello`."""

    name: str
    version: str
    capabilities: frozenset[str]
    max_line: int
    max_payload: int
    max_requests: int
    max_transfers: int

    @classmethod
    def parse(cls, hello: Json) -> Self:
        """Parses the parameters of `hello`."""
        agent, limits = _object(hello.get("agent")), _object(hello.get("limits"))
        return cls(
            name=_text(agent.get("name")),
            version=_text(agent.get("version")),
            capabilities=frozenset(_object(hello.get("capabilities"))),
            # Every agent accepts at least this.
            max_line=max(65_536, _number(limits.get("max_line"))),
            max_payload=max(65_536, _number(limits.get("max_payload"))),
            max_requests=max(1, _number(limits.get("max_requests"), 8)),
            max_transfers=max(1, _number(limits.get("max_transfers"), 1)),
        )


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A backup to upload.

    id: 1 to 200 characters.
    name: suggested name of the objects without extension (`suggested_filename` without `.tar`).
    metadata: stored unchanged; at most 32 KiB as JSON. `metadata["backup_id"]` must equal `id`.
    """

    id: str
    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backup:
    """A stored backup.

    size: bytes according to its metadata. stored_size: bytes of the archive in the bucket.
    has_checksums: whether a download is checked against the checksums of the upload.
    metadata: as the program that stored the backup wrote it.
    """

    id: str
    name: str
    size: int
    stored_size: int
    has_checksums: bool
    metadata: Json

    @classmethod
    def parse(cls, value: object) -> Self:
        """Parses one entry of a listing. Raises `AgentProtocolError` if it has no ID."""
        raw = _object(value)
        if not _text(raw.get("id")):
            raise AgentProtocolError("the agent sent a backup without an ID")
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
    """An object that looks like part of a backup but is not listed. `code` is the reason."""

    key: str
    code: str
    message: str

    @classmethod
    def parse(cls, value: object) -> Self:
        raw = _object(value)
        return cls(_text(raw.get("key")), _text(raw.get("code")), _text(raw.get("message")))


@dataclass(frozen=True, slots=True)
class Listing:
    """All backups of a target, and the objects that were skipped."""

    backups: tuple[Backup, ...]
    skipped: tuple[Skipped, ...]

    @classmethod
    def parse(cls, page: Json) -> Self:
        """Parses one page of `backup.list`."""
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
class UploadResult:
    """An uploaded backup, as `list` shows it.

    resumed_bytes: bytes that an earlier attempt had stored, so they were not sent again.
    """

    backup: Backup
    etag: str | None
    version_id: str | None
    resumed_bytes: int | None = None

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Parses the result of `backup.upload`."""
        return cls(
            backup=Backup.parse(result.get("backup")),
            etag=_text(result.get("etag")) or None,
            version_id=_text(result.get("version_id")) or None,
            resumed_bytes=_number(result.get("resumed_bytes")) or None,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a target.

    status: `passed`, `failed`, `skipped`, or `warning` if it works but needs attention. A status
        unknown to this library counts as `warning`.
    message: the finding in English; may be empty. details: the same as data.
    error: the reason for a failure or a warning.
    """

    name: str
    status: str
    ms: int
    message: str
    details: Json
    error: AgentError | None

    @property
    def text(self) -> str:
        """Error and message in English."""
        texts = self.error.message if self.error else "", self.message
        return "; ".join(filter(None, texts))

    @classmethod
    def parse(cls, value: object) -> Self:
        raw = _object(value)
        error, status = raw.get("error"), _text(raw.get("status"))
        return cls(
            name=_text(raw.get("name")),
            status=status if status in _CHECK_STATUSES else "warning",
            ms=_number(raw.get("ms")),
            message=_text(raw.get("message")),
            details=_object(raw.get("details")),
            error=parse_error(error) if isinstance(error, dict) else None,
        )


@dataclass(frozen=True, slots=True)
class ValidateResult:
    """The result of `validate`. A target that fails is a result, not an exception.

    details: the values in use (`endpoint`, `region`, `addressing_style`), `provider` and `server`.
    suggestion: settings that work instead of the given ones; may be empty.
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
        """The checks with a warning."""
        return tuple(check for check in self.checks if check.status == "warning")

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Parses the result of `target.validate`."""
        return cls(
            ok=result.get("ok") is True,
            checks=tuple(map(Check.parse, _list(result.get("checks")))),
            details=_object(result.get("details")),
            suggestion=_object(result.get("suggestion")),
        )


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of `verify`. A damaged backup is a result, not an exception.

    status: `ok` (every byte matches its checksum), `unverified` (no damage found, but not every
        byte was compared), or `damaged`, which has an `error`.
    length: bytes of the stored archive; 0 if there is none, or if it was not checked.
    """

    status: str
    length: int
    error: AgentError | None

    @classmethod
    def parse(cls, result: Json) -> Self:
        """Parses the result of `backup.verify`.

        A status unknown to this library counts as `damaged` if it has an error, else `unverified`.
        """
        error, status = result.get("error"), _text(result.get("status"))
        known = parse_error(error) if isinstance(error, dict) else None
        return cls(
            status=status if status in _VERIFY_STATUSES else "damaged" if known else "unverified",
            length=_number(result.get("length")),
            error=known,
        )


@dataclass(frozen=True, slots=True)
class CleanupItem:
    """An incomplete upload or an orphaned object in the bucket.

    kind: for example `upload`, whose parts use space that no listing shows. key: object key.
    idle: seconds since the last activity.
    status: `removed`, `found` (not removed), or `failed`, which has an `error`.
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
            status=status if status in _ITEM_STATUSES else "found",
            error=parse_error(error) if isinstance(error, dict) else None,
        )

    @classmethod
    def parse_all(cls, result: Json) -> tuple[Self, ...]:
        """Parses the result of `target.cleanup`."""
        return tuple(map(cls.parse, _list(result.get("items"))))


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an upload.

    done: bytes that the server has stored; never decreases, even if the upload is repeated.
    total: bytes of the backup, if known. waiting_for: `host`, `remote` or None.
    phase: `queued`, `starting`, `transferring`, `finalizing`, `verifying` or `aborting`.
    """

    phase: str
    done: int
    total: int | None
    waiting_for: str | None
    retries: int

    @classmethod
    def parse(cls, params: Json, at_least: int = 0) -> Self:
        """Parses the parameters of `progress`."""
        total = params.get("total")
        return cls(
            phase=_text(params.get("phase"), "transferring"),
            done=max(at_least, _number(params.get("done"))),
            total=_number(total) if total is not None else None,
            waiting_for=_text(params.get("waiting_for")) or None,
            retries=_number(params.get("retries")),
        )
