"""The S3 server, from tests/servers, and its buckets."""

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from s3_request import request

ROOT = Path(__file__).resolve().parents[2]
READY = 60.0  # seconds that a new bucket may need


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    version: str
    endpoint: str
    region: str
    key_id: str
    secret: str


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """A server with its data in a folder. The one called `running` is there already, as the
    environment describes it."""
    if name == "running":
        yield described(os.environ)
        return
    script = ROOT / "tests/servers" / f"{name}.sh"
    subprocess.run([script, "start", folder], check=True)
    try:
        given = {}
        for word in shlex.split((folder / "env").read_text()):
            if "=" in word:
                variable, _, value = word.partition("=")
                given[variable] = value
        os.environ.update(given)  # for s3_request
        yield described(given)
    finally:
        subprocess.run([script, "stop", folder], check=True)


def described(given: Mapping[str, str]) -> Server:
    return Server(
        given["TEST_S3_NAME"],
        given["TEST_S3_VERSION"],
        given["TEST_S3_ENDPOINT"],
        given["TEST_S3_REGION"],
        given["TEST_S3_ACCESS_KEY_ID"],
        given["TEST_S3_SECRET_ACCESS_KEY"],
    )


def _do(method: str, path: str, query: str = "", body: bytes = b"") -> bytes:
    status, answer = request(method, path, query, body)
    if not 200 <= status < 300:
        raise OSError(f"{method} {path}: {status} {answer[:300]!r}")
    return answer


@contextlib.contextmanager
def bucket(name: str) -> Iterator[str]:
    """An empty bucket. It is deleted with its objects, which frees the disk at once."""
    _do("PUT", f"/{name}")
    deadline = time.monotonic() + READY
    while True:  # it may exist before objects can be stored
        try:
            _do("PUT", f"/{name}/ready", body=b"x")
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    _do("DELETE", f"/{name}/ready")
    try:
        yield name
    finally:
        with ThreadPoolExecutor(4) as pool:
            while keys := keys_of(name):
                list(pool.map(lambda key: delete(name, key), keys))
        _do("DELETE", f"/{name}")


def keys_of(name: str) -> list[str]:
    """The first keys of a bucket."""
    listing = _do("GET", f"/{name}", "list-type=2").decode()
    return re.findall(r"<Contents>.*?<Key>(.*?)</Key>", listing, re.DOTALL)


def put(name: str, key: str, body: bytes) -> None:
    _do("PUT", f"/{name}/{quote(key)}", body=body)


def get(name: str, key: str) -> bytes:
    return _do("GET", f"/{name}/{quote(key)}")


def delete(name: str, key: str) -> None:
    _do("DELETE", f"/{name}/{quote(key)}")
