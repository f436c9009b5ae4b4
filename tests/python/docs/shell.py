"""A machine in a folder, on which the commands of a document run in the order in which they stand
there: blocks of `sh` as they are, blocks of `console` command by command, with their output.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import markdown
from conftest import Folder, setting

ENDPOINT = "https://s3.example.org"
ADDRESS = "203.0.113.7"
# Of these, documents show what the program said on some day.
VARYING = (
    # How a server words a refusal, and its identity of the request.
    (re.compile(r"(said: \d+ \w+).*"), r"\1"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "DATE"),
    (re.compile(r"\d+(\.\d+)?"), "N"),
    (re.compile(r"[ ─]+"), " "),
)
# Marks and details of checks differ from server to server. Not every server has TLS.
CHECK = re.compile(r"^ [✓✗!-] ([\w ]+?) N ms.*$", re.M)
TLS = re.compile(r"^ tls\n", re.M)


class Session(NamedTuple):
    """A command that a document shows, and its output."""

    command: str
    output: str


def sessions(code: str) -> Iterator[Session]:
    """The commands of a block of `console`. One that goes on in the next line says so by a `>`."""
    for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
        command, *lines = part.splitlines(keepends=True)
        while lines and lines[0].startswith("> "):
            command += lines.pop(0)[2:]
        yield Session(command, "".join(lines))


def same(output: str) -> str:
    """The output without what differs from run to run."""
    for pattern, word in VARYING:
        output = pattern.sub(word, output)
    return TLS.sub("", CHECK.sub(r" \1", output))


@dataclass
class Machine:
    """`values`: texts of the document, and their replacements here. `programs`: scripts that play
    programs which this machine may not have. `typed`: what the reader of the document types.
    `hidden`: how variables begin that the document does not need. All prefixes of the document are
    below the folder's.
    """

    root: Path
    binary: str
    folder: Folder
    values: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    typed: str = ""
    hidden: tuple[str, ...] = ()

    def path(self, name: str, content: str | bytes | None = None) -> Path:
        """A path of the document on this machine; with this content if it is a file."""
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
        return path

    def replaced(self, text: str) -> str:
        """With the paths and the storage of this machine."""
        for example, value in self.values.items():
            text = text.replace(example, value)
        for name, value in self.storage().items():
            text = re.sub(rf"\b(S3_BACKUP_AGENT_{name}=)({ENDPOINT}|\w+)", rf"\g<1>{value}", text)
        text = re.sub(r"(--prefix |_PREFIX=)(?=\S)", rf"\g<1>{self.folder.prefix}/", text)
        roots = "|".join(("backup", "etc", "restore", "srv", "usr/local", "var"))
        return re.sub(rf"(?<![\w.~/-])/(?=(?:{roots})\b)", f"{self.root}/", text)

    def storage(self) -> dict[str, str]:
        """The settings that documents give."""
        names = ("endpoint", "bucket", "access_key_id", "secret_access_key")
        return {name.upper(): str(self.folder.config[name]) for name in names}

    def told(self, output: str) -> str:
        """The other way round, for the document."""
        for example, value in self.values.items():
            output = output.replace(value, example)
        output = output.replace(setting("TEST_S3_ENDPOINT"), ENDPOINT)
        output = output.replace("127.0.0.1", ADDRESS).replace(f"{self.root}/", "/")
        output = output.replace(f'"{self.folder.bucket}"', '"backups"')
        output = output.replace(f"{self.folder.prefix}/", "")
        return "".join(f"{line.rstrip()}\n" for line in output.splitlines())

    def environment(self) -> dict[str, str]:
        """Of the shell. Documents set what they name; the rest of the storage is set here."""
        programs = self.path("programs")
        (programs / "s3-backup-agent").unlink(missing_ok=True)
        (programs / "s3-backup-agent").symlink_to(self.binary)
        for name, script in self.programs.items():
            (programs / name).write_text(script)
            (programs / name).chmod(0o755)
        ca = os.environ.get("TEST_S3_CA_CERTIFICATE")
        environment = self.folder.environment | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.path("home")),
            **({"S3_BACKUP_AGENT_CA_FILE": ca} if ca else {}),
        }
        return {k: v for k, v in environment.items() if not k.startswith(self.hidden)}

    def run(self, blocks: list[markdown.Block]) -> list[Session]:
        """Runs all of it in one shell, which stops at the first command that fails, but for those
        that are shown with their output. Returns those, with what came out.
        """
        outputs = self.path("outputs")
        shown: list[str] = []
        script = ["last=0"]
        for block in blocks:
            if block.language == "sh":
                script.append(self.replaced(block.code))
            elif block.language == "console":
                for session in sessions(block.code):
                    output = outputs / str(len(shown))
                    shown.append(session.command)
                    command = self.replaced(session.command)
                    script.append(
                        f"set +e; (exit $last)\n{{\n{command}}} >{shlex.quote(str(output))} 2>&1\n"
                        "last=$?; set -e"
                    )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(script)],
            cwd=self.path("here"),
            env=self.environment(),
            input=self.typed,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [
            Session(command, self.told((outputs / str(number)).read_text("utf-8")))
            for number, command in enumerate(shown)
        ]


def check(document: str, machine: Machine, only: str | None = None) -> list[Session]:
    """Runs what the document says, or what it says below one heading, and compares the output. With
    WRITE_DOCUMENTS=1, what came out takes the place of what the document had.
    """
    path = markdown.ROOT / document
    whole = path.read_text("utf-8")
    text = markdown.section(whole, only) if only else whole
    blocks = list(markdown.blocks(text))
    ran = machine.run(blocks)
    written = [one for b in blocks if b.language == "console" for one in sessions(b.code)]
    if os.environ.get("WRITE_DOCUMENTS") == "1":
        for old, new in zip(written, ran, strict=True):
            shown = f"$ {old.command}".rstrip("\n").replace("\n", "\n> ") + "\n"
            assert whole.count(shown + old.output) == 1, shown
            whole = whole.replace(shown + old.output, shown + new.output)
        path.write_text(whole, "utf-8")
    else:
        for old, new in zip(written, ran, strict=True):
            assert same(new.output) == same(old.output), new
    return ran
