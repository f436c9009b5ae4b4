"""Checks the words of the project: what people read, and names that are given up.

usage: python3 tests/words [FILE...]

Without files it checks all of the repository. It prints each breach with its file and line, the
words, and what to write instead. It exits with 1 if there is any.

Rules that it sees:
  1   a sentence begins with its subject, and not with What, Who, That, Of, Where or Which
      (questions may): at most two in 10,000 words of a file, so none in less than 5,000 words
  2   no somebody, nobody, anybody, whoever
  6   no figures of speech: doors, rooms, ladders; nothing lies or stands; servers do not want
  7   no tails: be it, but for, all the same
  8   the terms of the field, and no private ones
  9   in docs/guides each section (##) has "for example", "such as", code, a picture, or the path
      of a page in Home Assistant ("Settings → System"); very short ones may lead elsewhere
  11  US spelling
  old words: names that are given up are in no file, and in no name of a file
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import prose
from old_words import old_words
from word_rules import Breach, allowed_headless, headless, phrases, without_example

ROOT = Path(__file__).resolve().parent.parent.parent

JSON_TEXTS = re.compile(r"^protocol/(errors|providers)\.json$|/translations/en\.json$")


# It shows what not to write.
STYLE_GUIDE = "docs/STYLE.md"


def passages(path: str, text: str) -> list[prose.Passage]:
    """What a person reads of this file."""
    if path == STYLE_GUIDE:
        return []
    if path.endswith(".md"):
        return prose.markdown(changes_of_now(text) if path == "CHANGELOG.md" else text).passages
    if JSON_TEXTS.search(path):
        return list(prose.json_texts(text))
    if re.match(r"^src/.*\.rs$", path) and not re.search(r"(^|/)tests(/|\.rs$)", path):
        messages = list(prose.rust_messages(text))
        if path.startswith("src/cli/"):
            messages += prose.rust_help(text)
        return messages
    return []


def changes_of_now(text: str) -> str:
    """The changelog up to the end of its newest version: what was said before stays as it was."""
    versions = [match.start() for match in re.finditer(r"^## ", text, re.M)]
    return text[: versions[1]] if len(versions) > 1 else text


def breaches(path: str, text: str) -> Iterator[Breach]:
    read = passages(path, text)
    without_subject = [breach for passage in read for breach in headless(passage)]
    if len(without_subject) > allowed_headless(prose.words(read)):
        yield from without_subject
    for passage in read:
        yield from phrases(passage)
    if path.startswith("docs/guides/") and path.endswith(".md"):
        for section in prose.markdown(text).sections:
            yield from without_example(section)


def check(path: str, content: bytes) -> list[str]:
    """A line for each breach in this file."""
    text = content.decode("utf-8", "replace") if b"\0" not in content else ""
    ruled = sorted(breaches(path, text), key=lambda breach: (breach.rule, breach.line))
    lines = [f'{path}:{b.line}: rule {b.rule}: "{b.found}": {b.advice}' for b in ruled]
    for old in old_words(path, text):
        place = f"{path}:{old.line}" if old.line else f"{path}: its name"
        lines.append(f'{place}: old word: "{old.word}": {old.use}')
    return lines


def files() -> list[str]:
    """The files of the repository, and those that may become some."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True)
    return sorted(set(listed.stdout.decode().rstrip("\0").split("\0")))


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    # A name that is given is one of the folder of the caller.
    given = [str(Path(name).resolve().relative_to(ROOT)) for name in arguments]
    wrong: dict[str, int] = {}
    for path in given or files():
        # Links and files that were just deleted have no words of their own.
        if (ROOT / path).is_symlink() or not (ROOT / path).is_file():
            continue
        if lines := check(path, (ROOT / path).read_bytes()):
            print(*lines, sep="\n")
            wrong[path] = len(lines)
    if wrong:
        most = sorted(wrong.items(), key=lambda item: -item[1])[:10]
        listed = ", ".join(f"{path} {count}" for path, count in most)
        print(f"tests/words: {sum(wrong.values())} in {len(wrong)} files; most in: {listed}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
