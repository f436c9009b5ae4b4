"""Decoding frames, for every way in which their bytes can arrive."""

from collections.abc import Sequence

import pytest
from agent.frame import MAX_LINE, MAX_PAYLOAD, Decoder, FrameError, Piece, encode
from agent.models import Json

Frames = list[tuple[Json, bytes | None]]


def wire(frames: Frames) -> bytes:
    pieces = []
    for message, payload in frames:
        pieces.append(encode(message, len(payload or b"")))
        if payload:
            pieces += [payload, b"\n"]
    return b"".join(pieces)


def decode(data: bytes, step: int) -> Frames:
    frames: Frames = []

    def receive(message: Json, pieces: Sequence[Piece] | None) -> None:
        frames.append((message, None if pieces is None else b"".join(pieces)))

    decoder = Decoder(receive)
    for start in range(0, len(data), step):
        decoder.feed(data[start : start + step])
    return frames


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000, 1 << 20])
def test_decoder_accepts_frames_cut_anywhere(step: int) -> None:
    frames: Frames = [
        ({"id": 1, "method": "ping", "params": {"text": "ä\n\u2028"}}, None),
        ({"method": "stream.data", "params": {"id": 1}}, b"\n{}\n\r\n\0"),
        ({"method": "stream.data", "params": {"id": 1}}, bytes(3000)),
        ({"id": 1, "result": {}}, None),
    ]
    data = b"\n\r\n".join(wire([frame]) for frame in frames)
    decoded = decode(data, step)
    assert [payload for _, payload in decoded] == [payload for _, payload in frames]
    for (message, _), (expected, _) in zip(decoded, frames, strict=True):
        assert message.items() >= expected.items()


@pytest.mark.parametrize("step", [4096, 262_144, 3 << 20])
def test_decoder_accepts_largest_payload(step: int) -> None:
    payload = bytes(range(256)) * (MAX_PAYLOAD // 256)
    assert [frame[1] for frame in decode(wire([({}, payload)] * 2), step)] == [payload] * 2


def test_decoder_does_not_copy_payload_in_one_piece() -> None:
    pieces: list[Piece] = []
    decoder = Decoder(lambda _, payload: pieces.extend(payload or ()))
    decoder.feed(b'{"payload":5}\n')
    data = b"12345"
    decoder.feed(data)
    decoder.feed(b"\n")
    assert pieces[0] is data


@pytest.mark.parametrize("step", [1, 100_000])
def test_decoder_accepts_longest_line(step: int) -> None:
    def line(length: int) -> bytes:
        return b'{"x":"' + b"a" * (length - 9) + b'"}\n'

    assert len(decode(line(MAX_LINE), step)) == 1
    with pytest.raises(FrameError):
        decode(line(MAX_LINE + 1), step)
    with pytest.raises(FrameError):
        decode(b"x" * MAX_LINE, step)
    with pytest.raises(FrameError):
        encode({"x": "a" * MAX_LINE})


@pytest.mark.parametrize(
    "data",
    [
        b"Welcome!\n",
        b"[]\n",
        b'{"x":"\xff"}\n',
        b"[" * 60_000 + b"\n",
        b'{"payload":0}\n\n',
        b'{"payload":true}\nx\n',
        b'{"payload":"1"}\nx\n',
        b'{"payload":1048577}\n',
        b'{"payload":5}\n123456\n',
    ],
)
@pytest.mark.parametrize("step", [1, 100_000])
def test_decoder_refuses_invalid_frame(data: bytes, step: int) -> None:
    with pytest.raises(FrameError):
        decode(data, step)


@pytest.mark.parametrize("data", [b"{}", b'{"payload":5}\n', b'{"payload":5}\n12345'])
def test_decoder_waits_for_rest_of_frame(data: bytes) -> None:
    decoder = Decoder(lambda *_: pytest.fail("there is no whole frame"))
    decoder.feed(data)
