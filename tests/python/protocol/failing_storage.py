"""A storage that fails as a transcript says, for what no storage at hand can be brought to do."""

import contextlib
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

EMPTY_LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"


def operation(method: str, query: dict[str, list[str]]) -> str:
    """The name of the S3 operation that a request asks for."""
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        return {"PUT": "UploadPart", "DELETE": "AbortMultipartUpload"}.get(method, "ListParts")
    if "list-type" in query:
        return "ListObjectsV2"
    return f"{method.title()}Object"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Json
    objects: dict[str, bytes]

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        status, headers, body = self._choose(operation(self.command, query), url.path, body)
        self.send_response_only(status)
        for header in headers.items():
            self.send_header(*header)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _choose(self, name: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if refusal := self.answers.get(name):
            members = {k: v for k, v in refusal.items() if k not in ("status", "headers")}
            inner = "".join(f"<{k}>{v}</{k}>" for k, v in members.items())
            return refusal["status"], refusal.get("headers", {}), f"<Error>{inner}</Error>".encode()
        match name:
            case "ListObjectsV2":
                return 200, {}, EMPTY_LISTING
            case "CreateMultipartUpload":
                return 200, {}, UPLOAD
            case "PutObject" | "UploadPart":
                self.objects[path] = body
                return 200, {"etag": '"e1"'}, b""
            case "GetObject" | "HeadObject":
                return 200, {"etag": '"e1"'}, self.objects[path]
        return 204, {}, b""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """The agent's log says more."""


@contextlib.contextmanager
def failing_storage(answers: Json) -> Iterator[str]:
    """Runs one, and gives its endpoint. `answers`: refusals by the names of operations."""
    handler = type("Handler", (_Handler,), {"answers": answers, "objects": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
