"""The pages of Home Assistant in a browser, see ../browser/pages.mjs. Part of tests/run --full."""

import asyncio
import json
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import Storage, setting
from home_assistant import HERE, PASSWORD, USER, HomeAssistant, Json
from pausing_proxy import PausingProxy

pytestmark = pytest.mark.skipif(
    "HOME_ASSISTANT_BROWSER" not in os.environ, reason="only with tests/run --full"
)

BALLAST = 96 << 20
WRONG_REGION = b"""\
<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; \
the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region>
</Error>"""


@pytest_asyncio.fixture
async def other_region() -> AsyncIterator[str]:
    """A server with another region, because the test server accepts any region."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/xml\r\n"
            b"x-amz-request-id: 1\r\ncontent-length: %d\r\n\r\n%b"
            % (len(WRONG_REGION), WRONG_REGION)
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_browser_adds_location_and_uses_backup(
    home: HomeAssistant,
    form: Json,
    proxy: PausingProxy,
    storage: Storage,
    other_region: str,
    tmp_path: Path,
    unused_tcp_port: int,
) -> None:
    await home.command(
        "backup/config/update",
        automatic_backups_configured=True,
        create_backup={"password": "ABCD-EFGH-IJKL-MNOP"},
    )
    (home.config / "ballast").write_bytes(os.urandom(BALLAST))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    closed = f"http://127.0.0.1:{unused_tcp_port}"
    paused, downloaded = tmp_path / "paused", tmp_path / "downloaded"
    task = {
        "chromium": setting("HOME_ASSISTANT_BROWSER"),
        "url": home.url,
        "username": USER,
        "password": PASSWORD,
        "name": "Before the update",
        "pictures": str(pictures),
        "paused": str(paused),
        "downloaded": str(downloaded),
        "form": {k: v for k, v in form.items() if k not in ("addressing_style", "folder")},
        "screens": [[1280, 1000], [390, 780]],
        "wrong": [
            {
                "change": {"secret_access_key": "wrong"},
                "field": "secret_access_key",
                "text": "The secret access key does not match the access key ID",
            },
            {
                "change": {"endpoint": other_region},
                "field": "region",
                "text": "The bucket is in the region eu-west-1, not us-east-1",
            },
            {
                "change": {"bucket": "s3-backup-agent-missing"},
                "field": "bucket",
                "text": "The bucket s3-backup-agent-missing does not exist",
            },
            {
                "change": {"region": "Frankfurt am Main"},
                "field": "region",
                "text": "The region is invalid",
            },
            {
                "change": {"endpoint": form["endpoint"].replace("http://", "https://")},
                "field": "endpoint",
                "text": "does not use TLS",
            },
            {
                "change": {"endpoint": f"{form['endpoint']}/some/where"},
                "field": "endpoint",
                "text": "The endpoint URL does not belong to an S3 server",
            },
            {
                "change": {"endpoint": "http://nowhere.invalid:9000"},
                "field": "endpoint",
                "text": "The host nowhere.invalid was not found",
            },
            {
                "change": {
                    "access_key_id": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                    "secret_access_key": "AKIAIOSFODNN7EXAMPLE",
                },
                "field": "access_key_id",
                "text": "The keys seem to be swapped",
            },
            {
                "change": {"access_key_id": "  nobody\u200b "},
                "field": "access_key_id",
                "text": "The server does not know this access key ID",
            },
            {
                "change": {"endpoint": closed},
                "field": "endpoint",
                "text": f"Cannot connect to {closed.removeprefix('http://')}",
            },
        ],
    }
    (tmp_path / "task.json").write_text(json.dumps(task))
    proxy.close_after("up", BALLAST * 5 // 6)
    # In the directory of its modules.
    script = Path(setting("HOME_ASSISTANT_BROWSER_MODULES")) / "pages.mjs"
    shutil.copy(HERE.parent / "browser" / script.name, script)
    browser = await asyncio.create_subprocess_exec("node", script, tmp_path / "task.json")
    ended = asyncio.create_task(browser.wait())
    halfway = asyncio.create_task(proxy.closed.wait())
    try:
        await asyncio.wait([ended, halfway], timeout=240, return_when=asyncio.FIRST_COMPLETED)
        assert halfway.done() and not ended.done()
        await asyncio.sleep(2)  # Home Assistant reports the progress once per second
        paused.touch()
        await home.until(lambda: (pictures / "progress.png").exists(), "the picture", timeout=60)
        proxy.open()
        assert await asyncio.wait_for(ended, 240) == 0
    finally:
        proxy.open()
        if browser.returncode is None:
            browser.kill()
        await ended
        halfway.cancel()
        if kept := os.environ.get("HOME_ASSISTANT_PICTURES"):
            shutil.copytree(pictures, kept, dirs_exist_ok=True)
    assert storage.objects() == []
    # The page sends the key, so that Home Assistant decrypts the download.
    with tarfile.open(downloaded) as backup:
        about = backup.extractfile("./backup.json")
        assert about and json.load(about)["name"] == task["name"]
        inner = backup.extractfile("homeassistant.tar.gz")
        assert inner
        with tarfile.open(fileobj=inner) as files:
            ballast = files.extractfile("data/ballast")
            assert ballast and ballast.read() == (home.config / "ballast").read_bytes()
