"""The benchmarks produce complete results and pages. Their timings are not checked."""

import http.client
import json
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import setting
from driver import aims, page, plot
from driver.link import Link, open_link
from driver.peers import NAMES
from driver.results import GIB, Cell, Results, Run
from driver.tools import Tools

ROOT = Path(__file__).parent.parent.parent
SIZE = 16 << 20


@pytest.fixture
def link_program() -> Path:
    return Tools(Path(setting("S3_BACKUP_AGENT_TEST_CACHE")), None).link


def run(binary: str, results: Path, *options: str) -> str:
    """Runs the driver with the running server. Returns its output."""
    command: list[str | Path] = [
        ROOT / "benches/run",
        "--agent",
        binary,
        "--results",
        results,
        "--quick",
    ]
    command += ["--server", "running", "--peer", "ours", "--peer", "curl", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_benchmark_of_wan_link_makes_a_page(binary: str, tmp_path: Path) -> None:
    results = tmp_path / "benchmarks.json"
    output = run(binary, results, "--only", "near")
    whole = json.loads(results.read_text())
    found = {(cell["peer"], cell["work"], cell["amount"]): cell["runs"] for cell in whole["cells"]}
    both = ("upload", "download")
    assert set(found) == {(peer, work, SIZE) for peer in ("ours", "curl") for work in both}
    for (peer, work, _), runs in found.items():
        (one,) = runs
        assert one["seconds"] > 0
        assert one["cpu"] > 0
        # A peer that keeps the file in memory needs at least its size.
        assert one["rss"] > (16 if peer == "ours" else 1)
        assert one["requests"] == 1 if peer == "curl" else one["requests"] > 1, work
        assert one["failed"] == 0
    for line in output.splitlines():
        assert line.split(" | ")[-1] in ("reached", "**not reached**", "not measured")
    pages = [tmp_path / "benchmarks.md", tmp_path / "development/benchmarks.md"]
    made = [file.read_text() for file in pages]
    assert "| **s3-backup-agent, command line** |" in made[1]
    assert f"server {setting('TEST_S3_NAME')}" in made[1]

    # The pages depend only on the results.
    for file in pages:
        file.unlink()
    run(binary, results, "--only", "page")
    assert [file.read_text() for file in pages] == made


def test_second_run_replaces_only_its_cells(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    old = Results(cells=[cell("ours", 4.0), cell("curl", 2.0)])
    old.write(file)
    read = Results.read(file)
    read.put([cell("ours", 1.0)])
    read.write(file)
    again = Results.read(file)
    assert [(c.peer, c.median("seconds")) for c in again.cells] == [("curl", 2.0), ("ours", 1.0)]


def cell(peer: str, seconds: float, cpu: float = 1.0) -> Cell:
    runs = [Run(seconds=seconds + more, cpu=cpu, rss=50.0) for more in (-0.5, 0.5, 0)]
    return Cell("plain", "plain", peer, "upload", GIB, runs=runs)


@pytest.mark.parametrize(("seconds", "word"), [(4.0, "reached"), (5.0, "**not reached**")])
def test_goal_shows_whether_it_is_reached(seconds: float, word: str) -> None:
    results = Results(cells=[cell("ours", seconds), cell("s5cmd", 4.0), cell("rclone", 9.0)])
    (row,) = (
        aim.row() for aim in aims.aims(results) if "upload, speed relative to the f" in aim.title
    )
    assert row[3] == word
    (other,) = (
        a.row() for a in aims.aims(results) if "download, speed relative to the f" in a.title
    )
    assert other[3] == "not measured"


def test_report_has_plots_and_names_better_programs(tmp_path: Path) -> None:
    results = Results(cells=[cell("ours", 4.0), cell("s5cmd", 2.0), cell("curl", 1.0)])
    page.write(results, tmp_path)
    made = (tmp_path / "development/benchmarks.md").read_text()
    assert "s3-backup-agent, command line: time is 2.00 times that of s5cmd" in made
    images = list((tmp_path / "images").iterdir())
    assert images
    for image in images:
        assert f"images/{image.name}" in made
        assert ElementTree.parse(image).getroot().tag.endswith("svg")


def test_ratios_name_the_better_program(tmp_path: Path) -> None:
    results = Results(cells=[cell("ours", 4.0), cell("s5cmd", 2.0), cell("rclone", 8.0)])
    page.write(results, tmp_path)
    row = "| speed: upload of 1 GiB, loopback |  |  | 2 | *0.5* |  |  |"
    assert row in (tmp_path / "benchmarks.md").read_text().splitlines()


def test_pages_match_the_results() -> None:
    docs = ROOT / "docs"
    pages = ("benchmarks.md", "development/benchmarks.md")
    with tempfile.TemporaryDirectory() as folder:
        page.write(Results.read(docs / "development/benchmarks.json"), Path(folder))
        written = [(Path(folder) / name).read_text() for name in pages]
    assert written == [(docs / name).read_text() for name in pages]


def test_plot_has_a_line_for_each_peer() -> None:
    series = {name: [(1.0, 1.0), (2.0, 2.0)] for name in NAMES.values()}
    made = plot.lines("time", "size", "s", series, {1.0: "1", 2.0: "2"})
    assert made.count('fill="none"') == len(NAMES)


def test_failing_link_responds_in_order_on_one_connection(link_program: Path) -> None:
    endpoint = setting("TEST_S3_ENDPOINT")
    for failing, status, bodies in ((1000, 503, (b"", b"x" * 300_000, b"x")), (0, 403, (b"",))):
        with open_link(Link("x", "x", failing=failing), link_program, endpoint) as way:
            connection = http.client.HTTPConnection(urlsplit(way.endpoint).netloc, timeout=30)
            for body in bodies:
                connection.request("PUT", f"/{setting('TEST_S3_BUCKET')}/key", body)
                answer = connection.getresponse()
                assert answer.status == status
                answer.read()
            connection.close()
            counts = way.counts()
        expected = {"connections": 1, "PUT": len(bodies)}
        assert counts == expected | ({"failed": len(bodies)} if failing else {})
