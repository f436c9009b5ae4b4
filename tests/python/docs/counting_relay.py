"""A relay in front of a storage that counts which calls of S3 pass through it."""

import contextlib
import http.client
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


def operation(method: str, query: dict[str, list[str]], *, signed: bool) -> str:
    """The name that S3 has for a call."""
    if not signed:
        return "without a signature"
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
        return names.get(method, "CompleteMultipartUpload")
    if "object-lock" in query:
        return "GetObjectLockConfiguration"
    return "ListObjectsV2" if "list-type" in query else f"{method.title()}Object"


@dataclass
class Relay:
    """`endpoint` leads through it; `calls` counts by name."""

    endpoint: str
    calls: Counter[str] = field(default_factory=Counter)

    def take(self) -> Counter[str]:
        """What passed since the last time."""
        taken = Counter(self.calls)
        self.calls.clear()
        return taken


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: str
    calls: Counter[str]

    def _pass_on(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        signed = "authorization" in self.headers
        self.calls[operation(self.command, query, signed=signed)] += 1
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with contextlib.closing(http.client.HTTPConnection(self.target)) as connection:
            # With the Host that was signed.
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = answer.headers["content-length"] if self.command == "HEAD" else len(content)
        if length is not None:
            self.send_header("content-length", str(length))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Counting is enough."""


@contextlib.contextmanager
def counting_relay(endpoint: str) -> Iterator[Relay]:
    """Runs one in front of this endpoint, which must speak plain HTTP."""
    calls: Counter[str] = Counter()
    members = {"target": urllib.parse.urlsplit(endpoint).netloc, "calls": calls}
    handler = type("Handler", (_Handler,), members)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield Relay(f"http://127.0.0.1:{server.server_address[1]}", calls)
        finally:
            server.shutdown()
            thread.join()
