#!/usr/bin/env python3
"""Writes the seeds of all targets and a dictionary: seeds.py FOLDER. The seeds are made from the
transcripts of the protocol and the sources. Needs only Python 3.11.
"""

import base64
import hashlib
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# In the order of the `match` in targets/message.rs.
METHODS = [
    "initialize",
    "shutdown",
    "target.close",
    "target.validate",
    "target.cleanup",
    "backup.upload",
    "backup.download",
    "backup.list",
    "backup.get",
    "cancel",
    "stream.data",
    "stream.end",
    "stream.credit",
    "target.open",
]
# In the order of the `match` in targets/session/script.rs.
INITIALIZE, OPEN, REQUEST, UPLOAD, DOWNLOAD, DATA, END = 0, 1, 4, 8, 11, 13, 16
CREDIT, CANCEL, SHUTDOWN, WAIT, CONDITIONS, MESSAGE = 18, 20, 21, 23, 26, 29
LONGEST_PAYLOAD = 64  # in the seeds of the target "frame"

Line = dict[str, Any]


def transcripts() -> Iterator[list[Line]]:
    for path in sorted((ROOT / "protocol/transcripts").glob("*.ndjson")):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        flat = (inner for line in lines for inner in line.get("unordered", [line]))
        yield [line for line in flat if "msg" in line or "raw" in line]


def example(value: Any) -> Any:
    """The example value that documents show instead of a matcher."""
    if isinstance(value, list):
        return [example(element) for element in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)).startswith("$"):
        (shown,) = value.values()
        return example(shown[1] if "$like" in value else shown)
    return {name: example(member) for name, member in value.items()}


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def frame_seed(lines: list[Line]) -> bytes:
    pieces = [bytes([3, 1, 7, 200])]
    for line in lines:
        if "raw" in line:
            pieces += [line["raw"].encode(), b"\n"]
            continue
        message = example(line["msg"])
        if length := message.get("payload"):
            message["payload"] = min(length, LONGEST_PAYLOAD)
        pieces += [compact(message), b"\n"]
        if length:
            pieces += [bytes(i % 251 for i in range(message["payload"])), b"\n"]
    return b"".join(pieces)


def message_seeds(lines: list[Line]) -> Iterator[bytes]:
    for line in lines:
        message = line.get("msg", {})
        if line["dir"] == ">" and message.get("method") in METHODS and "params" in message:
            yield bytes([METHODS.index(message["method"])]) + compact(message["params"])


def message_step(line: Line) -> bytes:
    message = line["msg"]
    payload, text = message.get("payload", 0), compact(message)
    head = struct.pack("<BHBH", MESSAGE, payload >> 8, payload & 255, len(text))
    return head + text


def session_seeds() -> Iterator[bytes]:
    for lines in transcripts():
        said = [line for line in lines if line["dir"] == ">" and "msg" in line]
        steps = [step for line in said for step in (message_step(line), bytes([WAIT, 1]))]
        yield bytes([INITIALIZE, 0, OPEN, 1, 4, WAIT, 0]) + b"".join(steps)
    ready = bytes([INITIALIZE, 0, OPEN, 0, 4])
    small = bytes([UPLOAD, 0, 0, 0, 0, 0, 1, WAIT, 0, *[DATA, 0, 5, 0] * 2, END, 0, 0, WAIT, 1])
    large = bytes([UPLOAD, 0, 0, 0, 4, 0, 1, WAIT, 0, *[DATA, 0, 6, 0, WAIT, 0] * 22, END, 0, 0])
    look = bytes([REQUEST, 3, 0, 0, 0, 1, REQUEST, 4, 0, 0, 0, 0, WAIT, 1])
    fetch = bytes([DOWNLOAD, 0, 0, 9, 1, 1, WAIT, 1, *[CREDIT, 0, 200, WAIT, 1] * 3])
    delete = bytes([REQUEST, 5, 0, 0, 0, 0, WAIT, 1])
    validate = bytes([REQUEST, 1, 0, 0, 0, 0, REQUEST, 2, 0, 0, 0, 0, WAIT, 1])
    stop = bytes([CANCEL, 0, 1, WAIT, 3])
    yield ready + small + look + fetch + delete + validate
    yield ready + large + bytes([WAIT, 2]) + fetch + bytes([SHUTDOWN, 0])
    first = bytes([UPLOAD, 0, 0, 0, 0, 0, 1, WAIT, 0, DATA, 0, 2, 0])
    second = bytes([OPEN, 0, 4, UPLOAD, 0, 1, 0, 0, 0, 1, WAIT, 0, DATA, 0, 3, 0])
    for ends in ((0, 1), (1, 0)):
        done = b"".join(bytes([END, end, 0, WAIT, 1]) for end in ends)
        yield ready + first + second + done + look
    for condition in range(14):
        fault = bytes([CONDITIONS, condition, 1])
        yield ready + small + fault + look + fault + fetch + fault + delete + fault + validate
        yield ready + fault + small + large[:90] + stop
        yield ready + large[:100] + fault + bytes([END, 0, 0, WAIT, 1])


def answer_seeds() -> Iterator[bytes]:
    for number, code in enumerate(error_codes()):
        body = (
            f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>expecting 'eu-west-1'"
            "</Message><Region>eu-west-1</Region><BucketName>another</BucketName>"
            "<Endpoint>backups.s3.eu-west-1.amazonaws.com</Endpoint><RequestId>4442587FB7</RequestId>"
            "<ServerTime>2026-11-20T03:00:00Z</ServerTime></Error>"
        )
        headers = "date: Fri, 20 Nov 2026 03:00:00 GMT\nretry-after: 5\n"
        status = (400, 403, 404, 503)[number % 4] - 100
        yield struct.pack("<BBH", number % 11, number % 4, status) + f"{headers}\n{body}".encode()
    page = "location: https://example.org/\n\n<!DOCTYPE html><html><body>Log in</body></html>"
    for status in (200, 301, 307, 400, 401, 405, 407, 413, 416, 502):
        yield struct.pack("<BBH", 0, status % 4, status - 100) + page.encode()


def error_codes() -> list[str]:
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "src/s3/error").glob("*.rs"))
    return sorted(set(re.findall(r'"([A-Z][A-Za-z0-9]{3,})"', rules)))


def text(content: bytes) -> bytes:
    return struct.pack("<H", len(content)) + content


def faulty_answers() -> Iterator[bytes]:
    """At least one answer of each kind in targets/http_answers/plan.rs."""
    for raw in (b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"220 mail\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
        yield bytes([1, 0]) + text(raw)
    for framing in range(6):
        body = text(b"<Error><Code>SlowDown</Code></Error>")
        yield bytes([2, 15, 1, 10, 1]) + b"9" + bytes([framing]) + body
    yield bytes([3, 9, 0, 3, 3]) + b"999"
    for puts in (b"<a>", b"&", b"\0", b"</Contents>", b"<!DOCTYPE a>"):
        yield bytes([4, 60, 0, 2, len(puts)]) + puts
    headers = {0: b'W/"e"', 1: b"0", 2: b"bytes 1-2/9", 3: b"never", 4: b"x", 9: b"/", 12: b"eu-9"}
    for header, value in headers.items():
        yield bytes([5, header, len(value)]) + value
    yield bytes([6, 50, 0, 100, 12])
    for document in (b"\0\1\5\4true", b"\0\2\5\4true\6\0", b"\2\1\5\4true", b"\3\1\5\4true"):
        yield bytes([7]) + document
    yield from (bytes([8, 30, 0]), bytes([9, 30, 0]), bytes([10, 9, 200]), bytes([12]))


def http_answer_seeds() -> Iterator[bytes]:
    for operation in (*range(11), 255):
        yield bytes([operation, 0])
        places = range(5) if operation < 11 else [4]
        for place in places:
            for spoilt in faulty_answers():
                yield bytes([operation, 0]) + bytes(place) + spoilt
    for number, code in enumerate(error_codes()):
        body = f"<Error><Code>{code}</Code><Region>eu-9</Region></Error>".encode()
        refusal = bytes([11, (4, 6, 7, 9, 15)[number % 5]]) + text(body)
        yield bytes([number % 11, 0]) + bytes(number % 4) + refusal * 3


def metadata_seeds() -> Iterator[bytes]:
    digests = [hashlib.sha256(bytes([number])).digest() for number in range(3)]
    whole = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    ours = {"format": 1, "agent": "0.1.0", "size": 25, "part_size": 10, "sha256": f"{whole}-3"}
    ours["parts"] = [base64.b64encode(digest).decode() for digest in digests]
    checksums = [base64.b64encode(bytes([number] * 8)).decode() for number in range(3)]
    plain = {"backup_id": "b1", "name": "Nightly", "size": 25, "folders": ["share"], "addons": []}
    yield compact(plain)
    yield compact(plain | {"s3_backup_agent": ours})
    yield compact(plain | {"s3_backup_agent": ours | {"crc64nvme": checksums}})
    yield compact(plain | {"s3_backup_agent": ours | {"format": 2}})
    yield compact(plain | {"extra_metadata": {"a": [[[{"b": None}]]], "c": 1.5e300}})


def layout_seeds() -> Iterator[bytes]:
    yield b"ha\0backups\0Nightly\0a1b2c3d4\0ha/backups/Nightly.tar"
    yield b"/ha/main/\0\0../a:b\0\0ha/main/x.metadata.json"
    yield "\0/\0Büro 🏠".encode() + b"x" * 210 + b"\0id\0.tar"


def dictionary(seeds: dict[str, list[bytes]]) -> Iterator[str]:
    texts = b"\n".join(
        seed for target in ("frame", "answers", "metadata") for seed in seeds[target]
    )
    words = set(re.findall(rb'"[a-z_0-9.]{2,30}":?|</?[A-Za-z]{3,20}>', texts))
    words |= set(re.findall(rb"<Code>([A-Za-z]{4,60})</Code>", texts))
    for word in sorted(words | {b"\r\n", b"{}", b"\\ud800", b"1e999", b"9007199254740991"}):
        yield '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


def main(folder: Path) -> None:
    seeds = {
        "frame": [frame_seed(lines) for lines in transcripts()],
        "message": sorted({seed for lines in transcripts() for seed in message_seeds(lines)}),
        "answers": list(answer_seeds()),
        "http_answers": list(http_answer_seeds()),
        "metadata": list(metadata_seeds()),
        "layout": list(layout_seeds()),
        "session": list(session_seeds()),
    }
    for target, contents in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (folder / target / f"{number:03}").write_bytes(content)
    (folder / "dictionary").write_text("\n".join(dictionary(seeds)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
