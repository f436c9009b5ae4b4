"""The rules of the documents: each demand has a name, and each rule has a test."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROTOCOL = (ROOT / "protocol/PROTOCOL.md").read_text("utf-8")
S3 = (ROOT / "protocol/S3.md").read_text("utf-8")
STORAGE = (ROOT / "protocol/STORAGE.md").read_text("utf-8")
DESIGN = (ROOT / "protocol/STORAGE-DESIGN.md").read_text("utf-8")
KIT = ROOT / "protocol/conformance/conform.py"
COVERAGE = ROOT / "protocol/conformance/COVERAGE.md"

DOCUMENTS = (PROTOCOL, S3, STORAGE, DESIGN)
RULE = re.compile(r"\*\*([A-Z]\d+)\*\* ")
DEMAND = re.compile(r"\b(MUST|SHOULD|MAY)\b")
PROOF = re.compile(r"`([a-z0-9_/]+\.(?:rs|py)::\w+|[a-z-]+)`")


def paragraphs(document: str) -> list[str]:
    """Returns the paragraphs, without fenced blocks."""
    return re.split(r"\n\s*\n", re.sub(r"^```.*?^```$", "", document, flags=re.M | re.S))


def names(document: str) -> list[str]:
    return [found[1] for paragraph in paragraphs(document) if (found := RULE.match(paragraph))]


def demands_without_name(document: str) -> list[str]:
    """Returns the paragraphs that contain a demand and are not rules."""
    return [p for p in paragraphs(document) if DEMAND.search(p) and not RULE.match(p)]


def proofs_of_storage() -> dict[str, str]:
    """Returns the table of tests for the rules of S3.md, STORAGE.md and STORAGE-DESIGN.md."""
    table = DESIGN.partition("## Tests of the rules\n")[2]
    return dict(re.findall(r"^\| ([A-Z]\d+) \| (.*) \|$", table, re.M))


def exists(proof: str) -> bool:
    """Returns whether the transcript, or the test in the file, exists."""
    place, _, name = proof.partition("::")
    if not name:
        return (ROOT / f"protocol/transcripts/{proof}.ndjson").exists()
    file = ROOT / place
    if not file.exists():
        return False
    text = file.read_text("utf-8")
    if file.suffix == ".py":
        test = rf"^(async )?def (?=test_){name}\("
    else:
        test = rf"#\[(tokio::)?test(\(.*\))?\]\n(\s*#\[.*\]\n)*\s*(async )?fn {name}\("
    return re.search(test, text, re.M) is not None


def test_demands_have_a_rule_name() -> None:
    # The beginning of each document explains the words themselves.
    before, _, rest = PROTOCOL.partition("## Terms\n")
    assert demands_without_name(before + rest.partition("## A complete session\n")[2]) == []
    for document in (S3, STORAGE, DESIGN):
        assert demands_without_name(document.partition("\n## ")[2]) == []


def test_demand_without_a_name_is_found() -> None:
    table = "| a | b |\n|---|---|\n| c | hosts MUST NOT |"
    text = f"**F1** It MUST.\n\nIt\nMAY.\n\n```\nIt SHOULD.\n```\n\n{table}\n"
    assert demands_without_name(text) == ["It\nMAY.", f"{table}\n"]


def test_rule_names_are_unique() -> None:
    found = [name for document in DOCUMENTS for name in names(document)]
    assert len(found) > 130
    assert [name for name in found if found.count(name) > 1] == []
    # None is in the middle of a paragraph, where readers would miss it.
    for document in DOCUMENTS:
        assert len(RULE.findall(document)) == len(names(document))


def test_rules_are_numbered_in_order() -> None:
    numbers = dict[str, list[int]]()
    for document in DOCUMENTS:
        for name in names(document):
            numbers.setdefault(name[0], []).append(int(name[1:]))
    assert {k: v for k, v in numbers.items() if v != list(range(1, len(v) + 1))} == {}


def test_references_to_rules_resolve() -> None:
    known = {name for document in DOCUMENTS for name in names(document)}
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", "", document, flags=re.M | re.S)
        referred = re.findall(r"(?<=[(, ])([A-Z]\d{1,2})(?=[),.;:]| of | and )", text)
        assert set(referred) - known <= {"S3"}


def test_storage_rules_have_tests_or_a_reason() -> None:
    table = proofs_of_storage()
    assert list(table) == names(STORAGE) + names(DESIGN) + names(S3)
    for rule, text in table.items():
        assert PROOF.search(text) or re.match("no test( of its own)?: .{9}", text), rule


def test_named_tests_exist() -> None:
    named = [proof for text in proofs_of_storage().values() for proof in text.split("`")[1::2]]
    # In the table of the kit they follow the reason why a rule has no check.
    named += re.findall(r"; `([^`]+)`", coverage())
    assert len(named) > 70
    assert [proof for proof in named if not PROOF.fullmatch(f"`{proof}`")] == []
    assert [proof for proof in named if not exists(proof)] == []


def test_missing_test_is_found() -> None:
    here = "tests/python/protocol/test_rules.py"
    assert exists(f"{here}::test_missing_test_is_found")
    assert exists("src/archives/layout.rs::every_name_maps_to_keys_and_back")
    assert exists("session")
    for wrong in (
        f"{here}::test_a_proof",
        f"{here}::exists",
        "src/archives/layout.rs::safe",
        "src/archives/layout.rs::backup_names_stay",
        "src/none.rs::backup_names_stay_readable_in_keys",
        "sessions",
    ):
        assert not exists(wrong), wrong


def coverage() -> str:
    command = [sys.executable, str(KIT), "coverage", "--markdown"]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout


def test_coverage_table_is_current() -> None:
    assert COVERAGE.read_text("utf-8") == coverage(), "run conform.py coverage --markdown"
    rows = re.findall(r"^\| ([A-Z]\d+) \|", coverage(), re.M)
    assert rows == names(PROTOCOL)


def check_by_hand(base: Path) -> str:
    """Runs the program in STORAGE.md on a pair of objects."""
    program = re.findall(r"^```python\n(.*?)^```$", STORAGE, re.M | re.S)[0]
    command = [sys.executable, "-c", program, str(base)]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout


def test_storage_example_matches_its_checksums(tmp_path: Path) -> None:
    document = re.findall(r"^```json\n(.*?)^```$", STORAGE, re.M | re.S)[0]
    ours = json.loads(document)["s3_backup_agent"]
    (tmp_path / "example.metadata.json").write_text(document, "utf-8")
    archive = bytearray((bytes(range(251)) * (ours["size"] // 251 + 1))[: ours["size"]])
    (tmp_path / "example.tar").write_bytes(archive)
    assert check_by_hand(tmp_path / "example") == "size True\nparts True\nok True\n"
    archive[20_000_000] ^= 1
    (tmp_path / "example.tar").write_bytes(archive)
    assert check_by_hand(tmp_path / "example").startswith("size True\nparts False\n")
