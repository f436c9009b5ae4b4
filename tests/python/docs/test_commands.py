"""Every command line of the documents is one that the program takes: its commands, its flags, and
the names in the environment that it reads.
"""

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import markdown
import pytest

NAME = "s3-backup-agent"
SHELL = {"", "sh", "bash", "console", "dockerfile", "ini", "powershell"}
# The program by another name: how cargo starts it.
BY_CARGO = re.compile(r"cargo run --features demo -- ")
# And how PowerShell does.
BY_POWERSHELL = re.compile(rf"\.\\{NAME}\.exe\b")
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "<", ")", "done"}
VARIABLE = re.compile(r"\bS3_BACKUP_AGENT_[A-Z_]+\b")
# These are for the tests.
NOT_OF_THE_PROGRAM = {"S3_BACKUP_AGENT_BIN", "S3_BACKUP_AGENT_TEST_CACHE"}
each = pytest.mark.parametrize("document", markdown.documents(), ids=str)


@functools.cache
def help_of(binary: str, *command: str) -> str:
    arguments = [binary, "help", *command]
    return subprocess.run(arguments, capture_output=True, check=True, encoding="utf-8").stdout


@functools.cache
def commands(binary: str) -> set[str]:
    listed = help_of(binary).partition("Commands:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^  (\w+)", listed, re.M))


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments after the program's name, wherever it is called."""
    snippets = [block.code for block in markdown.blocks(text) if block.language in SHELL]
    rest = markdown.FENCE.sub("", text)
    snippets += [found["code"].replace("\n", " ") for found in markdown.INLINE.finditer(rest)]
    for snippet in snippets:
        joined = BY_CARGO.sub(f"{NAME} ", snippet.replace("\\\n", " "))
        joined = BY_POWERSHELL.sub(NAME, joined)
        for line in joined.splitlines():
            yield from calls(line)


def calls(line: str) -> Iterator[list[str]]:
    """A line may have several, one after the other."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # prose with an apostrophe
        return
    for place, word in enumerate(words):
        # A command for another shell: sh -c '...'
        if NAME in word and " " in word:
            yield from calls(word)
        # What stands before it is another program that starts it, or nothing.
        if word.rsplit("/", 1)[-1] != NAME or (place and words[place - 1] in {"-o", "install"}):
            continue
        arguments = words[place + 1 :]
        # What follows two hyphens is another command.
        end = next((n for n, one in enumerate(arguments) if one in ENDS | {"--"}), len(arguments))
        yield arguments[:end]


def faults(binary: str, arguments: list[str]) -> list[str]:
    """What of these the program does not know."""
    if not arguments or arguments[0].startswith("-") or not re.match(r"[a-z]+$", arguments[0]):
        known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", help_of(binary)))
        return [one for one in arguments if one.startswith("-") and one not in known]
    command, *rest = arguments
    if command not in commands(binary):
        return [command]
    if command == "help":
        return [one for one in rest[:1] if one not in commands(binary) and one != "COMMAND"]
    page = [command, rest[0]] if command == "config" and rest else [command]
    known = set(re.findall(r"(?<![\w-])--?\w[\w-]*", help_of(binary, *page)))
    flags = [one.split("=")[0] for one in rest if one.startswith("-") and one != "-"]
    return [flag for flag in flags if flag not in known]


@each
def test_command_lines_are_right(document: Path, binary: str) -> None:
    text = (markdown.ROOT / document).read_text("utf-8")
    wrong = {
        shlex.join(line): found for line in command_lines(text) if (found := faults(binary, line))
    }
    assert wrong == {}


@each
def test_variables_are_read(document: Path, binary: str) -> None:
    text = (markdown.ROOT / document).read_text("utf-8")
    all_help = "".join(help_of(binary, command) for command in sorted(commands(binary) - {"help"}))
    used = set(VARIABLE.findall(text)) - NOT_OF_THE_PROGRAM
    assert used <= set(VARIABLE.findall(all_help))


def test_there_are_command_lines() -> None:
    found = [
        line
        for document in markdown.documents()
        for line in command_lines((markdown.ROOT / document).read_text("utf-8"))
    ]
    assert len(found) > 100
    assert ["demo", "--serve"] in found
    assert ["list"] in found


def test_guides_and_restore_are_covered() -> None:
    """Those of one document each: that it is found, in the languages that it is written in."""
    for document, line in {
        "docs/guides/nightly.md": "upload /srv/documents --id documents-$(date +%%u) --replace",
        "docs/guides/databases.md": "upload --from-command --name shop-sql",
        "docs/restore.md": "download 1a2b3c4d --output restore --retry-for 15m",
    }.items():
        text = (markdown.ROOT / document).read_text("utf-8")
        found = [" ".join(arguments) for arguments in command_lines(text)]
        assert any(one.startswith(line) for one in found), document


def test_wrong_command_lines_are_found(binary: str) -> None:
    text = """`s3-backup-agent lst` and `s3-backup-agent`

```sh
x=$(s3-backup-agent list --jsn | jq .) && s3-backup-agent serve --version2 > "$file"
s3-backup-agent upload - --name=x --nme y \\
    --id -z
    /usr/local/bin/s3-backup-agent help lists; s3-backup-agent --versio
cargo run --features demo -- dmo
```

```powershell
.\\s3-backup-agent.exe lists
```

```ini
ExecStart=/bin/sh -c 'exec s3-backup-agent upload /srv --nme "x-$(date +%%u)"'
```
"""
    found = [faults(binary, line) for line in command_lines(text)]
    expected = [["--jsn"], ["--version2"], ["--nme", "-z"], ["lists"], ["--versio"], ["dmo"]]
    assert found == [*expected, ["lists"], ["--nme"], ["lst"], []]
