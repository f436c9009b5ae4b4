"""The decoders of the agent and of the Python hosts find the same frames in the same bytes, or all
of them reject the bytes. The inputs are the transcripts with small faults.

$DECODER_CASES sets the number of inputs; the default is a few thousand.
"""

import importlib.util
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import host
import pytest
from agent.frame import MAX_LINE, MAX_PAYLOAD, Decoder, FrameError, Piece
from agent.models import Json

PROTOCOL = Path(__file__).parents[3] / "protocol"
TRANSCRIPTS, REFERENCE = PROTOCOL / "transcripts", PROTOCOL / "reference"


def load_reference_agent() -> Any:
    """Imports it under another name, because the integration also has a package "agent"."""
    spec = importlib.util.spec_from_file_location("reference_agent", REFERENCE / "agent.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES = int(os.environ.get("DECODER_CASES", "4000"))

reference_agent = load_reference_agent()

#: Id, method and parameters of a message, and its payload.
Frame = tuple[list[Any], bytes | None]
#: The frames of an input, and whether it makes sense to its end.
Verdict = tuple[list[Frame], bool]

# JSON that decoders may read in different ways.
PIECES = (
    b'"payload":',
    b'"payload":null',
    b'"payload":true',
    b'"payload":3.0',
    b'"payload":"3"',
    b'"payload":+3',
    b'"payload":03',
    b'"payload":-0',
    b'"payload":1e1',
    b'"payload":1048577',
    b'{"payload":3}\nabc\n',
    b'{"payload":3}\nab\n\n',
    b'{"a":"\\u0000\\/\\b"}\n',
    b'{"id":9007199254740993}\n',
    b'{"id":1.0,"method":1e400}\n',
    b'{"a":-,"b":.5}\n',
    b"{'a':1}\n",
    b'{"a":1,}\n',
    b'{"a" : [ ] }\n',
    b'{"a":"\t"}\n',
    b"\xef\xbb\xbf{}\n",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xc2\x85",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x00",
    b" ",
    b"\t\n",
    b"  \n",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\r\n",
    b"{}",
    b"[",
    b"]",
    b"{",
    b"}",
    b"[]\n",
    b"null\n",
    b"7\n",
    b'"',
    b"\\",
    b":",
    b",",
)


def seeds() -> Iterator[bytes]:
    """Returns each transcript, in each direction, with short payloads."""
    for path in sorted(TRANSCRIPTS.glob("*.ndjson")):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        for direction in "<>":
            frames = []
            for line in lines:
                if line.get("dir") != direction or "msg" not in line:
                    continue
                message = line["msg"]
                length = message.pop("payload", 0) % 100
                payload = bytes(random.randrange(256) for _ in range(length))
                frames += host.encode(message, payload)
            yield b"".join(bytes(piece) for piece in frames)


def mutated(seed: bytes) -> bytes:
    data = bytearray(seed)
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        start = random.randrange(len(data) + 1)
        end = min(len(data), start + random.choice((0, 1, 1, 4, 60)))
        match random.randrange(6):
            case 0:
                data[start:end] = b""
            case 1:
                data[start:start] = random.choice(PIECES)
            case 2:
                data[start:end] = random.choice(PIECES)
            case 3:
                other = random.randrange(len(data) + 1)
                data[other:other] = data[start:end]
            case 4:
                data[start:end] = bytes(random.randrange(256) for _ in range(end - start))
            case _:
                # At the end of a line, where most decisions are made.
                line_end = data.find(b"\n", start) + 1
                data[line_end:line_end] = random.choice(PIECES)
    return bytes(data)


def long_inputs() -> Iterator[bytes]:
    for extra in (-1, 0, 1):
        fill = MAX_LINE - len(b'{"a":""}\n') + extra
        yield b'{"a":"' + b"x" * fill + b'"}\n{}\n'
        yield b" " * (MAX_LINE - 3 + extra) + b"{}\n"
        yield b"\r" * (MAX_LINE - 1 + extra) + b"\n{}\n"
        length = MAX_PAYLOAD + extra
        yield b'{"payload":%d}\n' % length + bytes(length) + b"\n{}\n"
    for depth in (31, 32, 33):
        yield b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}\n"
    yield b'{"a":' + b"9" * 5000 + b"}\n"


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = [*value.values()]
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def is_debatable(data: bytes) -> bool:
    """Whether some line is JSON that senders must not send (F4, M4, and the limits of nesting), and
    that receivers may take or refuse, as it suits the JSON library that they have."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise RecursionError
        return dict(pairs)

    def finite(number: str) -> float:
        if abs(value := float(number)) == float("inf"):
            raise RecursionError
        return value

    if re.search(rb"\\u[dD][89a-fA-F]|[0-9]{4300}", data):
        return True
    for line in data.split(b"\n"):
        try:
            value = json.loads(line.decode(), object_pairs_hook=members, parse_float=finite)
        except RecursionError:
            return True
        except ValueError:
            continue
        if depth(value) > 32:
            return True
    return False


def frame(message: Json, payload: bytes | None) -> Frame:
    return [message.get(name) for name in ("id", "method", "params")], payload


def of_integration(data: bytes) -> Verdict:
    frames: list[Frame] = []

    def receive(message: Json, pieces: Sequence[Piece] | None) -> None:
        frames.append(frame(message, None if pieces is None else b"".join(pieces)))

    decoder, position = Decoder(receive), 0
    try:
        while position < len(data):
            step = random.choice((1, 7, 100, 65_536))
            decoder.feed(data[position : position + step])
            position += step
    except FrameError:
        return frames, False
    # The decoder only tells whether the end comes between two frames.
    return frames, not decoder._line and not decoder._missing


def of_reference_host(data: bytes) -> Verdict:
    stream, frames = io.BytesIO(data), []
    try:
        while (read := host.read_frame(stream)) is not None:
            frames.append(frame(*read))
    except host.AgentError:
        return frames, False
    return frames, True


def of_reference_agent(data: bytes) -> Verdict:
    stream, frames = io.BytesIO(data), []
    try:
        while (read := reference_agent.read_frame(stream)) is not None:
            frames.append(frame(*read))
    # A batch does not damage the stream, but a host accepts nothing after it.
    except (reference_agent.FatalError, reference_agent.RequestError):
        return frames, False
    return frames, True


class Program:
    """Builds the agent's own decoder as a program."""

    def __init__(self) -> None:
        program = Path(os.environ["S3_BACKUP_AGENT_BIN"]).parent / "examples/frames"
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def verdict(self, data: bytes) -> Verdict:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()
        *found, last = json.loads(self._process.stdout.readline())
        if "batch" in found:
            # Hosts treat this as the end, because only agents receive it by mistake.
            found, last = found[: found.index("batch")], "damaged"
        frames = [
            (members, None if payload is None else bytes.fromhex(payload))
            for members, payload in found
        ]
        return frames, last == "end"

    def close(self) -> None:
        with self._process as process:
            assert process.stdin
            process.stdin.close()


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.close()


DECODERS = (of_integration, of_reference_host, of_reference_agent)


def agree(program: Program, data: bytes) -> None:
    expected = program.verdict(data)
    for decoder in DECODERS:
        assert decoder(data) == expected, (decoder.__name__, data[:2000])


def test_decoders_long_and_deep_inputs_agree(program: Program) -> None:
    for data in long_inputs():
        if not is_debatable(data):
            agree(program, data)


def test_decoders_debatable_inputs_are_listed() -> None:
    deep = b"[" * 32 + b"]" * 32
    for line in (b'{"a":1,"a":2}', b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":%b}' % deep):
        assert is_debatable(b"{}\n" + line + b"\n")
    for line in (b'{"a":1,"b":2}', b'{"a":1e99}', b'{"a":"\\u00e4"}', b"{", deep[1:-1]):
        assert not is_debatable(b"{}\n" + line + b"\n")


@pytest.mark.parametrize("start", range(4))
def test_decoders_mutated_inputs_agree(program: Program, start: int) -> None:
    random.seed(start)
    originals = list(seeds())
    compared = frames = 0
    for _ in range(CASES // 4):
        data = mutated(random.choice(originals))
        if not is_debatable(data):
            agree(program, data)
            compared += 1
            frames += len(program.verdict(data)[0])
    assert compared > CASES // 8 and frames > compared
