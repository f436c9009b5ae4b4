"""The scripts of a release, run on this tree and on changed copies."""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "packaging"
MANIFEST = "hacs-wrapper/custom_components/s3_backup_agent/manifest.json"
CONSTANTS = "hacs-wrapper/custom_components/s3_backup_agent/const.py"
NAMED = ("Cargo.toml", "Cargo.lock", "CHANGELOG.md", "pyproject.toml", MANIFEST, CONSTANTS)


def run(script: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, encoding="utf-8")


def output(script: str, *arguments: str) -> str:
    done = run(SCRIPTS / script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@functools.cache
def version() -> str:
    return output("version.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the scripts and of the files with a version, to be changed."""
    for name in NAMED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(SCRIPTS, tmp_path / "packaging")
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def release(copy: Path) -> None:
    """Turns the changelog into that of a release."""
    heading = f"## [{version()}] - 2026-12-01"
    if heading not in (copy / "CHANGELOG.md").read_text("utf-8"):
        change(copy / "CHANGELOG.md", "## [Unreleased]\n", f"## [Unreleased]\n\n{heading}\n")


def test_tree_has_one_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())


def test_tag_of_this_version_is_accepted(copy: Path) -> None:
    release(copy)
    done = run(copy / "packaging/version.py", f"v{version()}")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version()}\n", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("Cargo.toml", 'version = "{}"', 'version = "99.0.0"', "Cargo.lock has"),
        (MANIFEST, '"version": "{}"', '"version": "99.0.0"', "has the version 99.0.0"),
        (MANIFEST, "s3-backup-agent=={}", "s3-backup-agent>={}", "requires"),
        (CONSTANTS, 'AGENT_VERSION: Final = "{}"', 'AGENT_VERSION: Final = "99.0.0"', "another"),
        ("CHANGELOG.md", "## [{}] - 2026-12-01", "## [{}]", "has no section"),
    ],
)
def test_other_version_is_reported(copy: Path, file: str, old: str, new: str, said: str) -> None:
    release(copy)
    change(copy / file, old.format(version()), new.format(version()))
    done = run(copy / "packaging/version.py", f"v{version()}")
    assert done.returncode == 1
    assert said in done.stderr


def test_tag_of_other_version_is_refused(copy: Path) -> None:
    release(copy)
    done = run(copy / "packaging/version.py", version())
    assert done.returncode == 1
    assert f"the tag is {version()}" in done.stderr


def test_notes_are_the_section_of_the_version(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n- to come\n\n## [1.2.3] - 2026-12-01\n\n### Added\n\n"
        "- a [thing](docs/a.md)\n\n## [1.2.2] - 2026-11-01\n\n- older\n\n[1.2.3]: https://example.org\n"
    )
    script = copy / "packaging/notes.py"
    thing = "https://github.com/s3-backup-agent/s3-backup-agent/blob/v1.2.3/docs/a.md"
    assert run(script, "1.2.3").stdout == f"### Added\n\n- a [thing]({thing})\n"
    assert run(script, "1.2.2").stdout == "- older\n"
    assert run(script, "Unreleased").stdout == "- to come\n"
    # A dot matches only a dot.
    assert run(script, "1x2.3").returncode == 1
    assert run(script).returncode == 64


def test_zip_of_integration_is_reproducible(tmp_path: Path) -> None:
    first = Path(output("integration_zip.py", str(tmp_path / "one")))
    again = Path(output("integration_zip.py", str(tmp_path / "two")))
    assert first.name == json.loads((ROOT / "hacs-wrapper/hacs.json").read_text())["filename"]
    assert first.read_bytes() == again.read_bytes()
    folder = (ROOT / MANIFEST).parent
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert all(archive.read(name) == (folder / name).read_bytes() for name in names)
    assert {"manifest.json", "backup.py", "agent/client.py", "translations/en.json"} <= set(names)
    assert {"brand/icon.png", "py.typed"} <= set(names)
    wanted = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=folder,
        check=True,
        capture_output=True,
        encoding="utf-8",
    ).stdout.split()
    assert sorted(names) == sorted(wanted)


def test_checksums_can_be_verified(tmp_path: Path) -> None:
    for name in ("b", "a c"):
        (tmp_path / name).write_text(name)
    output("checksums", str(tmp_path))
    output("checksums", str(tmp_path))
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    wanted = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("a c", "b")]
    assert lines == wanted
    check = ["sha256sum", "--check", "--status", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path).returncode == 0
    (tmp_path / "b").write_text("other")
    assert subprocess.run(check, cwd=tmp_path).returncode == 1
    (tmp_path / "empty").mkdir()
    assert run(SCRIPTS / "checksums", str(tmp_path / "empty")).returncode == 1


@pytest.fixture
def static_program(tmp_path: Path) -> Path:
    """A program like that of a release: static, and for this machine."""
    source = tmp_path / "program.c"
    source.write_text('int puts(const char *);\nint main(void) { puts("it runs"); return 0; }\n')
    machine = os.uname().machine
    program = tmp_path / f"s3-backup-agent-{machine}"
    subprocess.run(["cc", "-static", "-o", program, source], check=True)
    return program


def test_program_with_loader_or_library_is_refused(
    binary: str, static_program: Path, tmp_path: Path
) -> None:
    size = static_program.stat().st_size
    assert output("static.py", str(static_program)) == f"{static_program} {size} bytes"
    # A library names no loader, but other libraries.
    library = tmp_path / "library" / static_program.name
    library.parent.mkdir()
    source = static_program.with_name("program.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    dynamic = tmp_path / "dynamic" / static_program.name
    dynamic.parent.mkdir()
    shutil.copy(binary, dynamic)
    for path, said in ((library, "asks for a library"), (dynamic, "asks for a loader")):
        done = run(SCRIPTS / "static.py", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


def test_wheel_installs_the_program(static_program: Path, tmp_path: Path) -> None:
    wheel = Path(output("wheel.py", str(static_program), str(tmp_path / "wheels")))
    machine = os.uname().machine
    tag = f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    assert wheel.name == f"s3_backup_agent-{version()}-py3-none-{tag}.whl"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    where = tmp_path / "installed"
    environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run([*pip, "--no-index", "--target", where, wheel], check=True, env=environment)
    done = subprocess.run([where / "bin/s3-backup-agent"], capture_output=True, encoding="utf-8")
    assert done.stdout == "it runs\n"
    with zipfile.ZipFile(wheel) as archive:
        info = f"s3_backup_agent-{version()}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        program = archive.read(f"s3_backup_agent-{version()}.data/scripts/s3-backup-agent")
    assert program == static_program.read_bytes()
    assert f"\nVersion: {version()}\n" in metadata
    # On other sites, the links of the README lead into the repository.
    assert f"/blob/v{version()}/docs/install.md" in metadata
    assert f"/raw/v{version()}/docs/demo.svg" in metadata
    assert "](docs/" not in metadata


def test_wheel_is_reproducible(static_program: Path, tmp_path: Path) -> None:
    first = Path(output("wheel.py", str(static_program), str(tmp_path / "one")))
    again = Path(output("wheel.py", str(static_program), str(tmp_path / "two")))
    assert first.read_bytes() == again.read_bytes()


def test_wheel_of_other_binary_is_refused(
    binary: str, static_program: Path, tmp_path: Path
) -> None:
    machine = os.uname().machine
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[machine]
    wrong = {
        f"dynamic/s3-backup-agent-{machine}": (Path(binary).read_bytes(), "not static"),
        f"s3-backup-agent-{other}": (static_program.read_bytes(), f"not made for {other}"),
        "text/s3-backup-agent-aarch64": (b"#!/bin/sh\n" * 20, "no 64-bit program"),
        "s3-backup-agent": (static_program.read_bytes(), "does not say"),
    }
    for name, (content, said) in wrong.items():
        path = tmp_path / "wrong" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        done = run(SCRIPTS / "wheel.py", str(path))
        assert done.returncode == 1
        assert said in done.stderr, name


def test_sbom_lists_linked_crates() -> None:
    document = json.loads(output("sbom.py"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    components = {one["name"]: one for one in document["components"]}
    assert {"rustls", "ring", "tokio", "aws-sdk-s3", "rustix"} <= components.keys()
    # Without the crates that only tests, the demo, macros or other systems need.
    assert not {"proptest", "s3s", "serde_derive", "windows-sys"} & components.keys()
    for one in document["components"]:
        assert re.fullmatch(r"[0-9a-f]{64}", one["hashes"][0]["content"]), one
        assert one["licenses"], one
    references = {one["bom-ref"] for one in document["components"]}
    needed = {other for one in document["dependencies"] for other in one["dependsOn"]}
    assert needed == references
    other = json.loads(output("sbom.py", "x86_64-pc-windows-gnu"))
    assert "windows-sys" in {one["name"] for one in other["components"]}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout.strip()


def test_integration_is_pushed_as_a_repository(tmp_path: Path) -> None:
    here, remote = tmp_path / "here", tmp_path / "remote.git"
    shutil.copytree(ROOT / "hacs-wrapper", here / "hacs-wrapper")
    shutil.copytree(SCRIPTS, here / "packaging")
    for folder, options in ((here, ()), (remote, ("--bare",))):
        folder.mkdir(exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main", *options)
    git(here, "config", "user.name", "Someone")
    git(here, "config", "user.email", "someone@example.org")

    def publish(tag: str) -> str:
        git(here, "add", "--all")
        git(here, "commit", "--quiet", "--allow-empty", "--message", tag)
        done = run(here / "packaging/push-integration", str(remote), tag)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    first = publish("v1.0.0")
    (here / "hacs-wrapper/new").write_text("new")
    (here / "other").write_text("not of the integration")
    second = publish("v1.1.0")
    assert git(remote, "rev-parse", "main", "v1.0.0", "v1.1.0").split() == [second, first, second]
    assert git(remote, "rev-parse", f"{second}^") == first
    files = git(remote, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert {"hacs.json", "README.md", "new", ".github/workflows/validate.yml"} <= set(files)
    assert "custom_components/s3_backup_agent/manifest.json" in files
    assert not {"other", "packaging/version.py"} & set(files)
    done = run(here / "packaging/push-integration", str(remote), "v1.1.0")
    assert (done.returncode, done.stdout.strip()) == (0, second), done.stderr
    # An existing tag is not changed.
    again = run(here / "packaging/push-integration", str(remote), "v1.0.0")
    assert again.returncode != 0
    assert git(remote, "rev-parse", "v1.0.0", "main").split() == [first, second]


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.iterdir()))
def test_scripts_print_their_usage(script: str) -> None:
    path = SCRIPTS / script
    if not os.access(path, os.X_OK):
        return
    done = run(path, "--help", cwd=Path("/"))
    assert done.returncode == 64
    assert done.stderr.startswith(f"usage: {script} ")
