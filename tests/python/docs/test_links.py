"""Every link to a file of the repository has a target, and so has every path in code."""

import re
import urllib.parse
from pathlib import Path

import markdown
import pytest

OURS = re.compile(r"https://github\.com/s3-backup-agent/s3-backup-agent/(?:blob|tree)/main/?(.*)")
FOLDERS = r"\.ci|\.github|benches|docs|fuzz|hacs-wrapper|packaging|protocol|scripts|src|tests"
IN_CODE = re.compile(rf"(?<![\w/.$~:-])((?:{FOLDERS})/[\w./*-]+)")
CAPITALS = re.compile(r"\b[A-Z]{2,}\b(?!\.md)")
each = pytest.mark.parametrize("document", markdown.documents(), ids=str)


def dead(document: Path, text: str) -> list[str]:
    """The links without a target in this text, as if it were in this document."""
    return [to for to in markdown.links(text) if not leads(document, text, to)]


def leads(document: Path, text: str, to: str) -> bool:
    if ours := OURS.fullmatch(to):
        place, base = ours[1], markdown.ROOT
    elif re.match(r"[a-z]+:", to):
        return to.startswith("https://")
    else:
        place, base = to, (markdown.ROOT / document).parent
    path, _, anchor = urllib.parse.unquote(place).partition("#")
    target = (base / path).resolve()
    if path and (not target.exists() or not target.is_relative_to(markdown.ROOT)):
        return False
    if not anchor:
        return True
    other = target.read_text("utf-8") if path and target.is_file() else text
    return anchor in markdown.anchors(other)


@each
def test_links_have_targets(document: Path) -> None:
    text = (markdown.ROOT / document).read_text("utf-8")
    assert dead(document, text) == []
    assert markdown.undefined(text) == set()


@each
def test_links_of_the_integration_stay_inside(document: Path) -> None:
    """hacs-wrapper/ becomes the root of a repository of its own."""
    if document.parts[0] != "hacs-wrapper":
        return
    text = (markdown.ROOT / document).read_text("utf-8")
    assert [to for to in markdown.links(text) if to.startswith("..")] == []


def gone(text: str) -> set[str]:
    """Paths in the code of this text that begin with a folder of ours and do not exist. Words in
    capitals match any name.
    """
    inline = markdown.INLINE.finditer(markdown.FENCE.sub("", text))
    codes = [block.code for block in markdown.blocks(text)] + [one["code"] for one in inline]
    named = {found.rstrip("/.") for code in codes for found in IN_CODE.findall(code)}
    return {path for path in named if not any(markdown.ROOT.glob(CAPITALS.sub("*", path)))}


@each
def test_paths_in_code_exist(document: Path) -> None:
    assert gone((markdown.ROOT / document).read_text("utf-8")) == set()


def test_documents_are_all_checked() -> None:
    names = {str(document) for document in markdown.documents()}
    assert {"README.md", "SECURITY.md", "docs/README.md", "protocol/PROTOCOL.md"} <= names
    assert {"hacs-wrapper/README.md", "docs/providers/aws.md", "fuzz/README.md"} <= names


def test_index_lists_every_document() -> None:
    index = (markdown.ROOT / "docs/README.md").read_text("utf-8")
    listed = {urllib.parse.urlsplit(to).path for to in markdown.links(index)}
    missing = {path.name for path in (markdown.ROOT / "docs").glob("*.md")} - listed
    assert missing == {"README.md"}


def test_links_without_target_are_found() -> None:
    here = Path("docs/README.md")
    text = """# A heading: with `code` & more

[to](../README.md#try-it) ![a](images/backup.png) [by name][x] [itself](#a-heading-with-code--more)
`[code](gone.md)` <img src="images/none.png"> [gone](../gone.md) [no](../README.md#gone) [y][z]
[out](../../etc) [plain](http://example.org) [ours](https://github.com/s3-backup-agent/s3-backup-agent/blob/main/gone)

```
[code](gone.md)
```

[x]: security.md#a-policy
"""
    wrong = ["../gone.md", "../README.md#gone", "../../etc", "http://example.org"]
    wrong += ["https://github.com/s3-backup-agent/s3-backup-agent/blob/main/gone"]
    assert dead(here, text) == [*wrong, "images/none.png"]
    assert markdown.undefined(text) == {"z"}


def test_paths_that_do_not_exist_are_found() -> None:
    text = """`tests/run --only rust`, `docs/`, `src/ops/VERB.rs` and /tests/none
`packaging/*.py`, `src/VERB/x`

```sh
tests/ran && ./docs/none scripts/none.
sudo packaging/build
```
"""
    assert gone(text) == {"tests/ran", "scripts/none", "src/VERB/x"}
