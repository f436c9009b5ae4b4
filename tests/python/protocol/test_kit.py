"""The conformance kit: conforming programs pass, and each fault is found by its checks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Folder, setting

PROTOCOL = Path(__file__).resolve().parents[3] / "protocol"
KIT, BROKEN = PROTOCOL / "conformance/conform.py", PROTOCOL / "conformance/broken"

# The checks that each broken program fails. It passes all others.
FATAL = {
    "F1+F7.line-65537",
    "F2+F7.bad-payload",
    "F2+F7.missing-lf",
    "F7+B1.fault-in-upload",
    "F7+X2+B1.end-of-input-in-upload",
    "F7+X2.end-of-input-everywhere",
    "F7.no-frame",
    "M2.duplicate-id",
}
AGENTS: dict[str, set[str]] = {
    "agent_accepts_short": {"U1.length"},
    "agent_always_content": FATAL,
    "agent_answers_twice": {"C1.one-response"},
    "agent_blocks_on_log": {"L3.log-unread"},
    "agent_complains_of_late_frames": {"S8.late-frames"},
    "agent_counts_from_offset": {"S1.offset"},
    "agent_exits_with_one": {"X3.output-closed"},
    "agent_explains_with_numbers": {"T5+V4.shape"},
    "agent_forgets_kinds": {"C5+E3+E1.errors"},
    "agent_ignores_credit": {"F6+O2+M8.stalled-download", "S2.credit", "S2.credit-is-absolute"},
    "agent_initializes_twice": {"H4+H5+V1.initialize"},
    "agent_keeps_the_cancelled": {
        "C1.cancel-upload",
        "S8.error-in-upload",
        "S9.gaps-and-overlaps",
        "U1.length",
        "U6+U7.interrupted",
    },
    "agent_leaks_secrets": {"K3.secrets"},
    "agent_lists_early": {"B1.listed-when-whole"},
    "agent_logs_text": {"L1.lines"},
    "agent_never_busy": {"O4.busy"},
    "agent_overwrites": {"U2+S4.exists"},
    "agent_repeats_pages": {"N1.pages"},
    "agent_reports_too_little": {
        "P2+P3.download-progress",
        "P2+P3.upload-progress",
        "P3.last-report",
    },
    "agent_resumes_blindly": {"U6+U7.interrupted"},
    "agent_short_lines": {"F1.line-65536"},
    "agent_takes_the_last": {"O4.line"},
    "agent_trusts_payloads": {"F2+F7.missing-lf"},
    "agent_updates_by_halves": {"T3+O1.update"},
    "agent_writes_blanks": {"F4.compact"},
}
HOSTS: dict[str, set[str]] = {
    "host_ends_when_interrupted": {"S6.interrupted", "S6.length"},
    "host_fears_warnings": {"T5+V4.warnings"},
    "host_first_page": {"N1.pages"},
    "host_ignores_credit": {"S2.credit"},
    "host_ignores_log": {"L2.log"},
    "host_large_payloads": {"F2.max-payload", "F2+H3.small-payload"},
    "host_passes_secrets": {"K2.secrets"},
    "host_reads_ahead": {"S2+S4.slow-agent", "S6.interrupted"},
    "host_skips_bad_lines": {"F7.no-frame", "H3.not-an-agent"},
    "host_trusts_the_end": {"S7.bad-verdict", "X6.agent-dies"},
}
# Slow checks, skipped for broken programs that are not expected to fail them.
LONG = {
    "F2+F7.bad-payload",
    "F7+X2+B1.end-of-input-in-upload",
    "F7+X2.end-of-input-everywhere",
    "F7.no-frame",
    "E2.errors",
    "H3.no-hello",
    "H3.not-an-agent",
    "X6.agent-dies",
}

Verdicts = dict[str, dict[str, Any]]


def run_kit(cache: Path, side: str, *words: str) -> Verdicts:
    """Returns the results of one run by the names of the checks."""
    command = [sys.executable, str(KIT), side, "--json", *words]
    # The kit starts hundreds of programs, so each should be compiled only once.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    verdicts = {verdict["check"]: verdict for verdict in json.loads(done.stdout or "[]")}
    failed = any(verdict["status"] == "failed" for verdict in verdicts.values())
    assert (done.stderr, done.returncode) == ("", 1 if failed else 0)
    return verdicts


def run_broken(cache: Path, name: str, meant: set[str]) -> Verdicts:
    side = name.partition("_")[0]
    # F7 has a check with the same name for agents and for hosts.
    long = LONG - meant - ({"F7.no-frame"} if side == "host" else set())
    skips = [word for check in sorted(long) for word in ("--skip", check)]
    program = str(BROKEN / f"{name}.py")
    # A host may wait long for an agent before it kills it.
    limit = "60" if side == "host" else "20"
    return run_kit(
        cache, side, *skips, "--jobs", "2", "--timeout", limit, "--", sys.executable, program
    )


@pytest.fixture(scope="module")
def place() -> Folder:
    return Folder(setting("TEST_S3_BUCKET"), f"kit-{os.getpid()}")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, place: Folder
) -> Iterator[dict[str, Future[Verdicts]]]:
    """Starts all runs, several at a time: each of them mostly waits for processes."""
    folder = tmp_path_factory.mktemp("kit")
    config, cache = folder / "target.json", folder / "pycache"
    config.write_text(json.dumps(place.config))
    programs = {
        "agent": ("agent", "--", sys.executable, str(PROTOCOL / "reference/agent.py")),
        "host": ("host", "--", sys.executable, str(PROTOCOL / "reference/host.py")),
        "node": ("host", "--", setting("NODE_BIN"), str(PROTOCOL / "reference/host.mjs")),
        "real": ("agent", "--config", str(config), "--", setting("S3_BACKUP_AGENT_BIN"), "serve"),
    }
    with ThreadPoolExecutor(4) as pool:
        found = {name: pool.submit(run_kit, cache, *words) for name, words in programs.items()}
        for name, meant in {**AGENTS, **HOSTS}.items():
            found[name] = pool.submit(run_broken, cache, name, meant)
        yield found


def failures(verdicts: Verdicts) -> dict[str, str]:
    return {n: v["message"] for n, v in verdicts.items() if v["status"] == "failed"}


@pytest.mark.parametrize("name", ["agent", "host", "node", "real"])
def test_kit_conforming_programs_pass(runs: dict[str, Future[Verdicts]], name: str) -> None:
    verdicts = runs[name].result()
    assert len(verdicts) > 30
    assert [v for v in verdicts.values() if v["status"] != "passed"] == []


def test_kit_run_leaves_the_target_empty(runs: dict[str, Future[Verdicts]], place: Folder) -> None:
    assert runs["real"].result()
    assert (place.keys(), place.unfinished()) == ([], [])


@pytest.mark.parametrize(("name", "meant"), [*AGENTS.items(), *HOSTS.items()])
def test_kit_broken_program_fails_its_checks(
    runs: dict[str, Future[Verdicts]], tmp_path: Path, name: str, meant: set[str]
) -> None:
    failed = failures(runs[name].result())
    if surprises := sorted(set(failed) ^ meant):
        # They ran with many others. Alone on the machine they have to be right. A check that
        # watches the others needs them.
        observed = "P3.last-report" in surprises
        only = [] if observed else [word for check in surprises for word in ("--only", check)]
        program = (sys.executable, str(BROKEN / f"{name}.py"))
        again = run_kit(tmp_path, name.partition("_")[0], "--jobs", "1", *only, "--", *program)
        failed = {k: v for k, v in failed.items() if k not in again} | failures(again)
    assert set(failed) == meant, failed


def test_kit_all_broken_programs_are_run() -> None:
    names = {path.stem for side in ("agent", "host") for path in BROKEN.glob(f"{side}_*.py")}
    assert names == {*AGENTS, *HOSTS}


def test_coverage_each_rule_has_a_check_or_a_reason() -> None:
    command = [sys.executable, str(KIT), "coverage"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "S9: agent S9.flow-violation" in done.stdout


def test_coverage_new_rule_is_reported(tmp_path: Path) -> None:
    kit = tmp_path / "conformance" / KIT.name
    kit.parent.mkdir()
    kit.write_text(KIT.read_text("utf-8"), "utf-8")
    text = (PROTOCOL / "PROTOCOL.md").read_text("utf-8")
    (tmp_path / "PROTOCOL.md").write_text(text + "\n**Z7** A new rule.\n", "utf-8")
    command = [sys.executable, str(kit), "coverage"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Z7 has neither a check nor a reason" in done.stdout


def test_reference_agent_errors_match_errors_json() -> None:
    """Its table has the kinds and the retryable codes of errors.json."""
    program = "import agent, json; print(json.dumps([agent.KINDS, sorted(agent.RETRYABLE)]))"
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(PROTOCOL / "reference")}
    kinds, retryable = json.loads(subprocess.check_output(command, env=environment))
    known = {e["code"]: e for e in json.loads((PROTOCOL / "errors.json").read_text("utf-8"))}
    assert kinds == {code: known[code]["kind"] for code in kinds}
    assert retryable == [code for code in sorted(kinds) if known[code]["retryable"]]
