"""Listings with our host library, or core's agent class: `listing.py SIDE PREFIX STATE`.

Prints one JSON object. PREFIX is that of the backups, which are in its folder `backups`, and STATE
the folder in which our agent keeps what it knows. The first listing is timed with the start of what
is needed for it, and without.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import AioSession  # type: ignore[import-untyped]
from homeassistant.components.aws_s3.backup import S3BackupAgent
from homeassistant.components.backup import AgentBackup
from measure import SIDES, Ticker

sys.path.insert(0, str(Path(__file__).absolute().parents[2] / "hacs-wrapper"))

from custom_components.s3_backup_agent.agent import AgentClient
from custom_components.s3_backup_agent.backup import agent_backup

DEADLINE = 600.0  # seconds

Lister = Callable[[], Awaitable[list[AgentBackup]]]


@contextlib.asynccontextmanager
async def ours(prefix: str, state: Path) -> AsyncIterator[Lister]:
    command = [os.environ["S3_BACKUP_AGENT_BIN"], "serve"]
    config = {
        "endpoint": os.environ["TEST_S3_ENDPOINT"],
        "region": os.environ["TEST_S3_REGION"],
        "bucket": os.environ["TEST_S3_BUCKET"],
        "prefix": prefix,
        "access_key_id": os.environ["TEST_S3_ACCESS_KEY_ID"],
        "secret_access_key": os.environ["TEST_S3_SECRET_ACCESS_KEY"],
    }
    async with AgentClient(command=command, state_dir=state) as client:
        await client.open_target("bench", config)

        async def backups() -> list[AgentBackup]:
            listing = await client.list("bench", deadline=DEADLINE)
            assert not listing.skipped, listing.skipped[0]
            return [agent_backup(backup) for backup in listing.backups]

        yield backups


@contextlib.asynccontextmanager
async def theirs(prefix: str) -> AsyncIterator[Lister]:
    """As the set-up of the integration makes it."""
    async with AioSession().create_client(
        "s3",
        endpoint_url=os.environ["TEST_S3_ENDPOINT"],
        aws_secret_access_key=os.environ["TEST_S3_SECRET_ACCESS_KEY"],
        aws_access_key_id=os.environ["TEST_S3_ACCESS_KEY_ID"],
        config=AioConfig(warm_up_loader_caches=True),
    ) as client:
        bucket = os.environ["TEST_S3_BUCKET"]
        entry: Any = SimpleNamespace(
            runtime_data=SimpleNamespace(client=client),
            data={"bucket": bucket, "prefix": f"{prefix}/backups"},
            title="bench",
            entry_id="bench",
        )
        hass: Any = None
        yield S3BackupAgent(hass, entry).async_list_backups


async def run(side: str, prefix: str, state: Path) -> dict[str, float]:
    idle = Ticker()
    await asyncio.sleep(0.5)
    idle_stall = await idle.stop()
    start = time.perf_counter()
    async with ours(prefix, state) if side == "ours" else theirs(prefix) as backups:
        ticker, begin = Ticker(), time.perf_counter()
        count = len(await backups())
        end = time.perf_counter()
        stall = max(0, await ticker.stop() - idle_stall)
        again = time.perf_counter()
        assert len(await backups()) == count
        warm = time.perf_counter() - again
    return {
        "count": count,
        "from_start": end - start,
        "first": end - begin,
        "warm": warm,
        "stall": stall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("prefix")
    parser.add_argument("state", type=Path)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(run(given.side, given.prefix, given.state))))


if __name__ == "__main__":
    main()
