"""Differences between the S3 server of the environment and AWS, found with single requests.

The environment is that of s3_request.py.
"""

import functools
import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator

from s3_request import request

PLACE = f"/{os.environ['TEST_S3_BUCKET']}"
KEY = f"{PLACE}/traits/object"


def code(answer: tuple[int, bytes]) -> str:
    """The code of an error, or the status if there is none."""
    found = re.search(rb"<Code>(\w+)</Code>", answer[1])
    return found[1].decode() if found else f"{answer[0]} without a code"


def upload_id() -> str:
    """A new multipart upload of the object."""
    answer = request("POST", KEY, "uploads")[1].decode()
    found = re.search("<UploadId>([^<]*)</UploadId>", answer)
    assert found, answer
    return urllib.parse.quote(found[1], safe="")


def refusals() -> Iterator[str]:
    """Responses to wrong requests that differ from those of AWS."""
    ask = functools.partial(request, "GET", query="list-type=2&max-keys=1")
    for what, usual, answer in (
        ("a wrong secret", "SignatureDoesNotMatch", ask(PLACE, secret="wrong" * 8)),
        ("an unknown key", "InvalidAccessKeyId", ask(PLACE, key_id="UNKNOWNKEY0000000000")),
        ("a wrong region", "AuthorizationHeaderMalformed", ask(PLACE, region="eu-wrong-1")),
        ("a clock that is an hour late", "RequestTimeTooSkewed", ask(PLACE, hours=-1)),
        ("a missing bucket", "NoSuchBucket", ask(f"{PLACE}-not")),
    ):
        if answer[0] < 300:
            yield f"accepts {what}"
        elif code(answer) != usual:
            yield f"returns {code(answer)} for {what}"


def objects() -> Iterator[str]:
    """Differences in writes and reads."""
    other = hashlib.sha256(b"other").hexdigest()
    if request("PUT", KEY, body=b"damaged", digest=other)[0] < 300:
        yield "does not verify the SHA-256 of a body"
    request("PUT", KEY, body=b"0123456789")
    if request("PUT", KEY, body=b"0123456789", headers={"if-none-match": "*"})[0] < 300:
        yield "ignores If-None-Match in a write"
    part = request("GET", KEY, headers={"range": "bytes=2-4"})
    if part != (206, b"234"):
        yield f"returns status {part[0]} for a range"
    if request("GET", KEY, headers={"if-match": '"0"'})[0] < 300:
        yield "ignores If-Match in a read"
    request("DELETE", KEY)


def uploads() -> Iterator[str]:
    """Differences in multipart uploads."""
    upload = upload_id()
    request("PUT", KEY, f"partNumber=1&uploadId={upload}", b"part")
    listed = request("GET", PLACE, "uploads&prefix=traits/")
    if upload not in urllib.parse.quote(listed[1].decode(), safe=""):
        yield "does not list incomplete uploads"
    initiated = re.search(rb"<Initiated>(\d+)", listed[1])
    parts = request("GET", KEY, f"uploadId={upload}")
    root = re.match(rb"(?:<\?.*?\?>)?\s*<(\w+)", parts[1])
    if root and root[1] != b"ListPartsResult":
        yield f"names the list of parts {root[1].decode()}"
    changed = re.search(rb"<LastModified>(\d+)", parts[1])
    if initiated and changed and initiated[1] != changed[1]:
        yield f"reports {initiated[1].decode()} as the start of every upload"
    request("DELETE", KEY, f"uploadId={upload}")
    again = request("DELETE", KEY, f"uploadId={upload}")
    if code(again) != "NoSuchUpload":
        lost = f"returns {code(again)} for a lost upload"
        yield "accepts a second abort of an upload" if again[0] < 300 else lost


def differences() -> list[str]:
    """All differences, as short phrases."""
    return [*refusals(), *objects(), *uploads()]
