"""Encodes and decodes frames.

A frame is a line with one JSON object. If the object has a member `payload: N`, N raw bytes and a
line feed follow. Example: `{"method":"stream.data","params":{...},"payload":5}`.

The decoder gets bytes as they arrive and calls back for each complete frame. It passes payloads on
in the pieces in which they arrived, so they are copied only once, when they are joined.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .models import Json

MAX_LINE = 65_536  # bytes of a line including its line feed, in both directions
MAX_PAYLOAD = 1 << 20

Piece = bytes | memoryview
#: Called with a message and the pieces of its payload, or None if it has no payload.
Receiver = Callable[[Json, Sequence[Piece] | None], None]


class FrameError(ValueError):
    """The input is not a frame. Nothing after it can be decoded."""


def encode(message: Json, payload_length: int = 0) -> bytes:
    """The line of a frame. The caller writes the payload and a line feed after it."""
    head: Json = {"jsonrpc": "2.0", **message}
    if payload_length:
        head["payload"] = payload_length
    line = json.dumps(head, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = line.encode() + b"\n"
    if len(data) > MAX_LINE:
        raise FrameError(f"a message of {len(data)} bytes is longer than {MAX_LINE}")
    return data


def _refuse(constant: str) -> None:
    raise FrameError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)


class Decoder:
    """Splits a stream of bytes into frames."""

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._line = bytearray()  # the start of an incomplete line
        self._message: Json = {}
        self._pieces: list[Piece] = []
        self._missing = 0  # missing bytes of the payload and its line feed

    def feed(self, data: bytes) -> None:
        """Decodes the next bytes. After a `FrameError` the decoder cannot be used any more."""
        position, end = 0, len(data)
        while position < end:
            if self._missing:
                position = self._payload(data, position, end)
                continue
            line_end = data.find(b"\n", position)
            if line_end < 0:
                self._line += data[position:]
                self._limit(len(self._line) + 1)
                return
            line = data[position:line_end]
            if self._line:
                line = bytes(self._line + line)
                self._line.clear()
            self._limit(len(line) + 1)
            position = line_end + 1
            if line.strip(b"\r"):
                self._object(line)

    def _limit(self, length: int) -> None:
        if length > MAX_LINE:
            raise FrameError(f"a line of more than {MAX_LINE} bytes: {bytes(self._line[:200])!r}")

    def _object(self, line: bytes) -> None:
        message: Any = None
        with suppress(ValueError, RecursionError):
            message = _JSON.decode(str(line, "utf-8"))
        if not isinstance(message, dict):
            raise FrameError(f"not a line with a JSON object: {line[:200]!r}")
        if "payload" not in message:
            self._receive(message, None)
            return
        length = message["payload"]
        if type(length) is not int or not 1 <= length <= MAX_PAYLOAD:
            raise FrameError(f"a payload of {length!r} bytes")
        self._message, self._pieces, self._missing = message, [], length + 1

    def _payload(self, data: bytes, position: int, end: int) -> int:
        take = min(self._missing, end - position)
        self._missing -= take
        last = position + take
        if not self._missing:
            last -= 1
            if data[last] != 0x0A:
                raise FrameError("no line feed follows a payload: its length is wrong")
        if position == 0 and last == end:
            self._pieces.append(data)
        elif last > position:
            self._pieces.append(memoryview(data)[position:last])
        if not self._missing:
            message, pieces = self._message, self._pieces
            self._message, self._pieces = {}, []
            self._receive(message, pieces)
        return position + take
