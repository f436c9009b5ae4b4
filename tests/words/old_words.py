"""Words that the project has given up: they are in no file, and in no name of one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Old:
    """A word that is given up, and the word for it. In these paths it may stay."""

    pattern: re.Pattern[str]
    use: str
    except_in: re.Pattern[str] | None = None


def _old(pattern: str, use: str, except_in: str = "") -> Old:
    """In any case of its letters, also as a part of a name."""
    return Old(re.compile(pattern, re.I), use, re.compile(except_in) if except_in else None)


def _word(pattern: str, use: str, except_in: str = "") -> Old:
    """In any case of its letters, where no other letter is beside it: also a_word_of_a_name."""
    return _old(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", use, except_in)


def _name(pattern: str, use: str) -> Old:
    """A name of the code, exactly."""
    return Old(re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])"), use)


OLD = [
    # The protocol, the command line and the settings.
    _old(r"target\.recover|s3-backup-agent recover", "target.repair, repair"),
    _old(r"sweep|(?<![a-z])swept", "cleanup, clean up"),
    _old(r"left[_-]?over", "items of a cleanup; incomplete upload, orphaned object"),
    _old(r"(?<![a-z])verifiable", "has_checksums"),
    _old(r"outage", "retry_for, --retry-for"),
    _old(r"part[_-]size[_-]bytes", "part_size"),
    _old(r"memory[_-]budget[_-]bytes", "memory"),
    _old(r"max[_-]parallel[_-]parts", "concurrency"),
    _old(r"max[_-]bytes[_-]per[_-]second", "bandwidth_limit"),
    _old(
        r"wrong_addressing(?!_style|_path|_virtual)|WrongAddressing(?!Style)",
        "wrong_addressing_style",
    ),
    _old(r"addressing_style_style", "addressing_style"),
    _old(r"--if-exists[ =]replace|\"--if-exists\"", "--replace"),
    _old(r"--level\b", "--read-only"),
    # What is done, and with what.
    _old(r"(?<![a-z])entity[ _-]?tag", "ETag, etag"),
    _old(
        r"(?<![a-z])(?:take|takes|took|taken|taking)[ _-](?:(?:it|them|that|this|all)[ _-])?"
        r"back(?![a-z])",
        "clean up, roll back",
    ),
    _old(r"footprint", "upload guard"),
    _old(r"ladder", "checks"),
    _word(r"rungs?", "check"),
    _word(r"doubts", "warnings"),
    _old(r"other_settings", "suggestions"),
    _name(r"Turns(?=::|\b *[{,;(])", "schedule"),
    _name(r"tend(?=\(|::|;)|tend\.rs", "background cleanup"),
    _word(r"lanes?", "concurrency"),
    _name(r"Greeting", "ServerInfo"),
    _name(r"Ear|Mouth", "reader, writer"),
    # The tests.
    _old(r"personalit(?:y|ies)", "provider emulation"),
    _name(r"bites|Bites", "what the check is"),
    _name(r"Stage(?=::|\b *[{,;(])|mod stage|stage::\w+|stage\.rs", "what the module is"),
    _word(r"cables?", "link faults"),
    _name(r"mod noise|noise::\w+|noise\.rs|Noise(?=::|;)", "random data"),
    _word(r"vitals", "process metrics"),
    _word(r"strangers?", "newcomer"),
]

# Files that hold words of others, or these words for a purpose.
EXCEPT_FILES = re.compile(
    r"^tests/words/"  # this table, and its tests
    r"|^fuzz/(?:findings|corpus)/"  # inputs as they were found: each byte counts
    r"|(?:^|/)Cargo\.lock$"  # names of other projects
    r"|^docs/STYLE\.md$"  # says what to write instead of them
)


@dataclass(frozen=True)
class Found:
    """A line of zero is the name of the file itself."""

    line: int
    word: str
    use: str


def old_words(path: str, text: str) -> Iterator[Found]:
    if EXCEPT_FILES.search(path):
        return
    for number, line in enumerate([path, *text.split("\n")]):
        for old in OLD:
            if old.except_in and old.except_in.search(path):
                continue
            for match in old.pattern.finditer(line):
                yield Found(number, match[0], old.use)
