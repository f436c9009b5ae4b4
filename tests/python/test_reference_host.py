"""The reference host with the real agent and a real S3 server."""

import contextlib
import io
import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import host
import pytest
from conftest import Folder
from host import MAX_LINE, MAX_PAYLOAD, Agent, AgentError, Json, Request, encode, read_frame

MIB = 1 << 20


def backup(number: str = "b1", /, **metadata: object) -> Json:
    return {"id": number, "name": f"Backup_{number}", "metadata": metadata}


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def fetch(agent: Agent, number: str = "b1", window: int = 4 * MIB) -> bytes:
    received = bytearray()
    result = agent.download("t1", number, received.extend, window)
    assert result["length"] == len(received)
    return bytes(received)


def start_upload(agent: Agent, **options: object) -> Request:
    """An upload that has received its first credit."""
    request = agent.start("backup.upload", target="t1", backup=backup(), **options)
    message, _ = request.next(timeout=30)
    assert message["method"] == "stream.credit"
    return request


def assert_nothing_stored(agent: Agent, folder: Folder) -> None:
    assert agent.list("t1") == {"backups": [], "skipped": [], "next": None}
    assert folder.keys() == []
    assert folder.unfinished() == []


@contextlib.contextmanager
def fails(code: str) -> Iterator[pytest.ExceptionInfo[AgentError]]:
    with pytest.raises(AgentError) as caught:
        yield caught
    assert caught.value.code == code, caught.value


# Uploads and downloads


@pytest.mark.parametrize(
    ("size", "step"),
    [
        (1, 1),
        (3 * MIB + 1, 65_537),
        (20 * MIB - 1, 1_000_003),
        (20 * MIB, 777_777),
        (45 * MIB + 7, 3_333_333),
        (45 * MIB + 7, 45 * MIB + 7),
    ],
)
def test_upload_and_download_return_the_same_bytes(
    agent: Agent, folder: Folder, size: int, step: int
) -> None:
    data = random_bytes(size)
    metadata = {"extra": ["ä", 1, None], "protected": False}

    stored = agent.upload("t1", backup(**metadata), chunks(data, step), size=size)["backup"]

    assert (stored["id"], stored["name"], stored["size"]) == ("b1", "Backup_b1", size)
    assert stored["has_checksums"] is True
    assert stored["stored_size"] >= size
    assert stored["metadata"].items() >= metadata.items()
    assert agent.list("t1")["backups"] == [stored]
    assert agent.call("backup.get", target="t1", backup_id="b1")["backup"] == stored
    assert folder.keys() == [
        f"{folder.prefix}/backups/Backup_b1.metadata.json",
        f"{folder.prefix}/backups/Backup_b1.tar",
    ]
    assert fetch(agent) == data

    assert agent.call("backup.delete", target="t1", backup_id="b1") == {"deleted": True}
    assert_nothing_stored(agent, folder)


def test_payload_with_messages_is_kept(agent: Agent) -> None:
    data = b'{"jsonrpc":"2.0","id":1,"result":{}}\n' * 3000 + b"\n\n\r\n\0"
    agent.upload("t1", backup(), chunks(data, 4999))
    assert fetch(agent) == data


@pytest.mark.parametrize(("size", "window"), [(100, 1), (300_000, 4001)])
def test_download_with_small_window_is_complete(agent: Agent, size: int, window: int) -> None:
    data = random_bytes(size)
    agent.upload("t1", backup(), [data])
    assert fetch(agent, window=window) == data


def test_parallel_transfers_keep_their_bytes(agent: Agent) -> None:
    def transfer(index: int) -> None:
        data = random_bytes((5 + 6 * index) * MIB + index)
        agent.upload("t1", backup(f"b{index}"), chunks(data, 300_007), size=len(data))
        assert fetch(agent, f"b{index}") == data

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(transfer, range(4)))
    assert len(agent.list("t1")["backups"]) == 4


def test_long_list_is_paged(agent: Agent) -> None:
    numbers = [f"b{index}" for index in range(5)]
    for number in numbers:
        agent.upload("t1", backup(number, note="x" * 20_000), [b"data"])
    first = agent.call("backup.list", target="t1")
    assert first["next"]
    assert len(first["backups"]) < 5
    assert sorted(entry["id"] for entry in agent.list("t1")["backups"]) == numbers


def test_upload_of_existing_id_is_refused(agent: Agent) -> None:
    agent.upload("t1", backup(), [b"first"])
    source = iter([b"second"])
    with fails("already_exists"):
        agent.upload("t1", backup(), source)
    assert next(source) == b"second", "the source was read before the agent was ready"
    assert fetch(agent) == b"first"


# Transfers that end early


@pytest.mark.parametrize("size", [0, 3 * MIB, 41 * MIB])
def test_upload_with_failing_source_cleans_up(agent: Agent, folder: Folder, size: int) -> None:
    def source() -> Iterator[bytes]:
        yield from chunks(bytes(size), 250_000)
        raise ConnectionError("the source is gone")

    with pytest.raises(ConnectionError, match="the source is gone"):
        agent.upload("t1", backup(), source(), size=50 * MIB)
    assert_nothing_stored(agent, folder)


def test_cancelled_upload_cleans_up(agent: Agent, folder: Folder) -> None:
    request = start_upload(agent)
    agent.notify("stream.data", b"half", id=request.id, offset=0)
    agent.notify("cancel", id=request.id, reason="source_failed")
    with fails("cancelled") as caught:
        request.result()
    assert caught.value.kind == "cancelled"
    assert caught.value.details["reason"] == "source_failed"
    assert_nothing_stored(agent, folder)


@pytest.mark.parametrize("size", [0, 3 * MIB, 25 * MIB])
def test_upload_with_short_source_cleans_up(agent: Agent, folder: Folder, size: int) -> None:
    with fails("length_mismatch") as caught:
        agent.upload("t1", backup(), chunks(bytes(size), MIB), size=size + 1)
    assert caught.value.kind == "integrity"
    assert caught.value.details == {"expected": size + 1, "actual": size}
    assert_nothing_stored(agent, folder)


def test_download_with_failing_consumer_is_cancelled(agent: Agent) -> None:
    data = random_bytes(30 * MIB)
    agent.upload("t1", backup(), [data])
    received = bytearray()

    def sink(payload: bytes) -> None:
        received.extend(payload)
        if len(received) > 5 * MIB:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        agent.download("t1", "b1", sink)
    assert data.startswith(received)
    assert fetch(agent) == data


def test_cancelled_download_is_an_error(agent: Agent) -> None:
    agent.upload("t1", backup(), [random_bytes(8 * MIB)])
    request = agent.start("backup.download", target="t1", backup_id="b1", up_to=MIB)
    while not request.next(timeout=30)[1]:
        pass
    agent.notify("cancel", id=request.id, reason="user")
    with fails("cancelled"):
        request.result()


def test_close_during_upload_cleans_up(agent: Agent, folder: Folder) -> None:
    request = start_upload(agent)
    agent.notify("stream.data", random_bytes(MIB), id=request.id, offset=0)
    assert agent.close() == 0
    with pytest.raises(AgentError):
        request.result()
    assert folder.keys() == []
    assert folder.unfinished() == []


# Errors, and messages that are ignored


@pytest.mark.parametrize("method", ["get", "delete", "download"])
def test_missing_backup_is_an_error(agent: Agent, method: str) -> None:
    with fails("not_found") as caught:
        if method == "download":
            fetch(agent, "nothing")
        else:
            agent.call(f"backup.{method}", target="t1", backup_id="nothing")
    assert caught.value.kind == "not_found"
    assert caught.value.details == {"backup_id": "nothing"}


def test_unknown_method_is_an_error(agent: Agent) -> None:
    with fails("method_not_found"):
        agent.call("backup.frobnicate", target="t1")
    assert agent.call("ping", new_member=[1]) == {}


def test_unknown_target_is_an_error(agent: Agent) -> None:
    with fails("target_unknown"):
        agent.list("t2")


def test_late_frames_are_ignored(agent: Agent, folder: Folder) -> None:
    request = start_upload(agent)
    agent.notify("cancel", id=request.id)
    with fails("cancelled"):
        request.result()
    agent.notify("stream.data", b"late", id=request.id, offset=0)
    agent.notify("stream.credit", id=request.id, up_to=MIB)
    agent.notify("stream.end", id=request.id, length=4)
    agent.notify("cancel", id=request.id)
    agent.notify("x-unknown", b"{}\n{}", anything=1)
    assert agent.call("ping") == {}
    assert_nothing_stored(agent, folder)


def test_stalled_download_does_not_delay_ping(agent: Agent) -> None:
    agent.upload("t1", backup(), [random_bytes(25 * MIB)])
    request = agent.start("backup.download", target="t1", backup_id="b1", up_to=1000)
    received = 0
    while received < 1000:
        received += len(request.next(timeout=30)[1] or b"")

    times = []
    for _ in range(20):
        begin = time.monotonic()
        assert agent.call("ping") == {}
        times.append(time.monotonic() - begin)

    assert statistics.median(times) < 0.1
    assert received == 1000
    assert request.inbox.empty(), "the agent sent more than it had credit for"
    request.cancel("user")


def test_killed_agent_is_an_error(binary: str, folder: Folder) -> None:
    with contextlib.closing(Agent([binary, "serve"])) as agent:
        agent.call("target.open", target="t1", config=folder.config)
        request = start_upload(agent)
        os.kill(agent._process.pid, signal.SIGKILL)
        with fails("agent_gone"):
            request.result()
        with fails("agent_gone"):
            agent.call("ping")
        assert agent.close() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("echo Welcome", "agent_protocol", "Welcome"),
        ("echo no such library >&2; exit 3", "agent_gone", "exit code 3; its log: no such library"),
    ],
)
def test_program_that_is_no_agent_is_refused(script: str, code: str, message: str) -> None:
    with fails(code) as caught:
        Agent(["sh", "-c", script])
    assert message in caught.value.message


# Frames


def test_frames_through_a_pipe_are_unchanged() -> None:
    frames: list[tuple[Json, bytes | None]] = [
        ({"id": 1, "method": "ping"}, None),
        ({"method": "stream.data", "params": {"id": 1}}, b"\n{}\n"),
        ({"method": "stream.data", "params": {"id": 1}}, bytes(MAX_PAYLOAD)),
    ]
    wire = io.BytesIO(b"\n\r\n".join(b"".join(encode(*frame)) for frame in frames))
    for message, payload in frames:
        frame = read_frame(wire)
        assert frame
        assert frame[0].items() >= message.items()
        assert frame[1] == payload
    assert read_frame(wire) is None


def test_longest_line_is_read() -> None:
    def line(length: int) -> bytes:
        return b'{"x":"' + b"a" * (length - 9) + b'"}\n'

    assert read_frame(io.BytesIO(line(MAX_LINE)))
    with fails("agent_protocol"):
        read_frame(io.BytesIO(line(MAX_LINE + 1)))
    with pytest.raises(ValueError, match="longer than"):
        encode({"x": "a" * MAX_LINE})


@pytest.mark.parametrize(
    "wire",
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
def test_bad_frame_is_refused(wire: bytes) -> None:
    with fails("agent_protocol"):
        read_frame(io.BytesIO(wire))


@pytest.mark.parametrize("wire", [b"{}", b'{"payload":5}\n1234', b'{"payload":5}\n12345'])
def test_end_inside_a_frame_is_an_agent_failure(wire: bytes) -> None:
    with fails("agent_gone"):
        read_frame(io.BytesIO(wire))


# The command line


def test_validation_is_printed_in_lines() -> None:
    error = {"message": "it is elsewhere", "code": "wrong_region"}
    checks = [
        {"name": "dns", "status": "passed", "ms": 1, "message": "203.0.113.7"},
        {"name": "region", "status": "failed", "ms": 1, "message": "m", "error": error},
        {"name": "list", "status": "skipped", "ms": 0},
    ]
    result: Json = {"ok": False, "checks": checks, "details": {}}
    lines = ["dns passed: 203.0.113.7", "region failed: m: it is elsewhere", "list skipped"]
    assert list(host.report(result)) == lines
    result["suggestion"] = {"region": "r", "addressing_style": "path"}
    assert list(host.report(result)) == [*lines, "it works with region r, addressing_style path"]


def test_command_line_uploads_lists_and_downloads(
    binary: str, folder: Folder, tmp_path: Path
) -> None:
    config = tmp_path / "target.json"
    config.write_text(json.dumps(folder.config))
    source, metadata, fetched = (tmp_path / name for name in ("Night.tar", "m.json", "out.tar"))
    source.write_bytes(random_bytes(2 * MIB + 3))
    metadata.write_text(json.dumps({"backup_id": "n1", "note": "ä"}))

    def run(*words: str, config: Path = config) -> subprocess.CompletedProcess[str]:
        agent = shlex.join([binary, "serve"])
        command = [sys.executable, host.__file__, "--config", str(config), "--agent", agent, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def answer(*words: str) -> Json:
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    tried = run("validate")
    assert json.loads(tried.stdout)["ok"] is True
    assert "list passed" in tried.stderr
    stored = answer("upload", str(source), "--metadata", str(metadata))["backup"]
    assert (stored["id"], stored["name"], stored["metadata"]["note"]) == ("n1", "Night", "ä")
    assert answer("list")["backups"] == [stored]
    answer("download", "n1", str(fetched))
    assert fetched.read_bytes() == source.read_bytes()
    assert answer("delete", "n1") == {"deleted": True}

    fetched.unlink()
    done = run("download", "n1", str(fetched))
    assert done.returncode == 1
    assert done.stderr.startswith("not_found: ")
    assert sorted(tmp_path.iterdir()) == sorted([config, source, metadata])

    config.write_text(json.dumps({**folder.config, "bucket": "no/bucket"}))
    done = run("list")
    assert done.returncode == 1
    assert done.stderr.startswith("invalid_bucket_name: ")
    assert done.stderr.endswith(" (field bucket)\n")

    config.write_text(json.dumps({**folder.config, "bucket": "no-such-bucket-here"}))
    assert run("validate").returncode == 1
    assert run("list", config=tmp_path / "missing.json").returncode == 1
    assert run("frobnicate").returncode == 2
