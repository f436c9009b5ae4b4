"""Every transcript with the real agent and a real S3 server."""

import contextlib
import re
import urllib.parse
from pathlib import Path

import player
import pytest
from agent_player import AgentPlayer, Settings
from conftest import Folder
from failing_storage import failing_storage
from player import Json, Payload, Transcript
from s3_request import request

TRANSCRIPTS = player.load_all()

# Messages that the agent of this project sends only after failures that no test can produce, or
# never. Hosts have to handle them anyway.
NOT_OF_THIS_AGENT = {
    "download-breaks": "the connection to the storage would have to break between two frames",
    "download-verdict": "damaged bytes are found before they are handed on",
    "late-frames": "credit after an answer depends on who is faster",
    "newer-agent": "it is not newer than itself",
    "older-agent": "it is not older than itself",
    "storage-certificate": "a storage with a certificate that is not trusted is needed",
    "storage-waits": "the calls to a storage that asks to slow down are repeated for a minute",
}


def store(folder: Folder, thing: Json) -> None:
    """Writes an object to the bucket without the agent."""
    key = folder.prefix + thing["key"].removeprefix("ha")
    path = f"/{folder.bucket}/{urllib.parse.quote(key)}"
    if thing.get("unfinished"):
        status, body = request("POST", path, "uploads")
    elif "text" in thing:
        status, body = request("PUT", path, "", thing["text"].encode())
    else:
        status, body = request("PUT", path, "", Payload.parse(dict(thing["payload"])).data)
    assert status == 200, body


def test_skipped_transcripts_exist() -> None:
    assert NOT_OF_THIS_AGENT.keys() <= TRANSCRIPTS.keys()


@pytest.mark.parametrize("name", sorted(TRANSCRIPTS.keys() - NOT_OF_THIS_AGENT.keys()))
def test_agent_follows_the_transcript(binary: str, folder: Folder, name: str) -> None:
    play(TRANSCRIPTS[name], [binary, "serve"], folder)


@pytest.mark.parametrize(
    ("name", "before", "after", "complaint"),
    [
        ("get", '"stored_size":600000', '"stored_size":600001', ".stored_size is 600000"),
        ("not-found", '"code":"not_found"', '"code":"x_other"', ".code is 'not_found'"),
        (
            "download-whole",
            '{"gen":"mod251","offset":0',
            '{"gen":"mod251","offset":1',
            "wrong bytes",
        ),
        ("download-whole", '"length":600000,"sha', '"length":599999,"sha', "600000 bytes came"),
        ("ping", '{"dir":"<","msg":{"jsonrpc":"2.0","id":2,"result":{}}}', '{"note":""}', "id"),
        ("upload-exists", '"ends":{"exit":0}', '"ends":{"exit":76}', "exit code 0"),
    ],
)
def test_differences_are_reported(
    binary: str,
    folder: Folder,
    tmp_path: Path,
    name: str,
    before: str,
    after: str,
    complaint: str,
) -> None:
    text = (player.FOLDER / f"{name}.ndjson").read_text("utf-8")
    assert before in text
    other = tmp_path / "other.ndjson"
    other.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        play(player.load(other), [binary, "serve"], folder)


def play(transcript: Transcript, agent: list[str], folder: Folder) -> None:
    """agent: its command line."""
    config = folder.config
    with contextlib.ExitStack() as stack:
        if transcript.storage is not None:
            config["endpoint"] = stack.enter_context(failing_storage(transcript.storage))
        running = stack.enter_context(AgentPlayer(agent, Settings(config)))
        running.begin(transcript.start)
        for thing in transcript.objects:
            store(folder, thing)
        running.play(transcript)
    if transcript.storage is None:
        assert_nothing_half(folder, transcript)


def assert_nothing_half(folder: Folder, transcript: Transcript) -> None:
    """Each backup has both objects or none, and no multipart upload is unfinished."""
    assert folder.unfinished() == []
    strange = {thing["key"].removeprefix("ha") for thing in transcript.objects}
    objects = folder.keys()
    keys = {key.removeprefix(folder.prefix) for key in objects} - strange
    bases = {key.removesuffix(".tar").removesuffix(".metadata.json") for key in keys}
    for base in bases:
        if not {f"{base}.tar", f"{base}.metadata.json"} & strange:
            assert {f"{base}.tar", f"{base}.metadata.json"} <= keys
