"""No secret is visible anywhere: not in messages and logs of the agent, not in its command line and
environment, not in its files, not in the log of the server.

The secrets are random: the one of the server, and a wrong one. The tests search for them as they
are and in the forms into which programs convert text.
"""

import base64
import binascii
import os
import secrets
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import player
import pytest
from conftest import Folder, setting
from test_transcripts_agent import NOT_OF_THIS_AGENT, TRANSCRIPTS, play

EAVESDROP = [sys.executable, str(Path(__file__).parent / "eavesdrop.py")]


def forms(secret: str) -> Iterator[bytes]:
    plain = secret.encode()
    yield plain
    yield plain[: len(plain) * 2 // 3]  # a truncated secret is still a leak
    yield urllib.parse.quote(secret, safe="").encode()
    yield secret.replace("/", "\\/").encode()
    yield binascii.hexlify(plain)
    yield binascii.hexlify(plain).upper()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # Its form depends on its position within three bytes.
        for shift in range(3):
            yield encode(b"\0" * shift + plain)[4 if shift else 0 : -4]


def leaks(secret: str, places: dict[str, bytes]) -> list[str]:
    return [
        f"{form.decode()} in {name}"
        for name, content in places.items()
        for form in forms(secret)
        if form in content
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", range(11))
def test_scan_each_form_of_a_secret_is_found(form: int) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    hidden = b"x=" + list(forms(secret))[form] + b"&"
    assert leaks(secret, {"somewhere": hidden})
    assert not leaks(secret, {"somewhere": hidden[2:12]})


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS.keys() - NOT_OF_THIS_AGENT.keys()))
def test_transcripts_show_no_secret(
    binary: str, folder: Folder, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = secrets.token_urlsafe(27) + "/+"
    text = (player.FOLDER / f"{name}.ndjson").read_text("utf-8").replace("A-WRONG-SECRET", wrong)
    transcript = tmp_path / f"{name}.ndjson"
    transcript.write_text(text, "utf-8")
    seen, state = tmp_path / "seen", tmp_path / "state"
    agent = [binary, "-vv", "serve", "--state-dir", str(state)]
    play(player.load(transcript), [*EAVESDROP, str(seen), *agent], folder)

    kept = files(seen)
    assert {Path(path).name for path in kept} == {"stdout", "stderr", "cmdline", "environ"}
    # The tests themselves have the server's secret in their environment.
    own = os.environ["TEST_S3_SECRET_ACCESS_KEY"].encode()
    kept[str(seen / "environ")] = kept[str(seen / "environ")].replace(
        b"TEST_S3_SECRET_ACCESS_KEY=" + own, b""
    )
    log = {"log of the storage": Path(setting("TEST_S3_LOG")).read_bytes()}
    for secret in (wrong, own.decode()):
        assert not leaks(secret, kept | files(state) | log)


@pytest.mark.parametrize("secret", ["right", "wrong"])
def test_commands_show_no_secret(binary: str, folder: Folder, tmp_path: Path, secret: str) -> None:
    key = setting("TEST_S3_SECRET_ACCESS_KEY") if secret == "right" else secrets.token_urlsafe(30)
    token = secrets.token_urlsafe(30)
    password = secrets.token_urlsafe(12)
    (tmp_path / "key").write_text(key)
    (tmp_path / "token").write_text(token)
    (tmp_path / "file.txt").write_text("content")
    state, home = tmp_path / "state", tmp_path / "home"
    home.mkdir()
    config = folder.config
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "HTTPS_PROXY": f"http://me:{password}@127.0.0.1:9",
        "S3_BACKUP_AGENT_STATE_DIR": str(state),
        "S3_BACKUP_AGENT_SECRET_ACCESS_KEY_FILE": str(tmp_path / "key"),
    } | {
        f"S3_BACKUP_AGENT_{name.upper()}": config[name]
        for name in ("endpoint", "region", "bucket", "prefix", "access_key_id")
    }
    working = [
        ["validate"],
        ["upload", str(tmp_path / "file.txt"), "--name", "n", "--id", "i"],
        ["list"],
        ["info", "i"],
        ["download", "i", "--force", "-o", str(tmp_path / "out")],
        ["verify", "--all"],
        ["cleanup", "--older-than", "1s"],
        ["repair"],
        ["delete", "i", "--yes"],
    ]
    failing = [
        ["list", "--endpoint", "https://storage.example"],
        ["list", "--secret-access-key-file", str(tmp_path / "missing")],
        ["list", "--session-token-file", str(tmp_path / "token"), "--bucket", "no-such-bucket"],
    ]
    for number, command in enumerate([*working, *failing] * 2):
        seen = tmp_path / f"seen-{number}"
        extra = ["--json"] if number > len(working + failing) else []
        run = [*EAVESDROP, str(seen), binary, "-vv", *command, *extra]
        ended = subprocess.run(run, env=environment, stdin=subprocess.DEVNULL, timeout=120)
        assert (ended.returncode == 0) == (secret == "right" and command in working), command
        kept = files(seen)
        assert not leaks(key, kept | files(state) | files(home)), command
        assert not leaks(token, kept), command
        # The proxy password belongs into the environment.
        del kept[str(seen / "environ")]
        assert not leaks(password, kept), command
    assert not leaks(key, {"log of the storage": Path(setting("TEST_S3_LOG")).read_bytes()})
