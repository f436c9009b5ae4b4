"""docs/troubleshooting.md has an entry for each error code. Each entry begins with the state of the
sensor, the meaning of the code, and a real message.

WRITE_TROUBLESHOOTING=1 writes these parts and the exit codes again. The rest of the page stays.
"""

import contextlib
import email.utils
import http.server
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import failing_storage as failing_storage_module
import markdown
import pytest
from conftest import Folder, setting
from failing_storage import failing_storage

PAGE = markdown.ROOT / "docs/troubleshooting.md"
CODES: list[dict[str, Any]] = json.loads(
    (markdown.ROOT / "protocol/errors.json").read_text("utf-8")
)
MEANINGS: dict[str, str] = {row["code"]: row["meaning"] for row in CODES}
ENGLISH = json.loads(
    (
        markdown.ROOT / "hacs-wrapper/custom_components/s3_backup_agent/translations/en.json"
    ).read_text("utf-8")
)
STATES: dict[str, str] = ENGLISH["entity"]["sensor"]["last_error"]["state"]
# States that are no error code.
NO_CODES = {"none", "other"}
ENTRY = re.compile(r"(?P<head>^### `(?P<code>\w+)`\n\n)(?P<text>.*?)(?=^##|\Z)", re.M | re.S)
ROW = re.compile(r"^\| `(?P<code>\w+)` \| (?P<meaning>.*?) \| (?P<rest>.*) \|$", re.M)
CONSOLE = re.compile(r"^```console\n\$ (?P<command>.*)\n(?P<output>(?:.*\n)*?)```$", re.M)
QUOTE = re.compile(r"^> .*$", re.M)
Change = Callable[[str, str], str]


def page() -> str:
    return PAGE.read_text("utf-8")


def entries() -> dict[str, str]:
    """The text below the heading of each code, and the rest of its row in a table."""
    text = page()
    found = {entry["code"]: entry["text"] for entry in ENTRY.finditer(text)}
    rows = {row["code"]: f"{row['meaning']} | {row['rest']}" for row in ROW.finditer(text)}
    assert not found.keys() & rows.keys()
    return found | rows


def same_or_written(wanted: str) -> None:
    """The page has this text, or gets it."""
    if os.environ.get("WRITE_TROUBLESHOOTING"):
        PAGE.write_text(wanted, "utf-8")
    assert page() == wanted


def with_entries(change: Change) -> str:
    """The page after a change to the text of each entry."""
    return ENTRY.sub(lambda one: one["head"] + change(one["code"], one["text"]), page())


def first_line(code: str) -> str:
    # All faults of the program have one state.
    state = STATES.get(code, STATES["agent_protocol"])
    return " ".join(filter(None, [f"**{state}.**", MEANINGS.get(code)]))


def test_entries_are_there_for_every_code() -> None:
    assert MEANINGS.keys() | (STATES.keys() - NO_CODES) == entries().keys()


def test_entries_begin_with_state_and_meaning() -> None:
    def begun(code: str, text: str) -> str:
        known = first_line(code)
        first, _, rest = text.partition("\n\n")
        # The integration's own codes have no meaning in the protocol: the page says it.
        own = "" if code in MEANINGS else first.partition(".**")[2]
        return f"{known}{own}\n\n{rest}"

    same_or_written(with_entries(begun))


def test_rows_contain_the_meaning() -> None:
    same_or_written(
        ROW.sub(
            lambda row: f"| `{row['code']}` | {MEANINGS[row['code']]} | {row['rest']} |", page()
        )
    )


def test_entries_contain_a_fix() -> None:
    without = {
        code
        for code, text in entries().items()
        if "**Fix:**" not in text and not text.startswith(MEANINGS.get(code, " "))
    }
    assert without == set()


def test_quotes_are_messages_of_the_integration() -> None:
    def quoted(code: str, text: str) -> str:
        return QUOTE.sub(lambda _: f"> {message(code)}", text)

    same_or_written(with_entries(quoted))


def message(code: str) -> str:
    """As Home Assistant shows it, with capitals for the values that it fills in."""
    text: str = ENGLISH["exceptions"][code]["message"]
    return re.sub(r"\{(\w+)\}", lambda name: name[1].upper(), text).replace("\n", " ")


def test_exit_codes_match_the_program(binary: str) -> None:
    done = subprocess.run([binary, "--help"], capture_output=True, check=True, encoding="utf-8")
    listed = done.stdout.partition("Exit codes:\n")[2]
    told = re.findall(r"^ +(\d+)  (.+)$", listed, re.M)
    assert len(told) > 10
    table = "".join(f"| {number} | {meaning} |\n" for number, meaning in told)
    head = "| exit code | meaning |\n|---|---|\n"
    same_or_written(re.sub(re.escape(head) + r"(?:\|.*\n)+", lambda _: head + table, page()))


# Examples of the output. Each scenario provides a server that fails.


@dataclass
class Place:
    """Where a command runs."""

    binary: str
    folder: Path
    answers: dict[str, Any]
    endpoint: str = ""

    def run(self, command: str) -> str:
        program, *arguments = shlex.split(command)
        assert program == "s3-backup-agent"
        environment = {
            "PATH": f"{self.folder}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "NO_PROXY": "*",
            "S3_BACKUP_AGENT_ENDPOINT": self.endpoint,
            "S3_BACKUP_AGENT_BUCKET": "backups",
            "S3_BACKUP_AGENT_PREFIX": "ha",
            "S3_BACKUP_AGENT_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "S3_BACKUP_AGENT_SECRET_ACCESS_KEY": "wJalrXUtnFEMIexample",
            "S3_BACKUP_AGENT_STATE_DIR": str(self.folder / "state"),
        }
        done = subprocess.run(
            [self.binary, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=100,
        )
        return self._shown(done.stdout)

    def _shown(self, output: str) -> str:
        host = self.endpoint.partition("//")[2]
        output = output.replace(self.endpoint, "https://s3.example.org").replace(
            host, "s3.example.org"
        )
        output = output.replace("127.0.0.1", "s3.example.org").replace(str(self.folder), "/backup")
        # These differ from run to run.
        output = re.sub(
            r"\b[0-9a-f]{64}\b|\b([0-9A-F]{2}:){31}[0-9A-F]{2}\b", "1f8b...c93d", output
        )
        output = re.sub(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "2026-11-20T04:32:00Z", output)
        return re.sub(r"\(\d+ B\) in \d+\.\d s", "(1 B) in 0.1 s", output)

    def store(self) -> None:
        """Stores a backup before the command runs."""
        (self.folder / "backup.tar").write_bytes(b"bytes of a backup")
        # A download gets the name of this file, which must be free.
        stored = self.folder / "stored"
        stored.mkdir(exist_ok=True)
        (stored / "nightly.tar").write_bytes(b"bytes of a backup")
        done = self.run("s3-backup-agent upload stored/nightly.tar --name nightly --id 1a2b3c4d")
        assert done.startswith("Uploaded"), done
        self.run("s3-backup-agent list")


def refusing(operation: str, status: int, **members: str) -> Callable[[Place], Any]:
    """The server refuses this operation after a backup is stored."""

    @contextlib.contextmanager
    def scenario(place: Place) -> Iterator[None]:
        with failing_storage(place.answers) as place.endpoint:
            place.store()
            place.answers[operation] = {"status": status, **members}
            yield

    return scenario


@contextlib.contextmanager
def late_by_an_hour(place: Place) -> Iterator[None]:
    """The server refuses each request, also one with its own time."""
    date = email.utils.formatdate(time.time() - 3600, usegmt=True)
    with refusing("ListObjectsV2", 403, Code="RequestTimeTooSkewed")(place):
        place.answers["ListObjectsV2"]["headers"] = {"date": date}
        yield


@contextlib.contextmanager
def healthy(place: Place) -> Iterator[None]:
    with failing_storage(place.answers) as place.endpoint:
        yield


@contextlib.contextmanager
def stored(place: Place) -> Iterator[None]:
    with failing_storage(place.answers) as place.endpoint:
        place.store()
        yield


def archive_refused(status: int, **members: str) -> Callable[[Place], Any]:
    """The server returns metadata and refuses archives."""
    usual = failing_storage_module._Handler._do

    def refuses(self: Any, name: str, path: str, body: bytes) -> Any:
        if name == "GetObject" and path.endswith(".tar"):
            return failing_storage_module.error(status, members)
        return usual(self, name, path, body)

    @contextlib.contextmanager
    def scenario(place: Place) -> Iterator[None]:
        with stored(place), patch.object(failing_storage_module._Handler, "_do", refuses):
            yield

    return scenario


def put(place: Place, name: str, content: bytes) -> None:
    """Writes an object without the agent."""
    url = f"{place.endpoint}/backups/ha/backups/{name}"
    request = urllib.request.Request(url, content, method="PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request):
        pass


def replaced(name: str, content: bytes) -> Callable[[Place], Any]:
    @contextlib.contextmanager
    def scenario(place: Place) -> Iterator[None]:
        with stored(place):
            put(place, name, content)
            yield

    return scenario


@contextlib.contextmanager
def nothing_listens(place: Place) -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place.endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        yield


@contextlib.contextmanager
def listening(place: Place, scheme: str, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server for one answer to each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place.endpoint = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def breaks_off(place: Place) -> contextlib.AbstractContextManager[None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)

    return listening(place, "http", answer)


def refuses_tls(place: Place) -> contextlib.AbstractContextManager[None]:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"

    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(alert)

    return listening(place, "https", answer)


def says_nothing(place: Place) -> contextlib.AbstractContextManager[None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        time.sleep(2)

    return listening(place, "http", answer)


def self_signed(place: Place) -> contextlib.AbstractContextManager[None]:
    key, certificate = (str(place.folder / name) for name in ("key.pem", "certificate.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "9",
        "-subj",
        "/CN=nas",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True):
            pass

    return listening(place, "https", answer)


class _Console(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Console</title>")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_console(place: Place) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Console) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        place.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def broken_command(place: Place) -> Iterator[None]:
    program = place.folder / "pg_dumpall"
    failure = 'connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed'
    program.write_text(f"#!/bin/sh\necho 'pg_dumpall: error: {failure}' >&2\nexit 1\n")
    program.chmod(0o755)
    with healthy(place):
        yield


REGION = "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
SCENARIOS: dict[str, Callable[[Place], Any]] = {
    "invalid_config": healthy,
    "invalid_endpoint": web_console,
    "invalid_bucket_name": healthy,
    "wrong_region": refusing(
        "ListObjectsV2",
        400,
        Code="AuthorizationHeaderMalformed",
        Message=REGION,
        Region="eu-west-1",
    ),
    "wrong_addressing_style": refusing(
        "ListObjectsV2",
        403,
        Code="SecondLevelDomainForbidden",
        Message="Please use virtual hosted style to access.",
    ),
    "unsupported_feature": refusing("PutObject", 400, Code="InvalidStorageClass"),
    "local_io": healthy,
    "source_failed": broken_command,
    "cannot_connect": nothing_listens,
    "tls_untrusted": self_signed,
    "tls_failed": refuses_tls,
    "network_lost": breaks_off,
    "timeout": says_nothing,
    "throttled": refusing(
        "ListObjectsV2", 503, Code="SlowDown", Message="Please reduce your request rate."
    ),
    "remote_error": refusing(
        "ListObjectsV2",
        500,
        Code="InternalError",
        Message="We encountered an internal error. Please try again.",
    ),
    "invalid_credentials": refusing("ListObjectsV2", 403, Code="SignatureDoesNotMatch"),
    "credentials_expired": refusing(
        "ListObjectsV2", 400, Code="ExpiredToken", Message="The provided token has expired."
    ),
    "clock_skew": late_by_an_hour,
    "access_denied": refusing("ListObjectsV2", 403, Code="AccessDenied", Message="Access Denied"),
    "object_locked": refusing(
        "DeleteObject",
        403,
        Code="AccessDenied",
        Message="Access Denied because object protected by object lock.",
    ),
    "bucket_not_found": refusing(
        "ListObjectsV2",
        404,
        Code="NoSuchBucket",
        Message="The specified bucket does not exist",
    ),
    "not_found": stored,
    "already_exists": stored,
    "modified": archive_refused(412, Code="PreconditionFailed"),
    "cold_storage": archive_refused(403, Code="InvalidObjectState", StorageClass="DEEP_ARCHIVE"),
    "corrupt_metadata": replaced("nightly.metadata.json", b"<html>"),
    "length_mismatch": replaced("nightly.tar", b"bytes"),
    "integrity_mismatch": replaced("nightly.tar", b"bytes of a BACKUP"),
    "too_large": refusing("PutObject", 400, Code="EntityTooLarge"),
    "quota_exceeded": refusing("PutObject", 403, Code="QuotaExceeded"),
}


def test_examples_match_the_output_of_the_program(binary: str, tmp_path: Path) -> None:
    def printed(code: str, text: str) -> str:
        def example(block: re.Match[str]) -> str:
            folder = tmp_path / code
            folder.mkdir()
            place = Place(binary, folder, {})
            with SCENARIOS[code](place):
                output = place.run(block["command"])
            return f"```console\n$ {block['command']}\n{output}```"

        return CONSOLE.sub(example, text)

    with_examples = {code for code, text in entries().items() if CONSOLE.search(text)}
    assert with_examples == SCENARIOS.keys()
    same_or_written(with_entries(printed))


# Other tools.


def commands(heading: str, folder: Folder) -> str:
    """The commands below this heading, for the server of these tests."""
    text = markdown.section(page(), heading)
    script = "".join(block.code for block in markdown.blocks(text) if block.language == "sh")
    assert "/ha/backups/" in script
    return re.sub(r"\bha(/|%2F)backups", rf"{folder.prefix}\1backups", script)


def run_with_the_settings(script: str, folder: Folder, tmp_path: Path) -> str:
    environment = folder.environment | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl_commands_work_with_the_server(folder: Folder, tmp_path: Path) -> None:
    printed = run_with_the_settings(commands("### With curl", folder), folder, tmp_path)
    assert "<ListBucketResult" in printed
    assert printed.endswith("hello\n")
    assert folder.keys() == []


def test_aws_cli_commands_work_with_the_server(folder: Folder, tmp_path: Path) -> None:
    script = commands("### With the AWS CLI", folder)
    for one in ("s3 ls", "s3 cp", "s3 rm", "list-multipart-uploads"):
        assert one in script
    if not shutil.which("aws"):
        pytest.skip("aws is not installed")
    printed = run_with_the_settings(script, folder, tmp_path)
    assert "test.txt" in printed
    assert folder.keys() == []


def test_curl_commands_fail_with_a_wrong_secret(folder: Folder, tmp_path: Path) -> None:
    """So the commands reach the server, and it checks the signature."""
    script = commands("### With curl", folder)
    wrong = folder.environment | {"S3_BACKUP_AGENT_SECRET_ACCESS_KEY": setting("TEST_S3_BUCKET")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=wrong | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode != 0
