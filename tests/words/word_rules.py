"""The rules of style that a program can see, and what breaks them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import prose
from prose import Kind, Passage, Section


@dataclass(frozen=True)
class Breach:
    line: int
    rule: int
    found: str
    advice: str


@dataclass(frozen=True)
class Phrase:
    rule: int
    pattern: re.Pattern[str]
    advice: str


def _phrase(rule: int, pattern: str, advice: str) -> Phrase:
    # A space of a pattern is any white space, as a line may break there. A look behind has a fixed
    # width.
    pattern = re.sub(r"(\(\?<![^)]*) \)", r"\1\\s)", pattern)
    pattern = re.sub(r" (?![*+?])", r"\\s+", pattern)
    return Phrase(rule, re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.I), advice)


_VERBS = (
    "accepts?|allows?|answers?|asks?|begins?|closes?|counts?|demands?|forbids?|forgets?|gives?"
    "|keeps?|knows?|limits?|refuses?|rejects?|replies|responds?|returns?|says?|sends?|stores?"
    "|supports?|takes?|tells?|wants?"
)
_THINGS = "(?:archive|bucket|document|file|folder|gateway|key|listing|object|storage)s?"

PHRASES = [
    _phrase(2, "(?:some|no|any)body", "name the actor: you, the agent, the host, the server"),
    _phrase(2, "who(?:m|so)?ever", "name the actor: anyone with the keys, the host, the server"),
    _phrase(6, "doors?", "interface"),
    _phrase(6, "rooms?", "space, memory, or what else is meant"),
    _phrase(6, "ladders?|rungs?", "checks, steps"),
    _phrase(6, "lanes?", "concurrency"),
    _phrase(6, "cables?", "network, connection"),
    _phrase(6, "strangers?", "newcomer, or what else is meant"),
    _phrase(6, "lies|lie (?:at|below|beside|in|on|there|under)|lay (?:in|there)", "is, is stored"),
    _phrase(
        6, "stands(?! (?:by|for|out))|stand (?:at|above|below|beside|in|there)", "is, is listed"
    ),
    _phrase(6, f"{_THINGS} (?:wants?|knows?|says?)", "requires; is known; returns, reports"),
    _phrase(6, "servers? wants?", "requires"),
    _phrase(7, "be it", "whether ... or; including"),
    _phrase(7, "(?<!, )but for", "except"),
    _phrase(
        7, "(?<!are )(?<!is )(?<!be )all the same(?= ?[,.;:)])", "still, anyway; or leave it out"
    ),
    _phrase(8, "(?:take|takes|took|taken|taking)(?: \\w+){0,2} back", "clean up"),
    _phrase(8, "entity[ -]tags?", "ETag"),
    _phrase(8, "leftovers?|left-overs?", "incomplete uploads and orphaned objects"),
    _phrase(8, "sweep(?:s|ing)?|swept", "cleanup, clean up"),
    _phrase(8, "rights(?! reserved)", "permissions"),
    _phrase(
        8,
        "(?:a|any|each|every|lacks?|missing|no|one|which|without) right"
        "|(?<!reserve )(?<!reserves )the right to",
        "permission",
    ),
    _phrase(8, "storages", "server, endpoint, provider"),
    _phrase(
        8,
        f"(?<!of )(?:the|a|this|that|no|another|each|every) storage (?:{_VERBS})",
        "server, provider",
    ),
    _phrase(
        8,
        "(?:server|storage|network)(?: \\w+)? (?:is|was|be|stays|goes) away",
        "unreachable, unavailable",
    ),
    _phrase(
        8,
        "(?:(?:its|no|without(?: a| its)?|lost|damaged) documents?"
        "|documents? of (?:an?|the|its) (?:archive|backup)s?)",
        "metadata, metadata object",
    ),
    _phrase(8, "(?:a|its|no|our|the) mark", "upload marker"),
    _phrase(
        8, "(?:is|are|was|were) noted|for notes|notes of (?:what|all|every)", "record, journal"
    ),
    _phrase(
        8, r"bucket in the (?:path|host(?: ?name)?)(?! \(¤)", "path style, virtual-hosted style"
    ),
    _phrase(8, "(?-i:F)older (?:in the bucket|for the backups)", "prefix"),
    _phrase(8, "outages?", "while the server is unreachable; --retry-for"),
    _phrase(8, "(?:a|no|one) whole backup|no whole \\w+|whole backups", "complete backup"),
    _phrase(8, "plausible", "unverified"),
    _phrase(8, "verifiable", "has checksums"),
    _phrase(8, "process(?:or|ing) time", "CPU time"),
    _phrase(8, "to be had", "available, download"),
    _phrase(8, "valid once", "expired"),
    _phrase(8, "makes? no sense", "is invalid"),
    _phrase(8, "of which (?:it|they|nothing) (?:is|are|knows?)", "that it knows to be"),
    _phrase(8, "access key (?-i:ids?)", "access key ID"),
    _phrase(8, "comes? (?:there )?and (?:there )?goes?|there and back", "upload and download"),
    _phrase(
        11,
        "(?:behaviour|colour|favour|honour|labour|neighbour|flavour)\\w*|artefacts?|centres?|licences?"
        "|defences?|analys(?:ed|ing)|whilst|programmes?"
        "|(?:author|capital|custom|final|general|initial|minim|maxim|normal|optim|organ|priorit|recogn"
        "|serial|special|summar|synchron|util)is(?:e|es|ed|er|ers|ing|ation|ations)",
        "US spelling",
    ),
]
# Rule 1. A sentence that begins with one of these has a clause where its subject should be.
_HEADLESS = re.compile(
    r"""(?:
      (?:what|whatever|whatsoever|who|whoever|whom|whose|which|whichever|where|wherever)\b
        # An infinitive is a title: "Where to store them".
        (?!(?:\s+\w+){0,3}?\s+to\s+\w)
        # "Where possible, ..." is short and has a subject behind it.
        (?!\s+(?:possible|necessary|needed|applicable|available|supported|appropriate)\b)
    | of\b
        (?!\s+(?:course|these|those|them)\b)
        (?!\s+(?:the|all|its|these)\s+(?:\w+\s+)?(?:two|three|four|five|six|seven|eight|nine|ten|\d+)\b)
    | that\s+(?:a|an|the|it|they|you|he|she|we|there|this|these|those|no|nothing|not|every|each
        |some|any|all|both|one|its|their|your|our|such
        |\w+s\s+(?:are|have|were|can|may|must|do))\b
    )""",
    re.X | re.I,
)
# Where a sentence begins: in the beginning, behind the end of another one, and behind a semicolon.
_BEGINNING = re.compile(r"(?:^|(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z¤])|;\s+)[\"'(\[]*")
_END = re.compile(r"[.!?](?=[\"')\]]*(?:\s|$))|\Z")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Where each sentence begins, and its text with the mark at its end."""
    for beginning in _BEGINNING.finditer(text):
        start = beginning.end()
        end = _END.search(text, start)
        assert end is not None
        yield start, text[start : end.end()]


def _shown(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " ..."


def headless(passage: Passage) -> Iterator[Breach]:
    """Sentences without a noun for their subject. Titles and fragments of tables are none."""
    if passage.kind is Kind.HEADING:
        return
    for start, sentence in sentences(passage.text.rstrip()):
        if sentence.endswith("?") or not _HEADLESS.match(sentence):
            continue
        if passage.kind is not Kind.MESSAGE and not sentence.endswith((".", "!")):
            continue
        advice = "begin with a noun that is the subject"
        yield Breach(passage.line_at(start), 1, _shown(sentence), advice)


def allowed_headless(words: int) -> int:
    """Two in 10,000 words. Texts of less than 5,000 words have none: each can be mended."""
    return words // 5000


def phrases(passage: Passage) -> Iterator[Breach]:
    for phrase in PHRASES:
        for match in phrase.pattern.finditer(passage.text):
            line = passage.line_at(match.start())
            yield Breach(line, phrase.rule, " ".join(match[0].split()), phrase.advice)


# An example in words, or the way to a page of Home Assistant ("Settings → System"), step by step.
_EXAMPLE = re.compile(r"\b(?:for\s+example|such\s+as|for\s+instance)\b|\be\.g\.|→", re.I)
# Shorter sections only lead to another page.
_SHORT = 40


def without_example(section: Section) -> Iterator[Breach]:
    """Rule 9, of a section of a guide. A picture is an example as well, and so is a command."""
    if section.has_example or (section.has_link and prose.words(section.passages) < _SHORT):
        return
    if not any(_EXAMPLE.search(passage.text) for passage in section.passages):
        yield Breach(section.line, 9, section.title, "add an example: a command, its output")
