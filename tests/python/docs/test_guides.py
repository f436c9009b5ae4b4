"""The README and the guides, command by command: on a machine of their own, with the output that
they show. WRITE_DOCUMENTS=1 writes what came out into them.
"""

import contextlib
import gzip
import html
import io
import json
import os
import random
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import markdown
import pytest
from conftest import Folder, setting
from counting_relay import counting_relay
from markdown import ROOT
from s3_request import request
from shell import ENDPOINT, Machine, check, same

ARCHIVE = ROOT / "tests/data/Automatic_backup_2026.11.0_2026-11-20_04.32_33282898.tar"
RELEASES = "https://github.com/s3-backup-agent/s3-backup-agent/releases/latest/download"
# Fetches what would be released, and nothing else: curl -fLO URL...
CURL = f"""#!/usr/bin/env bash
set -euo pipefail
for argument in "$@"; do
    case $argument in
        -fLO) ;;
        "{RELEASES}"/*) cp "$HOME/release/${{argument##*/}}" . ;;
        *) echo "curl: unexpected $argument" >&2 && exit 2 ;;
    esac
done
"""
SUDO = '#!/bin/sh\nexec "$@"\n'


@pytest.fixture
def machine(binary: str, folder: Folder, tmp_path: Path) -> Iterator[Machine]:
    """A machine with some documents. Its prefix has two parts: the program looks for backups one
    level up if there are none, and must not find those of other tests.
    """
    folder = Folder(folder.bucket, f"{folder.prefix}/machine")
    machine = Machine(tmp_path, binary, folder, programs={"curl": CURL, "sudo": SUDO})
    machine.path("home/secret-access-key", setting("TEST_S3_SECRET_ACCESS_KEY"))
    machine.path("restore")
    machine.path("srv/documents/letter.txt", "Dear reader\n")
    machine.path("srv/documents/2026/invoice.pdf", bytes(200_000))
    machine.path("usr/local/bin")
    yield machine
    keys = folder.keys()
    for key in keys:
        request("DELETE", f"/{folder.bucket}/{urllib.parse.quote(html.unescape(key))}")


def released(machine: Machine) -> None:
    """The files of a release."""
    release = machine.path("home/release")
    shutil.copy(machine.binary, release / "s3-backup-agent-x86_64")
    subprocess.run([ROOT / "packaging/integration_zip.py", release], check=True)
    subprocess.run([ROOT / "packaging/checksums", release], check=True)


def manifest(machine: Machine) -> dict[str, object]:
    path = machine.path("here") / "custom_components/s3_backup_agent/manifest.json"
    read: dict[str, object] = json.loads(path.read_text("utf-8"))
    return read


def test_the_readme_installs_the_integration(machine: Machine) -> None:
    released(machine)
    check("README.md", machine, "### Home Assistant")
    assert manifest(machine)["requirements"]
    assert not list(machine.path("here").glob("*.zip"))


def test_the_readme_installs_the_program(machine: Machine) -> None:
    released(machine)
    check("README.md", machine, "### Command line")
    assert (machine.root / "usr/local/bin/s3-backup-agent").stat().st_mode & 0o777 == 0o755


def test_the_integration_is_installed_by_hand(machine: Machine) -> None:
    released(machine)
    check("docs/install.md", machine, "### By hand")
    assert manifest(machine)["requirements"]


def test_the_integration_is_installed_without_internet(machine: Machine) -> None:
    released(machine)
    check("docs/install.md", machine, "### Without internet")
    assert manifest(machine)["requirements"] == []
    here = machine.path("here")
    assert (here / "custom_components/s3_backup_agent/s3-backup-agent-x86_64").is_file()


def test_the_five_commands_of_the_readme_work(machine: Machine) -> None:
    machine.path("backup/b52acd05.tar", ARCHIVE.read_bytes())
    check("README.md", machine, "## Five commands")
    (restored,) = (machine.root / "restore").iterdir()
    assert restored.read_bytes() == ARCHIVE.read_bytes()


# Starts a service as systemd does, as far as the guides need it. Other commands of it do nothing.
SYSTEMCTL = f"""#!{sys.executable}
import os, pathlib, shlex, subprocess, sys

words = sys.argv[1:]
if words[0] != "start" or not words[1].endswith(".service"):
    sys.exit()
unit = pathlib.Path(os.environ["HOME"], "../etc/systemd/system", words[1]).read_text("utf-8")
lines = [line.split("=", 1) for line in unit.replace("\\\\\\n", " ").splitlines() if "=" in line]
settings = dict(lines)
environment = {{name: os.environ[name] for name in ("PATH", "HOME")}}
ca = os.environ.get("S3_BACKUP_AGENT_CA_FILE")
environment |= {{"S3_BACKUP_AGENT_CA_FILE": ca}} if ca else {{}}
secret = settings["LoadCredential"].removeprefix("secret:")
name, value = settings["Environment"].split("=", 1)
assert value == "%d/secret"
environment[name] = secret
for line in pathlib.Path(settings["EnvironmentFile"]).read_text("utf-8").splitlines():
    if not line.startswith("#"):
        name, value = line.split("=", 1)
        environment[name] = value
command = shlex.split(settings["ExecStart"].replace("%%", "%"))
sys.exit(subprocess.run(command, env=environment).returncode)
"""
NOTHING = "#!/bin/sh\n"
# Plays a dump program: there is one database, the last argument names it.
DUMP = """#!/bin/sh
for argument; do :; done
case $argument in
    missing)
        echo 'pg_dump: error: connection to server at "db" (192.0.2.7), port 5432 failed:' \\
            'FATAL:  database "missing" does not exist' >&2
        exit 1 ;;
esac
echo "rows of the database"
"""
SQLITE = f"""#!{sys.executable}
import re, sqlite3, sys

target = re.fullmatch(r"\\.backup '(.*)'", sys.argv[2])
sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(target[1]))
"""


def units(machine: Machine, document: str) -> list[Path]:
    """Puts the files of the document to their places: their path is in their first line."""
    found = []
    for block in markdown.blocks((ROOT / document).read_text("utf-8")):
        if block.language == "ini":
            name, _, content = block.code.partition("\n")
            found.append(machine.path(name.removeprefix("# "), machine.replaced(content)))
    machine.path("etc/s3-backup-agent/secret", setting("TEST_S3_SECRET_ACCESS_KEY"))
    return found


def store(machine: Machine, *arguments: str, prefix: str = "") -> None:
    """Stores what a document says that it is there already."""
    environment = machine.environment()
    environment["S3_BACKUP_AGENT_PREFIX"] += f"/{prefix}" if prefix else ""
    command = [machine.binary, "upload", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def home_assistant_backup(path: Path, name: str, slug: str, date: str) -> str:
    """An encrypted one, as Home Assistant makes it, but for its content."""
    about = {
        "version": 2,
        "slug": slug,
        "name": name,
        "date": date,
        "type": "partial",
        "protected": True,
        "compressed": True,
        "homeassistant": {"version": "2026.11.0", "exclude_database": False},
        "extra": {"with_automatic_settings": True},
    }
    with tarfile.open(path, "w") as tar:
        for member, content in (
            ("./backup.json", json.dumps(about).encode()),
            ("./homeassistant.tar.gz", random.Random(slug).randbytes(3_000_000)),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def test_after_installing(machine: Machine) -> None:
    first = ("Before the update", "5d10b3e1", "2026-11-20T10:13:04.123456+00:00")
    second = ("Automatic backup 2026.11.0", "94e0a7c2", "2026-11-21T04:45:12.654321+00:00")
    for about in (first, second):
        path = machine.path("backup") / f"{about[1]}.tar"
        store(machine, home_assistant_backup(path, *about), prefix="ha")
    check("docs/guides/after-installing.md", machine)


def nightly(machine: Machine) -> list[str]:
    """What the service has stored."""
    keys = machine.folder.keys()
    return [key for key in keys if "/nas1/backups/documents" in key]


def test_nightly(machine: Machine) -> None:
    document = "docs/guides/nightly.md"
    machine.programs |= {"systemctl": SYSTEMCTL, "journalctl": NOTHING}
    files = units(machine, document)
    assert {path.suffix for path in files} == {"", ".service", ".timer"}
    check(document, machine)
    assert nightly(machine)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_units_are_right(machine: Machine) -> None:
    services = [path for path in units(machine, "docs/guides/nightly.md") if path.suffix]
    named = [path.with_name(path.name.replace("@", "@nightly")) for path in services]
    command = ["systemd-analyze", "verify", "--man=no", *map(str, named)]
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{services[0].parent}:"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    said = [line for line in done.stderr.splitlines() if re.search("nightly|backup-failed", line)]
    assert (done.returncode, said) == (0, [])


def test_databases(machine: Machine) -> None:
    machine.programs |= {"pg_dump": DUMP, "mysqldump": DUMP, "sqlite3": SQLITE}
    database = machine.path("srv/app") / "app.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("create table notes (text)")
        connection.commit()
    machine.path("var/tmp")
    check("docs/guides/databases.md", machine)
    here = machine.path("here")
    assert gzip.decompress((here / "shop.sql.gz").read_bytes()) == b"rows of the database\n"
    assert (here / "shop.dump").read_text() == "rows of the database\n"


def test_folders(machine: Machine) -> None:
    machine.path("srv/documents/draft.tmp", "not this")
    machine.path("srv/documents/cache/page", "nor this")
    check("docs/guides/folders.md", machine)
    restored = machine.root / "restore/documents"
    assert (restored / "letter.txt").read_text() == "Dear reader\n"
    assert (restored / "2026/invoice.pdf").stat().st_size == 200_000


def test_several_machines(machine: Machine) -> None:
    documents = str(machine.root / "srv/documents")
    store(machine, documents, prefix="nas1")
    store(machine, documents, "--name", "photos", prefix="laptop")
    check("docs/guides/several-machines.md", machine)


def named(machine: Machine, nas: str) -> None:
    """Lets the address of the NAS lead to `nas`, and hides what a document does not set."""
    endpoint, bucket = setting("TEST_S3_ENDPOINT"), machine.folder.bucket
    prefix, secret = machine.folder.prefix, machine.path("home") / "secret-access-key"
    machine.values |= {
        "http://nas.lan:9000/backups/home": f"{nas}/{bucket}/{prefix}/home",
        f"{ENDPOINT}/backups/home2": f"{endpoint}/{bucket}/{prefix}/home2",
        "http://nas.lan:9000": nas,
        "AKIAEXAMPLE": setting("TEST_S3_ACCESS_KEY_ID"),
        "/home/anna/secret-access-key": str(secret),
        "/home/anna": str(machine.path("home")),
    }
    machine.hidden = ("S3_BACKUP_AGENT_",)


def test_the_readme_stores_in_more_than_one_place(machine: Machine) -> None:
    text = markdown.section((ROOT / "README.md").read_text("utf-8"), "## More than one place")
    (table,) = (block.code for block in markdown.blocks(text) if block.language == "toml")
    folder, prefix = machine.folder, f'prefix = "{machine.folder.prefix}/'
    for example, value in {
        "http://nas.lan:9000": setting("TEST_S3_ENDPOINT"),
        ENDPOINT: setting("TEST_S3_ENDPOINT"),
        '"backups"': f'"{folder.bucket}"\nregion = "{setting("TEST_S3_REGION")}"',
        "AKIAEXAMPLE": setting("TEST_S3_ACCESS_KEY_ID"),
        'prefix = "': prefix,
        "[targets.nas]": f'[targets.nas]\n{prefix}nas"',
    }.items():
        table = table.replace(example, value)
    machine.programs |= {"pass": PASS}
    home = "home/.config/s3-backup-agent"
    machine.path("home/.config")
    machine.path(f"{home}/config.toml", table)
    machine.path(f"{home}/nas.key", setting("TEST_S3_SECRET_ACCESS_KEY"))
    machine.hidden = ("S3_BACKUP_AGENT_",)
    check("README.md", machine, "## More than one place")


def test_several_targets(machine: Machine) -> None:
    machine.path("here/new-secret", setting("TEST_S3_SECRET_ACCESS_KEY"))
    with counting_relay(setting("TEST_S3_ENDPOINT")) as relay, socket.socket() as closed:
        # Nothing listens there.
        closed.bind(("127.0.0.1", 0))
        named(machine, relay.endpoint)
        office = f"http://127.0.0.1:{closed.getsockname()[1]}"
        machine.values |= {
            "http://office.lan:9000/backups/home": f"{office}/backups/home",
            "http://office.lan:9000": office,
        }
        check("docs/guides/several-targets.md", machine)
    example = ROOT / "docs/config.example.toml"
    command = [machine.binary, "config", "check", "--config", str(example)]
    subprocess.run(command, env={"HOME": "/"}, check=True, stdout=subprocess.DEVNULL)


# Plays pass: it knows one secret.
PASS = f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(os.environ.get('TEST_S3_SECRET_ACCESS_KEY', ''))}\n"


LOCKED = "#!/bin/sh\necho 'Vault is locked.' >&2\nexit 1\n"


def test_secrets(machine: Machine) -> None:
    others = ("secret-tool", "systemd-creds", "systemd-run", "vault")
    machine.programs |= {"pass": PASS, "bw": LOCKED} | dict.fromkeys(others, NOTHING)
    machine.path("here/nas.key", "of the NAS")
    machine.path(
        "here/bitwarden.toml",
        """[targets.cloud]
endpoint = "https://s3.example.org"
bucket = "backups"
access_key_id = "AKIAEXAMPLE"
secret_access_key = { command = ["bw", "get", "password", "backups-nas", "--nointeraction"] }
""",
    )
    named(machine, setting("TEST_S3_ENDPOINT"))
    folder = machine.folder
    machine.path("home/.config")
    machine.path(
        "home/.config/s3-backup-agent/config.toml",
        f"""[targets.nas]
endpoint = "{setting("TEST_S3_ENDPOINT")}"
region = "{setting("TEST_S3_REGION")}"
bucket = "{folder.bucket}"
prefix = "{folder.prefix}/home"
access_key_id = "{setting("TEST_S3_ACCESS_KEY_ID")}"
secret_access_key = {{ command = ["pass", "show", "nas"] }}
""",
    )
    check("docs/guides/secrets.md", machine)


@pytest.mark.parametrize("page", ["guides/several-targets", "guides/secrets", "coming-from"])
def test_settings_in_guides_are_right(binary: str, tmp_path: Path, page: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text("utf-8")
    found = [block.code for block in markdown.blocks(text) if block.language == "toml"]
    assert found
    for number, code in enumerate(found):
        # A line alone is one of a table.
        table = code if "[targets" in code else f'[targets.a]\nbucket = "backups"\n{code}'
        if "access_key_id" not in table.replace("secret_access_key_id", ""):
            table += 'access_key_id = "AK"\n'
        if "secret_access_key" not in table:
            table += 'secret_access_key = { env = "X" }\n'
        path = tmp_path / f"{number}.toml"
        path.write_text(table)
        command = [binary, "config", "check", "--config", str(path)]
        done = subprocess.run(command, env={"HOME": "/"}, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, table + done.stderr


def test_rotate_keys(machine: Machine) -> None:
    machine.values |= {"AKIANEW": setting("TEST_S3_ACCESS_KEY_ID")}
    machine.programs |= {"systemctl": SYSTEMCTL}
    units(machine, "docs/guides/nightly.md")
    secret = setting("TEST_S3_SECRET_ACCESS_KEY")
    machine.path("here/secret.new", secret)
    machine.path("etc/s3-backup-agent/secret", "of the old key")
    machine.typed = f"{secret}\n"
    check("docs/guides/rotate-keys.md", machine)
    for name in ("environment", "secret"):
        assert (machine.path("etc/s3-backup-agent") / name).stat().st_mode & 0o777 == 0o600
    assert (machine.path("etc/s3-backup-agent") / "secret").read_text() == f"{secret}\n"
    assert nightly(machine)


def test_every_guide_has_a_test() -> None:
    guides = {path.stem for path in (ROOT / "docs/guides").glob("*.md")}
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals()}
    assert guides <= tested


def test_output_that_differs_is_found(machine: Machine) -> None:
    assert same("  ✓ tcp   0 ms\n  - tls   1 ms  none\n") == same("  ! tcp   12 ms  slow\n")
    assert same("id  0123abcd, 2.00 KiB\n") == same("id  deadbeef, 17 KiB\n")
    assert same("Stored documents.\n") != same("Stored the documents.\n")
    block = markdown.Block("console", "$ echo /srv; false\n$ echo $?\n")
    assert [one.output for one in machine.run([block])] == ["/srv\n", "1\n"]
