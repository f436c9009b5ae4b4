"""The command reference: its options are those of the program, its examples run. WRITE_DOCUMENTS=1
writes both into it.
"""

import os
import re
import subprocess

from conftest import setting
from markdown import ROOT
from shell import ENDPOINT, Machine, check
from test_guides import ARCHIVE, machine, named

__all__ = ["machine"]

PAGE = ROOT / "docs/commands.md"
# Not in a release, or for people who read its help.
LEFT_OUT = {"demo", "help"}
BLOCK = re.compile(r"(<!-- help ([a-z ]+) -->\n```text\n)(.*?)(```\n)", re.S)


def help_of(binary: str, topic: str) -> str:
    """What the program says of a command, or of the options that all of them have."""
    command = [binary, "help", "storage"] if topic == "storage" else [binary, *topic.split(), "-h"]
    environment = os.environ | {"COLUMNS": "110"}
    done = subprocess.run(
        command, check=True, capture_output=True, encoding="utf-8", env=environment
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def test_options_are_those_of_the_program(binary: str) -> None:
    page = PAGE.read_text("utf-8")
    made = BLOCK.sub(lambda block: f"{block[1]}{help_of(binary, block[2])}{block[4]}", page)
    if os.environ.get("WRITE_DOCUMENTS") == "1":
        PAGE.write_text(made, "utf-8")
    assert PAGE.read_text("utf-8") == made


def test_every_command_is_described(binary: str) -> None:
    done = subprocess.run([binary, "-h"], check=True, capture_output=True, encoding="utf-8")
    listed = done.stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    commands = {line.split()[0] for line in listed.splitlines()} - LEFT_OUT
    page = PAGE.read_text("utf-8")
    assert commands == set(re.findall(r"^## ([a-z]+)$", page, re.M))
    described = set(re.findall(r"<!-- help ([a-z]+)[a-z ]* -->", page))
    assert commands | {"storage"} == described


def test_examples_print_what_the_page_shows(machine: Machine) -> None:
    machine.path("backup/b52acd05.tar", ARCHIVE.read_bytes())
    named(machine, setting("TEST_S3_ENDPOINT"))
    place = f"{machine.folder.bucket}/{machine.folder.prefix}"
    machine.values |= {
        f"{ENDPOINT}/backups/nas": f"{setting('TEST_S3_ENDPOINT')}/{place}/nas",
        "EXAMPLEKEY": setting("TEST_S3_ACCESS_KEY_ID"),
    }
    machine.hidden = ()
    check("docs/commands.md", machine)
