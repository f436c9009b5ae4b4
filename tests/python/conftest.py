"""The agent under test, and the S3 bucket that it works on."""

import asyncio
import inspect
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from default_signals import give_default_signals
from host import Agent, Json
from s3_request import request

give_default_signals()


def setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: run these tests with tests/run --only python")
    return value


@dataclass
class Folder:
    """A folder of its own in the bucket, for one test."""

    bucket: str
    prefix: str

    @property
    def config(self) -> Json:
        return {
            "type": "s3",
            "endpoint": setting("TEST_S3_ENDPOINT"),
            "region": setting("TEST_S3_REGION"),
            "access_key_id": setting("TEST_S3_ACCESS_KEY_ID"),
            "secret_access_key": setting("TEST_S3_SECRET_ACCESS_KEY"),
            "bucket": self.bucket,
            "prefix": self.prefix,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same settings as variables for the command line, and NO_PROXY."""
        settings = {k.upper(): v for k, v in self.config.items() if k != "type"}
        given = {f"S3_BACKUP_AGENT_{name}": value for name, value in settings.items()}
        return given | {"NO_PROXY": os.environ.get("NO_PROXY", "")}

    def keys(self) -> list[str]:
        """The objects in it."""
        return self._keys(f"list-type=2&prefix={self.prefix}%2F")

    def unfinished(self) -> list[str]:
        """The multipart uploads that were neither completed nor aborted."""
        return self._keys(f"prefix={self.prefix}%2F&uploads")

    def _keys(self, query: str) -> list[str]:
        status, body = request("GET", f"/{self.bucket}", query)
        assert status == 200, body
        return re.findall("<Key>(.*?)</Key>", body.decode())


@pytest.fixture
def binary() -> str:
    path = setting("S3_BACKUP_AGENT_BIN")
    if not shutil.which(path):
        pytest.fail(f"S3_BACKUP_AGENT_BIN names no program: {path}")
    return str(Path(path).absolute())


@pytest.fixture
def folder() -> Folder:
    return Folder(setting("TEST_S3_BUCKET"), f"python-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def agent(binary: str, folder: Folder) -> Iterator[Agent]:
    """An agent with the folder opened as target `t1`. It must end without an error."""
    agent = Agent([binary, "serve"])
    try:
        agent.call("target.open", target="t1", config=folder.config)
        yield agent
    finally:
        exit_code = agent.close()
    assert exit_code == 0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs asynchronous tests. An unhandled exception of the event loop fails them as well."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    problems: list[dict[str, Any]] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        wanted = inspect.signature(test).parameters
        await test(**{name: pyfuncitem.funcargs[name] for name in wanted})

    asyncio.run(run())
    assert not problems
    return True
