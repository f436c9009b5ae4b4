"""Examples of the documents that are programs, or are also said elsewhere."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import markdown
from conftest import Folder

TUTORIAL = "docs/protocol-tutorial.md"


def read(document: str) -> str:
    return (markdown.ROOT / document).read_text("utf-8")


def code(document: str, language: str, heading: str | None = None) -> list[str]:
    """The blocks in this language, in the whole document or below a heading."""
    text = read(document)
    if heading:
        text = markdown.section(text, heading)
    return [block.code for block in markdown.blocks(text) if block.language == language]


def test_the_readme_ends_with_two_commands() -> None:
    """Those that tests/newcomer runs as they stand there."""
    demo, tests = code("README.md", "sh", "### Try it")
    assert demo == "cargo run --features demo -- demo\n"
    assert os.access(markdown.ROOT / tests.strip(), os.X_OK)
    assert tests in code("README.md", "sh")[-1]


def test_readme_and_installation_are_the_same() -> None:
    for heading, there in (("### Home Assistant", "### By hand"), ("### Command line", None)):
        (block,) = code("README.md", "sh", heading)
        assert any(one.startswith(block) for one in code("docs/install.md", "sh", there))


def replaced(text: str, values: dict[str, str]) -> str:
    """With these values in place of the examples, each of which must be there."""
    for example, value in values.items():
        assert example in text, example
        text = text.replace(example, value)
    return text


def placed(binary: str, tmp_path: Path) -> str:
    """A PATH on which the program has its name."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/s3-backup-agent").symlink_to(binary)
    return f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def test_the_program_of_the_readme_works(binary: str, folder: Folder, tmp_path: Path) -> None:
    (program,) = code("README.md", "python", "## From a program")
    config = folder.config
    values = {
        '"type": "s3", ': f'"type": "s3", "region": {config["region"]!r}, ',
        '"https://s3.example.org"': repr(config["endpoint"]),
        '"bucket": "backups"': f'"bucket": {folder.bucket!r}, "prefix": {folder.prefix!r}',
        '"access_key_id": "..."': f'"access_key_id": {config["access_key_id"]!r}',
        '"secret_access_key": "..."': f'"secret_access_key": {config["secret_access_key"]!r}',
    }
    (tmp_path / "nightly.tar").write_bytes(bytes(20_480))
    environment = {
        "PATH": placed(binary, tmp_path),
        "PYTHONPATH": str(markdown.ROOT / "protocol/reference"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
        "NO_PROXY": os.environ.get("NO_PROXY", ""),
    }
    done = subprocess.run(
        [sys.executable, "-c", replaced(program, values)],
        cwd=tmp_path,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert done.stdout == "n1 20480\n"


def test_the_first_host_works(binary: str, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text(json.dumps(folder.config))
    content = random.Random(1).randbytes(20_480)
    (tmp_path / "Nightly.tar").write_bytes(content)
    (tmp_path / "first_host.py").write_text("\n".join(code(TUTORIAL, "python")))
    command = [sys.executable, "first_host.py"]
    environment = os.environ | {"PATH": placed(binary, tmp_path)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
        )

    first, again = run(), run()
    assert first.returncode == 0
    lines = first.stdout.splitlines()
    # Each step shows its output.
    shown = "".join(code(TUTORIAL, "console"))
    assert lines[1] in shown
    assert "passed list" in lines
    assert lines[-4:] == [
        "stored a1b2c3d4 20480",
        "a1b2c3d4 Nightly 20480",
        "{'length': 20480, 'verified': True}",
        "exit code 0",
    ]
    assert all(line in shown for line in lines[-4:])
    assert (tmp_path / "Copy.tar").read_bytes() == content
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_settings_of_the_tutorial_have_the_form_of_the_protocol() -> None:
    (settings,) = code(TUTORIAL, "json")
    schema = json.loads(read("protocol/schema/backup-agent-1.json"))
    assert json.loads(settings).keys() <= set(known(schema))


def known(schema: object) -> list[str]:
    """All names of members in a schema."""
    if isinstance(schema, list):
        return [name for one in schema for name in known(one)]
    if not isinstance(schema, dict):
        return []
    below = [name for one in schema.values() for name in known(one)]
    return [*schema.get("properties", {}), *below]


def test_policies_and_rules_are_those_of_the_storage() -> None:
    (policy,) = code("docs/security.md", "json", "### A policy")
    (rules,) = code("docs/costs.md", "json", "## Lifecycle rules")
    told = [json.loads(one) for one in code("protocol/STORAGE.md", "json") if '\n  "' in one]
    assert json.loads(policy) in told
    separate = {rule["ID"]: rule for one in told for rule in one.get("Rules", [])}
    assert len(separate) == 2
    assert {rule["ID"]: rule for rule in json.loads(rules)["Rules"]} == separate


def test_man_pages_and_completions_are_printed(binary: str, tmp_path: Path) -> None:
    (script,) = code("docs/install.md", "sh", "### Man pages and completions")
    environment = {"HOME": str(tmp_path), "PATH": placed(binary, tmp_path)}
    subprocess.run(["bash", "-euc", script], env=environment, check=True)
    pages = sorted((tmp_path / ".local/share/man/man1").iterdir())
    assert len(pages) == 11
    for page in pages:
        assert f".TH {page.stem} 1" in page.read_text("utf-8")
    completions = tmp_path / ".local/share/bash-completion/completions/s3-backup-agent"
    assert "complete -F" in completions.read_text("utf-8")
