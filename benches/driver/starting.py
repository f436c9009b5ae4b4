"""The costs of a program that is not working: its start, idle memory, and size on the disk."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from . import server
from .peers import HomeAssistant, Place
from .process import resident, run
from .results import MIB, Cell, Run
from .transfers import Bench, said

HELLOS = 100
REST = 2.0  # seconds after which an agent has come to rest


def measure(bench: Bench, rounds: int) -> Iterator[list[Cell]]:
    tools = bench.tools
    programs = {"ours": tools.agent, "restic": tools.restic, "rustic": tools.rustic}
    programs |= {name: tools.peer(name) for name in ("s5cmd", "rclone")}
    yield [binary(name, program) for name, program in programs.items()]
    yield [hello(bench)]
    with server.bucket(f"start-{time.time_ns()}") as bucket:
        yield first_answers(bench, bucket, rounds)
        yield idle(bench, bucket, rounds)


def cell(peer: str, work: str, command: str) -> Cell:
    return Cell("start", "plain", peer, work, 0, command, time.strftime("%Y-%m"))


def binary(name: str, program: Path) -> Cell:
    size = program.stat().st_size
    said(f"{name}: {size} bytes")
    result = cell(name, "size of the program", "ls -l")
    result.runs.append(Run(megabytes=size / 1e6))
    return result


class Spoken:
    """A host with as little work as possible, so that the time of the agent is measured."""

    def __init__(self, program: Path, state: Path) -> None:
        self.process = subprocess.Popen(
            [str(program), "serve", "--state-dir", str(state)],
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self._input: IO[bytes] = self.process.stdin
        self._output: IO[bytes] = self.process.stdout

    def hear(self) -> Any:
        return json.loads(self._output.readline())

    def ask(self, number: int, method: str, **params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self._input.write(json.dumps(request).encode() + b"\n")
        self._input.flush()
        while (answer := self.hear()).get("id") != number:
            pass
        return answer["result"]

    def list_first(self, bench: Bench, bucket: str) -> None:
        """Everything up to the first listing."""
        assert self.hear()["method"] == "hello"
        limits = {"max_line": 65_536, "max_payload": 1 << 20}
        client = {"name": "bench", "version": "1"}
        self.ask(1, "initialize", protocol=1, client=client, limits=limits)
        config = {
            "type": "s3",
            "endpoint": bench.server.endpoint,
            "region": bench.server.region,
            "bucket": bucket,
            "access_key_id": bench.server.key_id,
            "secret_access_key": bench.server.secret,
        }
        self.ask(2, "target.open", target="t", config=config)
        assert self.ask(3, "backup.list", target="t")["backups"] == []

    def end(self) -> None:
        self._input.close()
        self._output.close()
        self.process.wait()


def hello(bench: Bench) -> Cell:
    result = cell("ours", "hello", "s3-backup-agent serve, until its first line")
    for _ in range(HELLOS + 1):
        start = time.monotonic()
        agent = Spoken(bench.tools.agent, bench.data / "state")
        assert agent.hear()["method"] == "hello"
        result.runs.append(Run(seconds=time.monotonic() - start))
        agent.end()
    del result.runs[0]  # that one brought the program into memory
    said(f"hello: {result.median('seconds')} s, 95 %: {result.percentile('seconds', 95)} s")
    return result


def first_answers(bench: Bench, bucket: str, rounds: int) -> list[Cell]:
    """The time from the start of the process to the list of an empty bucket."""
    home = bench.data / "home"
    home.mkdir()
    place = Place(bench.server, bench.server.endpoint, bucket, home)
    aws = ["--endpoint-url", place.endpoint]
    programs: dict[str, list[str | Path]] = {
        "s5cmd": [bench.tools.peer("s5cmd"), *aws, "ls", f"s3://{bucket}"],
        "rclone": [bench.tools.peer("rclone"), "lsf", f":s3:{bucket}"],
        "aws-cli": [bench.tools.peer("aws"), *aws, "s3", "ls", f"s3://{bucket}"],
    }
    environment = place.keys | {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": place.endpoint,
    }
    cells = {
        "ours": cell("ours", "first answer", "start, handshake, target.open, backup.list"),
        "ours-ha": cell("ours-ha", "first answer", "AgentClient, open_target, list"),
        "aws_s3": cell("aws_s3", "first answer", "create_client, async_list_backups"),
        "s5cmd": cell("s5cmd", "first answer", "s5cmd ls s3://BUCKET"),
        "rclone": cell("rclone", "first answer", "rclone lsf :s3:BUCKET"),
        "aws-cli": cell("aws-cli", "first answer", "aws s3 ls s3://BUCKET"),
    }
    for number in range(rounds + 1):
        found: dict[str, Run] = {}
        start = time.monotonic()
        agent = Spoken(bench.tools.agent, bench.data / "state")
        agent.list_first(bench, bucket)
        found["ours"] = Run(seconds=time.monotonic() - start)
        agent.end()
        for name, command in programs.items():
            # s5cmd calls an empty bucket an error.
            found[name] = run(command, environment, accepted=(0, 1))[0]
        for name, side in (("ours-ha", "ours"), ("aws_s3", "theirs")):
            taken = HomeAssistant(bench.tools, side).script(
                "listing.py", place, side, "none", str(home / "state")
            )
            found[name] = Run(seconds=taken["from_start"])
        if number:
            for name, taken_now in found.items():
                cells[name].runs.append(taken_now)
                said(f"first answer of {name}: {taken_now.measured()}")
    shutil.rmtree(home)
    return list(cells.values())


def idle(bench: Bench, bucket: str, rounds: int) -> list[Cell]:
    """Memory of an idle process."""
    alone = cell("ours", "idle", f"{REST:.0f} s after the first list")
    for _ in range(rounds):
        agent = Spoken(bench.tools.agent, bench.data / "state")
        agent.list_first(bench, bucket)
        time.sleep(REST)
        alone.runs.append(Run(rss=resident(agent.process.pid)[0] / MIB))
        agent.end()
    said(f"idle: {alone.median('rss')} MiB")
    cells = [alone]
    home = bench.data / "home"
    home.mkdir()
    place = Place(bench.server, bench.server.endpoint, bucket, home)
    for name, side in (("ours-ha", "ours"), ("aws_s3", "theirs")):
        whole = cell(name, "idle", "Home Assistant with the integration, and the agent")
        for _ in range(rounds):
            taken = HomeAssistant(bench.tools, side).idle(place)
            whole.runs.append(Run(rss=taken.rss, agent_rss=taken.agent_rss))
        said(f"idle: {name} {whole.median('rss')} MiB")
        cells.append(whole)
    shutil.rmtree(home)
    return cells
