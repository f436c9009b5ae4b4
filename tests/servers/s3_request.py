"""One signed S3 request with the standard library: `s3_request.py METHOD PATH[?QUERY] [BODY]`.

The server, region and keys come from the environment: TEST_S3_ENDPOINT, TEST_S3_REGION,
TEST_S3_ACCESS_KEY_ID and TEST_S3_SECRET_ACCESS_KEY. Exit code 0 if the answer is a 2xx.
"""

import datetime
import hashlib
import hmac
import os
import sys
import urllib.error
import urllib.parse
import urllib.request


def request(method: str, path: str, query: str = "", body: bytes = b"") -> tuple[int, bytes]:
    """Sends a request and returns its status and body. `path` and `query` are percent-encoded."""
    endpoint, region = os.environ["TEST_S3_ENDPOINT"], os.environ["TEST_S3_REGION"]
    query = "&".join(
        sorted(item if "=" in item else f"{item}=" for item in query.split("&") if item)
    )
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": urllib.parse.urlsplit(endpoint).netloc,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": now,
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = "\n".join([method, path, query, lines, names, headers["x-amz-content-sha256"]])
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + os.environ["TEST_S3_SECRET_ACCESS_KEY"]).encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={os.environ['TEST_S3_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={key.hex()}"
    )
    url = f"{endpoint}{path}" + (f"?{query}" if query else "")
    signed = urllib.request.Request(url, body or None, headers, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(signed, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def main() -> None:
    method, target, *body = sys.argv[1:]
    path, _, query = target.partition("?")
    try:
        status, answer = request(method, path, query, "".join(body).encode())
    except OSError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(answer)
    sys.exit(0 if 200 <= status < 300 else f"HTTP status {status}")


if __name__ == "__main__":
    main()
