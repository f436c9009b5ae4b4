"""An S3 server that fails as a transcript describes, for failures that real servers do not produce.

All other operations work, as far as the checks of an agent can tell.
"""

import contextlib
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

LISTING = "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
ENTRY = "<Contents><Key>{}</Key><Size>{}</Size></Contents>"
UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
NO_UPLOADS = b"<ListMultipartUploadsResult></ListMultipartUploadsResult>"
UNLOCKED = b"<ObjectLockConfiguration></ObjectLockConfiguration>"
NOT_IN_DOCUMENTS = {"status", "headers", "unless_region"}
COMPLETED = b"<CompleteMultipartUploadResult><ETag>e1</ETag></CompleteMultipartUploadResult>"
ETAG = {"etag": '"e1"'}


def operation(method: str, query: dict[str, list[str]]) -> str:
    """Returns the S3 operation of a request."""
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload"}
        return (names | {"DELETE": "AbortMultipartUpload"}).get(method, "ListParts")
    if "list-type" in query:
        return "ListObjectsV2"
    if "object-lock" in query:
        return "GetObjectLockConfiguration"
    return f"{method.title()}Object"


def error(status: int, members: Json) -> Answer:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in members.items())
    return status, {}, f"<Error>{inner}</Error>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Json
    objects: dict[str, bytes]
    parts: dict[str, bytes]

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        status, headers, body = self._choose(operation(self.command, query), url.path, body)
        self.send_response_only(status)
        for header in ({"date": self.date_time_string()} | headers).items():
            self.send_header(*header)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _choose(self, name: str, path: str, body: bytes) -> Answer:
        wanted = self.answers.get(name, {})
        headers = wanted.get("headers", {})
        if "status" in wanted and not self._is_signed_for(wanted.get("unless_region")):
            members = {k: v for k, v in wanted.items() if k not in NOT_IN_DOCUMENTS}
            status, _, body = error(wanted["status"], members)
            return status, headers, body
        status, usual, body = self._do(name, path, body)
        return status, usual | headers, body

    def _is_signed_for(self, region: str | None) -> bool:
        return region is not None and f"/{region}/s3/" in self.headers.get("authorization", "")

    def _do(self, name: str, path: str, body: bytes) -> Answer:
        match name:
            case "ListObjectsV2":
                return 200, {}, self._listing().encode()
            case "ListMultipartUploads":
                return 200, {}, NO_UPLOADS
            case "CreateMultipartUpload":
                return 200, {}, UPLOAD
            case "GetObjectLockConfiguration":
                return 200, {}, UNLOCKED
            case "UploadPart":
                # The only condition that the tests send.
                self.parts[path] = body
                return 200, ETAG, b""
            case "CompleteMultipartUpload":
                self.objects[path] = self.parts.pop(path)
                return 200, {}, COMPLETED
            case "PutObject" if path in self.objects and self.headers["if-none-match"]:
                return error(412, {"Code": "PreconditionFailed"})
            case "PutObject":
                self.objects[path] = body
                return 200, ETAG, b""
            case "GetObject" | "HeadObject":
                return self._read(self.objects.get(path))
            case "DeleteObject":
                self.objects.pop(path, None)
        return 204, {}, b""

    def _listing(self) -> str:
        url = urllib.parse.urlsplit(self.path)
        (prefix,) = urllib.parse.parse_qs(url.query, keep_blank_values=True)["prefix"]
        bucket = url.path.rstrip("/") + "/"
        found = {path.removeprefix(bucket): len(body) for path, body in self.objects.items()}
        entries = (ENTRY.format(*item) for item in found.items() if item[0].startswith(prefix))
        return LISTING.format("".join(entries))

    def _read(self, content: bytes | None) -> Answer:
        if content is None:
            return error(404, {"Code": "NoSuchKey"})
        if part := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["range"] or ""):
            first, last = map(int, part.groups())
            place = {"content-range": f"bytes {first}-{last}/{len(content)}"}
            return 206, ETAG | place, content[first : last + 1]
        return 200, ETAG, content

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Writes no log: the agent's log has more information."""


@contextlib.contextmanager
def failing_storage(answers: Json) -> Iterator[str]:
    """Runs a server and yields its endpoint. `answers`: as in the head of a transcript."""
    handler = type("Handler", (_Handler,), {"answers": answers, "objects": {}, "parts": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
