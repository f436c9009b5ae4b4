"""The text that people read: of Markdown files, of messages of the program, of JSON tables."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

# Stands for code, a placeholder or an address, so that no rule looks at its inside.
CODE = "¤"


class Kind(Enum):
    PARAGRAPH = "paragraph"
    HEADING = "heading"
    CELL = "cell"
    MESSAGE = "message"


@dataclass(frozen=True)
class Passage:
    """A text and the line where it begins. Its line breaks are those of the file."""

    line: int
    text: str
    kind: Kind

    def line_at(self, position: int) -> int:
        return self.line + self.text.count("\n", 0, position)


@dataclass
class Section:
    """A section of second level (##) of a Markdown file."""

    line: int
    title: str
    passages: list[Passage] = field(default_factory=list)
    # A block of code, a command in the text, or a picture.
    has_example: bool = False
    has_link: bool = False


@dataclass
class Markdown:
    passages: list[Passage] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def words(passages: list[Passage]) -> int:
    return sum(len(re.findall(r"[\w'-]*[A-Za-z][\w'-]*", passage.text)) for passage in passages)


def _as_code(match: re.Match[str]) -> str:
    return CODE + "\n" * match[0].count("\n")


_INLINE: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.S), _as_code),
    (re.compile(r"<!--.*?-->", re.S), lambda m: "\n" * m[0].count("\n")),
    (re.compile(r"<?https?://[^\s>)]+>?"), lambda _: CODE),
    (re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s\"[^\"]*\")?\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s\"[^\"]*\")?\)|\[[^\[\]]*\])"), r"\1"),
    (re.compile(r"</?[A-Za-z][^<>]*>"), _as_code),
    (re.compile(r"\*+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)"), ""),
]


def inline(text: str) -> str:
    """Text without the code, the targets of links and the emphasis that Markdown has in it."""
    text = re.sub(r"\]\(\s*[^()\s]*\s*\)", lambda m: "](x)" + "\n" * m[0].count("\n"), text)
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text


def _cells(line: str) -> list[str]:
    # A | in code does not end a cell.
    line = re.sub(r"(`+)[^`]+\1", lambda code: code[0].replace("|", " "), line.strip())
    return [cell.strip() for cell in line.strip("|").split("|")]


_FENCE = re.compile(r"^[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(```+|~~~+)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")


def markdown(text: str) -> Markdown:
    found = Markdown()
    section: Section | None = None
    block: list[str] = []
    first = 0
    fence = ""
    comment = False

    def add(line: int, raw: str, kind: Kind) -> None:
        if section:
            section.has_example |= bool(re.search(r"`[^`]+ [^`]+`|!\[|<img ", raw))
            section.has_link |= "](" in raw
        passage = Passage(line, inline(raw), kind)
        if passage.text.strip(f"{CODE} \n"):
            found.passages.append(passage)
            if section:
                section.passages.append(passage)

    def end_block() -> None:
        if block:
            add(first, "\n".join(block), Kind.PARAGRAPH)
            block.clear()

    for number, line in enumerate(text.split("\n"), 1):
        if fence:
            if re.match(rf"^[\s>]*{fence[0]}{{{len(fence)},}}\s*$", line):
                fence = ""
            continue
        if comment or line.lstrip().startswith("<!--"):
            end_block()
            comment = "-->" not in line
            continue
        if opening := _FENCE.match(line):
            end_block()
            fence = opening[1]
            if section:
                section.has_example = True
            continue
        line = re.sub(r"^\s*>\s?(?:\[![A-Z]+\]\s*$)?", "", line)
        if heading := re.match(r"^(#{1,6})\s+(.*)", line):
            end_block()
            if len(heading[1]) <= 2:
                section = Section(number, heading[2]) if len(heading[1]) == 2 else None
                found.sections += [section] if section else []
            add(number, heading[2], Kind.HEADING)
        elif line.lstrip().startswith("|"):
            end_block()
            for cell in _cells(line):
                if not re.fullmatch(r":?-*:?", cell):
                    add(number, cell, Kind.CELL)
        elif not line.strip() or re.match(r"^\s*(\[[^\]]+\]:\s|[-*_=]{3,}\s*$)", line):
            end_block()
        else:
            if item := _ITEM.match(line):
                end_block()
                line = line[item.end() :]
            if not block:
                first = number
            block.append(line)
    end_block()
    return found


_RUST = re.compile(
    r"(?P<doc>///[^\n]*)|//[^\n]*|/\*.*?\*/|(?P<raw>b?r(?P<hash>#*)\".*?\"(?P=hash))"
    r"|b?\"(?P<plain>(?:\\.|[^\"\\])*)\"|b?'(?:\\.[^']*|[^'\\])'",
    re.S,
)
_TESTS = re.compile(
    r"^#\[cfg\(test\)\]\s*(?:#\[[^\n]*\]\s*)*(?:pub(?:\([a-z]+\))? )?mod \w+ \{", re.M
)
_COMMAND_LINE = re.compile(r"^#\[derive\([^)]*\b(?:Args|Parser|Subcommand|ValueEnum)\b", re.M)


def _without_tests(source: str) -> str:
    tests = _TESTS.search(source)
    return source[: tests.start()] if tests else source


def _message(text: str) -> str:
    """A text of the program, with a placeholder's inside hidden."""
    text = re.sub(r"\\\n[ \t]*", "\n", text)
    text = re.sub(r"\\n", " ", text)
    text = re.sub(r"\\(.)", r"\1", text)
    return inline(re.sub(r"\{[^{}\n]*\}", CODE, text))


def rust_messages(source: str) -> Iterator[Passage]:
    """The string literals of three words and more, which are messages; not those of the tests."""
    source = _without_tests(source)
    for match in _RUST.finditer(source):
        raw, plain = match["raw"], match["plain"]
        literal = raw.partition('"')[2].rstrip("#")[:-1] if raw else plain
        if not literal or len(literal.split()) < 3:
            continue
        line = source.count("\n", 0, match.start()) + 1
        yield from _paragraphs(line, _message(literal))


# Lines of an example: a command, or what follows a prompt.
_EXAMPLE = re.compile(r"^\s+(?:s3-backup-agent|export|\$|sudo|source|[a-z_0-9]+=)\b")


def _paragraphs(line: int, text: str) -> Iterator[Passage]:
    block: list[str] = []
    for number, part in enumerate([*text.split("\n"), ""], line):
        if part.strip() and not _EXAMPLE.match(part):
            block.append(part)
        elif block:
            yield Passage(number - len(block), "\n".join(block), Kind.MESSAGE)
            block = []


def rust_help(source: str) -> Iterator[Passage]:
    """The help of the command line: the documentation of what clap derives from."""
    source = _without_tests(source)
    lines = source.split("\n")
    number = 0
    while number < len(lines):
        if not _COMMAND_LINE.match(lines[number]):
            number += 1
            continue
        start = number
        while start and lines[start - 1].startswith("///"):
            start -= 1
        end = number
        while end < len(lines) and not re.match(r"^\}|^pub struct \w+;", lines[end]):
            end += 1
        block: list[str] = []
        for at in range(start, min(end + 1, len(lines))):
            comment = re.match(r"^\s*///(.*)", lines[at])
            if comment and comment[1].strip():
                block.append(comment[1].strip())
                continue
            if block:
                yield Passage(at + 1 - len(block), inline("\n".join(block)), Kind.MESSAGE)
                block = []
        number = end + 1


def json_texts(source: str) -> Iterator[Passage]:
    """The values of two words and more."""
    for match in re.finditer(r'"((?:\\.|[^"\\\n])*)"(\s*:)?', source):
        if not match[2] and len(match[1].split()) >= 2:
            line = source.count("\n", 0, match.start()) + 1
            yield Passage(line, _message(match[1]), Kind.MESSAGE)
