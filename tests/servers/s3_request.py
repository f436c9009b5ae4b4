"""One signed request with the standard library:

    s3_request.py [--service NAME] METHOD PATH[?QUERY] [BODY]

The service is s3 unless one is given. The server, region and keys come from the environment:
TEST_S3_ENDPOINT, TEST_S3_REGION, TEST_S3_ACCESS_KEY_ID and TEST_S3_SECRET_ACCESS_KEY; with
TEST_S3_CA_CERTIFICATE, a file, only certificates of this CA are trusted. The exit code is 0 if the
status is 2xx.
"""

import argparse
import datetime
import hashlib
import hmac
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType


def request(
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    *,
    service: str = "s3",
    headers: Mapping[str, str] = MappingProxyType({}),
    region: str | None = None,
    key_id: str | None = None,
    secret: str | None = None,
    digest: str | None = None,
    hours: float = 0,
) -> tuple[int, bytes]:
    """Sends a request and returns its status and body. `path` and `query` are percent-encoded, and
    slashes in values of the query as well. The parameters after the body replace correct values:
    further headers, keys and region of the signature, checksum of the body, offset of the clock."""
    endpoint = os.environ["TEST_S3_ENDPOINT"]
    query = "&".join(
        sorted(item if "=" in item else f"{item}=" for item in query.split("&") if item)
    ).replace("/", "%2F")
    time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    now = time.strftime("%Y%m%dT%H%M%SZ")
    signed = {
        "host": urllib.parse.urlsplit(endpoint).netloc,
        "x-amz-content-sha256": digest or hashlib.sha256(body).hexdigest(),
        "x-amz-date": now,
        **headers,
    }
    if body:
        # urllib sends a type with every body, and Ceph insists that it is signed.
        form = "application/x-www-form-urlencoded"
        signed["content-type"] = "application/octet-stream" if service == "s3" else form
    signed = dict(sorted(signed.items()))
    names = ";".join(signed)
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    canonical = "\n".join([method, path, query, lines, names, signed["x-amz-content-sha256"]])
    scope = f"{now[:8]}/{region or os.environ['TEST_S3_REGION']}/{service}/aws4_request"
    canonical_digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + (secret or os.environ["TEST_S3_SECRET_ACCESS_KEY"])).encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{canonical_digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={key_id or os.environ['TEST_S3_ACCESS_KEY_ID']}/{scope}"
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={key.hex()}"
    )
    url = f"{endpoint}{path}" + (f"?{query}" if query else "")
    whole = urllib.request.Request(url, body or None, signed, method=method)
    trust = ssl.create_default_context(cafile=os.environ.get("TEST_S3_CA_CERTIFICATE"))
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    try:
        with direct.open(whole, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--service", default="s3")
    arguments.add_argument("method")
    arguments.add_argument("target")
    arguments.add_argument("body", nargs="?", default="")
    given = arguments.parse_args()
    path, _, query = given.target.partition("?")
    try:
        status, answer = request(
            given.method, path, query, given.body.encode(), service=given.service
        )
    except OSError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(answer)
    sys.exit(0 if 200 <= status < 300 else f"HTTP status {status}")


if __name__ == "__main__":
    main()
