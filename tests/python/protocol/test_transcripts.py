"""The transcripts: their form, and their lines in the documents."""

import json
import re
from pathlib import Path

import player
import pytest
import render
from player import Json, Line, Transcript

TRANSCRIPTS = player.load_all()
README = (player.FOLDER / "README.md").read_text("utf-8")
_, _, DESCRIBED = README.partition("## The transcripts")
each = pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS)

METHODS = {
    "initialize",
    "ping",
    "shutdown",
    "target.open",
    "target.update",
    "target.validate",
    "target.cleanup",
    "target.repair",
    "target.close",
    "backup.upload",
    "backup.download",
    "backup.verify",
    "backup.list",
    "backup.get",
    "backup.delete",
}


@pytest.mark.parametrize("document", render.DOCUMENTS, ids=lambda path: path.name)
def test_documents_match_the_transcripts(document: Path) -> None:
    text = document.read_text("utf-8")
    _, problems = render.check(text)
    assert problems == []
    blocks = re.findall(r"^```bap [^\n]*\n(.*?)^```$", text, re.M | re.S)
    assert max(len(line) for block in blocks for line in block.splitlines()) < render.WIDTH + 100


def test_render_spreads_long_messages() -> None:
    content = render.render("session.ndjson:9-15")
    assert '\n    "jsonrpc": "2.0",\n' in content
    shown = list(render.messages(content))
    assert [direction for direction, _ in shown] == [*"><>>>>><<"]
    assert json.loads(shown[0][1])["method"] == "backup.upload"
    assert shown[3] == (">", "<524288 bytes>")


def test_render_repairs_a_block_that_differs() -> None:
    reference = "session.ndjson:3-4"
    good = f"a\n\n```bap {reference}\n{render.render(reference)}```\n\nb\n"
    assert render.check(good) == (good, [])
    bad = good.replace('"id":1', '"id":2')
    mended, problems = render.check(bad)
    assert mended == good
    assert problems == [f"line 3: bap {reference}: differs from the transcript"]


@pytest.mark.parametrize(
    "words",
    ["bap", "bap-new", "bap session.ndjson:1-2", "bap session.ndjson:9999", "bap no.ndjson:2"],
)
def test_render_reports_a_block_without_lines(words: str) -> None:
    assert render.check(f"```{words}\n> x\n```\n")[1]


def test_methods_have_a_success_and_an_error() -> None:
    good, bad = set[str](), set[str]()
    for transcript in TRANSCRIPTS.values():
        methods = {line.request_id: line.method for line in transcript.lines if line.is_request}
        for line in transcript.lines:
            if line.is_response and (method := methods.get(line.request_id)):
                (good if "result" in line.message else bad).add(method)
    assert good == METHODS
    assert bad >= METHODS


def test_transcripts_are_described() -> None:
    described = re.findall(r"^\| `([a-z-]+)` \|", DESCRIBED, re.M)
    assert described == sorted(TRANSCRIPTS)


@each
def test_head_is_complete(transcript: Transcript) -> None:
    head = transcript.head
    assert head["transcript"] == 1
    assert head["title"] in DESCRIBED
    assert head["start"] in ("nothing", "session", "backup")
    assert head["ends"] in ({"exit": 0}, {"exit": 76, "by": "agent"})
    assert head.keys() <= {"transcript", "title", "start", "ends", "objects", "storage"}
    assert transcript.storage is None or head["start"] != "backup"
    assert (transcript.lines[0].method == "hello") == (head["start"] == "nothing")
    assert all(thing["key"].startswith("ha/") for thing in transcript.objects)


@each
def test_lines_are_well_formed(transcript: Transcript) -> None:
    for raw in transcript.raw:
        members = raw.get("unordered", [raw])
        assert len(members) > 1 or members == [raw]
        for member in members:
            assert_well_formed(member)
    for step in transcript.steps:
        assert len(step) == 1 or all(line.direction == "<" for line in step)
    for line in transcript.lines:
        assert (line.message.get("payload") is None) == (line.payload is None), line
        if line.payload:
            assert line.payload.length == line.message["payload"]
            assert line.payload.is_true(), f"{line.place}: the hash is wrong"
        if line.direction == ">":
            assert line.message == render.example(line.message), f"{line.place}: a matcher"


def assert_well_formed(raw: Json) -> None:
    if "note" in raw:
        assert raw.keys() == {"note"}
        return
    kinds = raw.keys() & {"msg", "raw", "close"}
    assert len(kinds) == 1, raw
    assert raw.keys() <= {"dir", "payload", "times"} | kinds
    assert raw["dir"] in ("<", ">")
    assert raw["dir"] == ">" or "msg" in raw


@each
def test_requests_are_answered_once(transcript: Transcript) -> None:
    """The response is also the last message about its request."""
    by_hand = raw_requests(transcript)
    open_requests, answered = set(by_hand), set[int | None]()
    for line in transcript.lines:
        if line.is_request and line.request_id not in open_requests:
            assert line.request_id not in answered, f"{line.place}: the id was used before"
            assert (line.request_id or 0) < 9000, "from there on they belong to the players"
            open_requests.add(line.request_id)
        elif line.is_response and line.message["id"] is not None:
            open_requests.remove(line.request_id)
            answered.add(line.request_id)
        elif line.direction == "<" and line.request_id in answered:
            assert transcript.name == "late-frames.ndjson", f"{line.place}: it is answered"
    if transcript.head["ends"] == {"exit": 0} and not any(line.closes for line in transcript.lines):
        assert open_requests <= by_hand


@each
def test_samples_are_replaceable(transcript: Transcript) -> None:
    for line in transcript.lines:
        config = line.message.get("params", {})
        config = config.get("config", {}) if isinstance(config, dict) else {}
        if config.get("endpoint") == player.CONFIG["endpoint"] and is_opened(transcript, line):
            assert config["bucket"] == player.CONFIG["bucket"] or "no-bucket" in config["bucket"]
            assert config["prefix"].split("/")[0] == "ha", line.place
            assert config["access_key_id"] == player.CONFIG["access_key_id"]


def raw_requests(transcript: Transcript) -> set[int | None]:
    """Returns the IDs of requests written as raw text."""
    texts = [line.raw.decode() for line in transcript.lines if line.raw]
    return {int(number) for text in texts for number in re.findall(r'"id" ?: ?(\d+) ?[,}]', text)}


def is_opened(transcript: Transcript, request: Line) -> bool:
    return any(
        line.is_response and line.request_id == request.request_id and "result" in line.message
        for line in transcript.lines
    )


def test_directory_has_no_other_files() -> None:
    names = {path.name for path in Path(player.FOLDER).iterdir() if path.name != "__pycache__"}
    assert names - {f"{name}.ndjson" for name in TRANSCRIPTS} == {"README.md", "render.py"}


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ({"a": 1}, [{"a": 1}], [{"a": 2}, {"a": 1.0}, {"a": True}, {}, {"a": 1, "b": 2}, [1]]),
        ([1, 2], [[1, 2]], [[1], [2, 1], [1, 2, 3], {}]),
        ({"$any": 1}, [None, 1, {}, "x"], []),
        ({"$int": 1}, [0, 5], [-1, 1.5, True, "1", None]),
        ({"$text": "x"}, ["y"], ["", 1, None]),
        ({"$like": ["^a+$", "a"]}, ["aaa"], ["b", 1]),
        ({"$some": {"a": {"$int": 1}}}, [{"a": 2, "b": 3}], [{"a": "x"}, {"b": 1}, 1]),
        ({"a": {"$maybe": {"$text": "x"}}}, [{"a": "y"}, {}], [{"a": 1}, {"a": None}, {"b": "y"}]),
        ({"a": [{"$text": "x"}]}, [{"a": ["y"]}], [{"a": [""]}, {"a": []}]),
        ({"$odd": 1}, [], [1]),
    ],
)
def test_matchers_accept_and_reject(pattern: Json, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert player.differences(pattern, value) == []
    for value in bad:
        assert player.differences(pattern, value), value
