"""Requests without a data stream: targets, listings, deadlines, and newer agents."""

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from agent import AgentClient, Kind, VerifyResult
from conftest import Folder
from s3_request import request
from support import assert_nothing_stored, backup, chunks, connected, fails, scripted

ERRORS = Path(__file__).parents[3] / "protocol" / "errors.json"


async def test_validate_reports_checks(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        validation = await client.validate("t1")
        assert (validation.ok, validation.error, validation.warnings) == (True, None, ())
        statuses = {check.name: check.status for check in validation.checks}
        assert statuses["write"] == statuses["list"] == "passed"
        assert set(statuses.values()) == {"passed", "skipped"}  # the checks of TLS are skipped
        assert not validation.suggestion
        assert validation.details["region"] == folder.config["region"]
        assert not (await client.validate("t1", level="read")).error

        await client.open_target("t2", folder.config | {"bucket": "no-such-bucket-here"})
        validation = await client.validate("t2")
        assert not validation.ok
        assert validation.error
        assert (validation.error.code, validation.error.field) == ("bucket_not_found", "bucket")
        assert validation.error.message
        assert validation.error.message in [check.text for check in validation.checks]


async def test_targets_can_be_opened_replaced_and_closed(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await client.upload("t1", backup(), chunks(b"data"))
        other = folder.config | {"prefix": f"{folder.prefix}/other", "ca_certificate": None}
        await client.open_target("t2", other)
        assert len((await client.list("t1")).backups) == 1
        assert (await client.list("t2")).backups == ()

        with fails("invalid_bucket_name") as caught:
            await client.open_target("t1", folder.config | {"bucket": "no/bucket"})
        assert (caught.value.kind, caught.value.field) == (Kind.CONFIG, "bucket")
        assert len((await client.list("t1")).backups) == 1
        with fails("invalid_bucket_name"):
            await client.open_target("t3", folder.config | {"bucket": "no/bucket"})
        with fails("target_unknown"):
            await client.list("t3")

        await client.open_target("t1", other)
        assert (await client.list("t1")).backups == ()
        await client.close_target("t1")
        await client.close_target("t1")
        with fails("target_unknown"):
            await client.list("t1")
        assert (await client.list("t2")).backups == ()


async def test_targets_are_reopened_after_restart(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await client.open_target("t2", folder.config | {"prefix": f"{folder.prefix}/other"})
        await client.upload("t1", backup(), chunks(b"data"))
        first = client.pid
        await client.stop()
        assert client.pid is None
        with fails("shutting_down"):
            await client.list("t1")
        await client.stop()
        await client.start()
        assert client.pid not in (None, first)
        assert len((await client.list("t1")).backups) == 1
        assert (await client.list("t2")).backups == ()


async def test_list_joins_pages(binary: str, folder: Folder) -> None:
    numbers = [f"b{index}" for index in range(5)]
    async with connected(binary, folder) as client:
        for number in numbers:
            new = backup(number)
            new = type(new)(new.id, new.name, {"note": "x" * 20_000})
            await client.upload("t1", new, chunks(b"data"))
        assert [entry.id for entry in (await client.list("t1")).backups] == numbers


async def test_verify_reports_damage(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        await client.upload("t1", backup("b1"), chunks(b"content"))
        for quick, status in ((False, "ok"), (True, "unverified")):
            found = await client.verify("t1", "b1", quick=quick)
            assert (found.status, found.length, found.error) == (status, 7, None)
        _, key = folder.keys()
        assert key.endswith(".tar")
        answer, _ = request("PUT", "/" + quote(f"{folder.bucket}/{key}"), "", b"contend")
        assert answer == 200
        found = await client.verify("t1", "b1")
        assert (found.status, found.length) == ("damaged", 7)
        assert found.error
        assert (found.error.code, found.error.kind) == ("integrity_mismatch", Kind.INTEGRITY)
        assert found.error.details["part"] == 1
        assert (await client.verify("t1", "b1", quick=True)).status == "unverified"
        with fails("not_found"):
            await client.verify("t1", "nothing")


def test_verify_parses_unknown_status() -> None:
    wire = {"message": "m", "code": "x_new", "kind": "integrity", "retryable": False, "details": {}}
    for result, status in (
        ({"status": "x-new"}, "unverified"),
        ({"status": "x-new", "error": wire}, "damaged"),
        ({"status": "damaged"}, "damaged"),
        ({}, "unverified"),
    ):
        assert VerifyResult.parse(result).status == status


async def test_cleanup_removes_incomplete_uploads(binary: str, folder: Folder) -> None:
    key = f"{folder.prefix}/backups/dead.tar"
    status, _ = request("POST", f"/{folder.bucket}/{key}", "uploads")
    assert status == 200
    async with connected(binary, folder) as client:
        assert await client.cleanup("t1") == ()
        (found,) = await client.cleanup("t1", older_than=0, dry_run=True)
        assert (found.kind, found.key, found.status) == ("upload", key, "found")
        assert folder.unfinished() == [key]
        (removed,) = await client.cleanup("t1", older_than=0)
        assert (removed.key, removed.status, removed.error) == (key, "removed", None)
        assert removed.idle >= found.idle >= 0
        await assert_nothing_stored(client, folder)
        with fails("invalid_params"):
            await client.cleanup("t1", older_than=1e9)


async def test_cleanup_reports_items_that_stay() -> None:
    async with scripted("reports_cleanup_items") as client:
        stays, odd, empty = await client.cleanup("t1", older_than=7200.4, dry_run=True)
        assert (stays.kind, stays.key, stays.idle) == ("upload", "x/b1.tar", 90_000)
        assert stays.status == "failed"
        assert stays.error
        assert (stays.error.code, stays.error.kind) == ("access_denied", Kind.PERMISSION)
        # Unknown values do not fail.
        assert (odd.kind, odd.status, odd.error) == ("x-new", "found", None)
        assert (empty.kind, empty.key, empty.idle) == ("", "", 0)


async def test_cleanup_without_support_raises_method_not_found() -> None:
    async with scripted("older") as client:
        with fails("method_not_found"):
            await client.cleanup("t1")
        assert (await client.list("t1")).backups == ()


async def test_missing_backup_raises_not_found(binary: str, folder: Folder) -> None:
    async with connected(binary, folder) as client:
        for call in (client.get("t1", "nothing"), client.delete("t1", "nothing")):
            with fails("not_found") as caught:
                await call
            assert caught.value.kind is Kind.NOT_FOUND
        await assert_nothing_stored(client, folder)


async def test_list_with_repeated_cursor_raises() -> None:
    async with scripted("repeats_cursor") as client:
        with fails("agent_protocol"):
            await client.list("t1")


async def test_list_skips_invalid_entries() -> None:
    async with scripted("invalid_entries") as client:
        listing = await client.list("t1")
        assert [(entry.id, entry.name, entry.size) for entry in listing.backups] == [
            ("b1", "b1", 7)
        ]
        assert [skipped.code for skipped in listing.skipped] == [
            "",
            "corrupt_metadata",
            "corrupt_metadata",
        ]


async def test_answer_without_result_raises() -> None:
    async with scripted("no_result") as client:
        with fails("agent_protocol"):
            await client.list("t1")
        assert (await client.list("t1")).backups == ()


async def test_newer_agent_is_understood() -> None:
    async with scripted("newer") as client:
        with fails("x_new_code") as caught:
            await client.get("t1", "b1")
        error = caught.value
        assert (error.kind, error.retryable, error.field) == (Kind.INTERNAL, False, None)
        assert (error.details, error.cleanup) == ({}, "failed")
        validation = await client.validate("t1")
        assert [(check.name, check.text) for check in validation.warnings] == [("x-new", "")]
        assert [check.text for check in validation.checks] == ["", "no; yes"]
        assert (validation.checks[1].details, validation.suggestion) == ({}, {})


async def test_requests_wait_for_free_slot() -> None:
    async with scripted("accepts_three_requests") as client:
        numbers = [f"b{index}" for index in range(30)]
        async with asyncio.timeout(30):
            found = await asyncio.gather(*(client.get("t1", number) for number in numbers))
        assert [entry.id for entry in found] == numbers


async def test_deadline_ends_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.client.GRACE", 0.2)
    async with scripted("never_answers") as client:
        begin = time.monotonic()
        with fails("timeout") as caught:
            await client.list("t1", deadline=0.2)
        assert time.monotonic() - begin < 2
        assert caught.value.retryable
        assert (await client.list("t1")).backups == (), "the late answer was taken for this one"


async def test_deadline_includes_wait_for_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.client.GRACE", 0.1)
    async with scripted("never_begins") as client:
        # The fake agent accepts three requests at once and does not answer these.
        hidden = [
            asyncio.create_task(client.download("t1", "b1")) for _ in range(client_limit(client))
        ]
        await asyncio.sleep(0.1)
        with fails("timeout"):
            await client.list("t1", deadline=0.2)
        for task in hidden:
            task.cancel()
        await client.stop()
        await asyncio.wait(hidden)


def client_limit(client: AgentClient) -> int:
    return client.info.max_requests if client.info else 0


async def test_request_cancelled_waits_for_cleanup() -> None:
    async with scripted("never_answers") as client:
        task = asyncio.create_task(client.list("t1"))
        await asyncio.sleep(0.1)
        task.cancel()
        begin = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begin < 2
        assert (await client.list("t1")).backups == ()


async def test_kinds_match_protocol() -> None:
    assert {entry["kind"] for entry in json.loads(ERRORS.read_text("utf-8"))} == set(Kind)
