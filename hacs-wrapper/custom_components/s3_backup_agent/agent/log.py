"""What the agent writes to its standard error, as log records of this process.

One JSON object per line, with a level; whatever is none (a panic, the loader) counts as an error.
Secrets are replaced before anything is logged or kept. The last lines are kept for error reports.
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
_MAX_LINE = 8 << 10  # the agent's own limit; a longer line is cut into several
_LINES_AT_ONCE = 50  # then the event loop gets its turn
_SHORTEST_SECRET = 4  # shorter ones would black out half of the text
# What reading a line raises when it is not what the agent writes.
_NO_RECORD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
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
        """From now on these are replaced as well, however JSON or a URL may spell them."""
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                self._secrets |= {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
        # The longest first, or the rest of it would be left over.
        words = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub("**REDACTED**", text) if self._pattern else text


def proxy_passwords() -> Iterator[str]:
    """They are in the environment that the agent gets."""
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy"):
            with suppress(ValueError):
                if password := urlsplit(value).password:
                    yield password


class LogPump:
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
        """Logs line by line. Never raises, and never holds up the event loop."""
        rest, count = b"", 0
        while data := await stream.read(_MAX_LINE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _MAX_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._line(line)
                count += 1
                if count % _LINES_AT_ONCE == 0:
                    await asyncio.sleep(0)
        self._line(rest)

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if not text:
            return
        level = logging.ERROR
        if text.startswith("{"):
            level, text = _sentence(text)
        text = self._redact(text)
        self._tail.append(text)
        self._logger.log(level, "%s", text)


def _sentence(text: str) -> tuple[int, str]:
    """Level and words of a line of JSON."""
    try:
        record = json.loads(text)
        level = _LEVELS[record.pop("level")]
        words = str(record.pop("msg"))
    except _NO_RECORD:
        return logging.ERROR, text
    record.pop("ts", None)  # a log record has its own
    details = ", ".join(f"{name}: {value}" for name, value in record.items())
    return level, f"{words} ({details})" if details else words
