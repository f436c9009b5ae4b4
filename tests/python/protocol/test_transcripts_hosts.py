"""Transcripts with the hosts of this project: a scripted agent plays the other side.

What a host may choose is not compared: ids, the sizes of frames, how much credit it grants and
when, deadlines. All else is: methods, parameters, the bytes, and what the caller gets in the end.
"""

import re
from collections.abc import Callable
from pathlib import Path

import player
import pytest
from host_player import HostPlayer
from hosts import ClientHost, Host, ReferenceHost

TRANSCRIPTS = player.load_all()

# A conforming host never sends these.
NO_HOST = {
    "bad-notifications": "its notifications make no sense",
    "bad-requests": "its requests make no sense",
    "duplicate-id": "it uses an id twice",
    "frame-batch": "it sends an array",
    "frame-blank": "its frames are written by hand",
    "frame-cut": "it ends inside a frame",
    "frame-empty-payload": "it announces a payload of no bytes",
    "frame-garbage": "it sends what is no frame",
    "frame-huge-payload": "it announces more than the agent takes",
    "frame-too-long": "it sends a line that is too long",
    "frame-wrong-count": "it sends more than it announces",
    "handshake-bad-limits": "it initializes with limits that nobody may have",
    "handshake-order": "it does not begin with initialize",
    "handshake-version": "it asks for a version that the agent does not speak",
    "unknown": "it uses what the protocol does not have",
    "upload-data-without-payload": "it sends data without payload",
    "upload-flow": "it sends data without credit",
    "upload-gap": "it leaves bytes out",
    "upload-overlap": "it sends bytes twice",
    "upload-wrong-length": "it counts wrongly",
}
NOT_THE_REFERENCE_HOST = {
    "download-offset": "it fetches backups from their first byte",
    "download-two": "it fetches backups from their first byte",
    "ends": "it fetches backups from their first byte",
}
NOT_THE_CLIENT = {
    "busy": "it holds back what the agent would refuse",
    "shutdown-drain": "it ends an agent without waiting for what runs",
    "shutdown-timeout": "it ends an agent without waiting for what runs",
    "upload-resume": "it repeats uploads itself, and has nothing kept of the last",
    "targets": "it knows itself which targets are open",
}

CASES: list[tuple[str, Callable[[], Host]]] = [
    (name, kind)
    for kind, excluded in ((ReferenceHost, NOT_THE_REFERENCE_HOST), (ClientHost, NOT_THE_CLIENT))
    for name in sorted(TRANSCRIPTS.keys() - NO_HOST.keys() - excluded.keys())
]


def test_skipped_transcripts_exist() -> None:
    for names in NO_HOST, NOT_THE_REFERENCE_HOST, NOT_THE_CLIENT:
        assert names.keys() <= TRANSCRIPTS.keys()
    assert not NO_HOST.keys() & (NOT_THE_REFERENCE_HOST.keys() | NOT_THE_CLIENT.keys())


@pytest.mark.parametrize(("name", "kind"), CASES)
async def test_host_follows_the_transcript(name: str, kind: Callable[[], Host]) -> None:
    await HostPlayer(TRANSCRIPTS[name], kind()).play()


@pytest.mark.parametrize("kind", [ReferenceHost, ClientHost])
@pytest.mark.parametrize(
    ("name", "before", "after", "complaint"),
    [
        ("get", '"backup_id":"a1b2c3d5"}}', '"backup_id":"other"}}', ".backup_id is 'a1b2c3d5'"),
        (
            "upload-replace",
            '"if_exists":"replace"',
            '"if_exists":"fail"',
            ".if_exists is 'replace'",
        ),
        ("upload-small", '{"gen":"mod251","offset":0', '{"gen":"mod251","offset":1', "wrong ones"),
        ("download-whole", '{"gen":"mod251","offset":0', '{"gen":"mod251","offset":1', "bytes"),
        ("not-found", '"code":"not_found"', '"code":"x_other"', "x_other"),
        ("list-empty", '"skipped":[]', '"skipped":[{"key":"k","code":"c","message":"m"}]', "'k'"),
    ],
)
async def test_differences_are_reported(
    tmp_path: Path,
    kind: Callable[[], Host],
    name: str,
    before: str,
    after: str,
    complaint: str,
) -> None:
    """Plays one transcript as the host and another one as the agent."""
    text = (player.FOLDER / f"{name}.ndjson").read_text("utf-8")
    assert before in text
    other = tmp_path / "other.ndjson"
    other.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        await HostPlayer(TRANSCRIPTS[name], kind()).play(other)
