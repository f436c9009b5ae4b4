"""One plain HTTP request: how fast the server and the link are."""

import datetime
import hashlib
import hmac
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from ..process import run
from ..results import Run
from .base import Peer, Place


class Curl(Peer):
    commands: Mapping[str, str] = {
        "upload": "curl -T FILE PRESIGNED-URL",
        "download": "curl -o FILE PRESIGNED-URL",
    }

    def __init__(self) -> None:
        if (program := shutil.which("curl")) is None:
            raise FileNotFoundError("curl is needed on PATH")
        self._program = program

    def version(self) -> str:
        return run([self._program, "--version"], {})[1].decode().split()[1]

    def upload(self, place: Place, file: Path) -> Run:
        return self._run("-T", file, presigned(place, "PUT"))

    def download(self, place: Place, file: Path, size: int) -> Run:
        return self._run("-o", file, presigned(place, "GET"))

    def _run(self, *words: str | Path) -> Run:
        return run([self._program, "-sS", "--fail", "--noproxy", "*", *words], {})[0]


def presigned(place: Place, method: str) -> str:
    """A signed URL that needs no header, so that the peer computes no checksum of the body."""
    server = place.server
    path = f"/{place.bucket}/bench"
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{server.region}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{server.key_id}/{scope}",
        "X-Amz-Date": now,
        "X-Amz-Expires": "3600",
        "X-Amz-SignedHeaders": "host",
    }
    encoded = urlencode(sorted(query.items()), quote_via=quote, safe="")
    host = f"host:{urlsplit(place.endpoint).netloc}\n"
    canonical = "\n".join([method, path, encoded, host, "host", "UNSIGNED-PAYLOAD"])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{server.secret}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{place.endpoint}{path}?{encoded}&X-Amz-Signature={key.hex()}"
