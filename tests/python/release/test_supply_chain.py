"""The crates of a release: one TLS library, few crates, all from crates.io, with suitable licenses.

`scripts/deny` checks more, known vulnerabilities included, with cargo-deny.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The number of crates that build a release, macros included. Most of them belong to the SDK for S3.
# A new one needs a reason; raise this number with it.
BUDGET = 225
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
TLS = {"rustls", "ring"}
OTHER_TLS = re.compile(
    r"openssl(-sys|-src)?|native-tls|aws-lc.*|boring.*|mbedtls.*|s2n-tls.*|schannel"
)
targets = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def tree(machine: str) -> list[str]:
    """Name and version of each crate of a release."""
    command = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none"]
    command += ["--format", "{p}", "--target", f"{machine}-unknown-linux-musl"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    return sorted({" ".join(line.split()[:2]) for line in done.stdout.splitlines()})


def rules() -> dict[str, Any]:
    return tomllib.loads((ROOT / "deny.toml").read_text("utf-8"))


def permitted(expression: str, allowed: set[str]) -> bool:
    """Whether a license expression of SPDX can be met with these licenses."""
    words = re.findall(r"[()]|[\w.+-]+(?: WITH [\w.-]+)?", expression)
    return _any(words, allowed)


def _any(words: list[str], allowed: set[str]) -> bool:
    met = _all(words, allowed)
    while words and words[0] == "OR":
        words.pop(0)
        met = _all(words, allowed) or met
    return met


def _all(words: list[str], allowed: set[str]) -> bool:
    met = _one(words, allowed)
    while words and words[0] == "AND":
        words.pop(0)
        met = _one(words, allowed) and met
    return met


def _one(words: list[str], allowed: set[str]) -> bool:
    word = words.pop(0)
    if word != "(":
        return word in allowed
    met = _any(words, allowed)
    assert words.pop(0) == ")"
    return met


@targets
def test_release_has_one_tls_library(machine: str) -> None:
    names = [crate.split()[0] for crate in tree(machine)]
    assert {name: names.count(name) for name in TLS} == dict.fromkeys(TLS, 1)
    assert [name for name in names if OTHER_TLS.fullmatch(name)] == []
    banned = set(rules()["bans"]["deny"])
    assert {"openssl", "native-tls", "aws-lc-rs"} <= banned
    assert not banned & set(names)


@targets
def test_release_has_few_crates(machine: str) -> None:
    found = tree(machine)
    assert 100 < len(found) <= BUDGET


def test_crates_come_from_crates_io() -> None:
    for lock in ("Cargo.lock", "fuzz/Cargo.lock"):
        packages = tomllib.loads((ROOT / lock).read_text("utf-8"))["package"]
        sources = {package.get("source") for package in packages}
        assert sources == {None, CRATES_IO}
        ours = {package["name"] for package in packages if "source" not in package}
        assert ours <= {"s3-backup-agent", "s3-backup-agent-fuzz"}


def test_licenses_are_allowed() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "packaging/sbom.py"],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    allowed = set(rules()["licenses"]["allow"])
    licenses = {
        one["name"]: one["licenses"][0]["expression"]
        for one in json.loads(done.stdout)["components"]
    }
    assert len(licenses) > 100
    assert {name: terms for name, terms in licenses.items() if not permitted(terms, allowed)} == {}


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND ISC", True),
        ("MIT OR GPL-3.0-only AND ISC", True),
        ("(MIT OR ISC) AND GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0 OR ISC", True),
    ],
)
def test_license_expression_is_evaluated(expression: str, met: bool) -> None:
    assert permitted(expression, {"MIT", "ISC"}) is met
