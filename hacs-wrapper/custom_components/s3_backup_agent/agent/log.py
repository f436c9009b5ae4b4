"""Turns the agent's standard error into log records of this process.

The agent writes one JSON object with a level per line. Any other line (a panic, a message of the
loader) counts as an error. Secrets are replaced before a line is logged or kept. The last lines are
kept for error reports.
"""

import asyncio
import json
import logging
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import quote, urlsplit

KEPT_LINES = 50
_MAX_LINE = 8 << 10  # the agent's limit; longer lines are split
_LINES_PER_TURN = 50  # between two chances for other tasks to run
_MIN_SECRET_LENGTH = 4  # shorter secrets would redact unrelated text
# Raised while parsing a line that the agent did not write.
_PARSE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


class Redactor:
    """Replaces secrets in texts."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """Adds secrets, also in their spellings in JSON and URLs."""
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                self._secrets |= {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
        # The longest first: a secret that contains another one is replaced as a whole.
        words = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub("**REDACTED**", text) if self._pattern else text


def proxy_passwords() -> Iterator[str]:
    """The proxy passwords in the environment that the agent inherits."""
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy"):
            with suppress(ValueError):
                if password := urlsplit(value).password:
                    yield password


class LogReader:
    """Reads the standard error of one agent until it ends."""

    def __init__(self, logger: logging.Logger, redact: Redactor) -> None:
        self._logger = logger
        self._redact = redact
        self._tail = deque[str](maxlen=KEPT_LINES)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self._tail)

    async def run(self, stream: asyncio.StreamReader) -> None:
        """Logs line by line. Never raises, and never blocks the event loop."""
        rest, count = b"", 0
        while data := await stream.read(_MAX_LINE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _MAX_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._line(line)
                count += 1
                if count % _LINES_PER_TURN == 0:
                    await asyncio.sleep(0)
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if not text:
            return
        level = logging.ERROR
        if text.startswith("{"):
            level, text = _parse_record(text)
        text = self._redact(text)
        self._tail.append(text)
        self._logger.log(level, "%s", text)


def _parse_record(text: str) -> tuple[int, str]:
    """Level and text of a JSON line."""
    try:
        record = json.loads(text)
        level = _LEVELS[record.pop("level")]
        message = str(record.pop("msg"))
    except _PARSE_ERRORS:
        return logging.ERROR, text
    record.pop("ts", None)  # the log record has its own time
    details = ", ".join(f"{name}: {value}" for name, value in record.items())
    return level, f"{message} ({details})" if details else message
