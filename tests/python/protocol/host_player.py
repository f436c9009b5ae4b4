"""Plays a transcript with a real host: a scripted agent takes the agent's part.

The agent reports its position, and the host then performs the next step of the transcript.
"""

import asyncio
import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import host
import player
import render
from hosts import Call, FailedError, Host, StoppedError
from player import Json, Line, Step, Transcript

AGENT = Path(__file__).with_name("scripted_agent.py")
HANGS = 60  # seconds for all of a transcript
MODULES = f"{Path(host.__file__).parent}:{Path(render.__file__).parent}"
# The result of a caller whose request was never answered.
UNANSWERED = {"agent_gone", "shutting_down"}


class HostPlayer:
    def __init__(self, transcript: Transcript, host: Host) -> None:
        self._transcript = transcript.without(host.lacks)
        self._host = host
        self._reports = asyncio.Queue[Json]()
        self._calls = dict[int, Call]()
        self._outcomes = dict[int, asyncio.Task[Any]]()
        self._is_closed = False

    async def play(self, script: Path | None = None) -> None:
        """script: the agent's messages, if they differ from the transcript."""
        path = script or player.FOLDER / self._transcript.name
        with tempfile.TemporaryDirectory() as folder:
            address = f"{folder}/socket"
            command = ["env", f"PYTHONPATH={MODULES}", sys.executable, "-B", str(AGENT)]
            server = await asyncio.start_unix_server(self._listen, address)
            async with server, asyncio.timeout(HANGS):
                try:
                    await self._play([*command, str(path), address, *self._host.lacks])
                finally:
                    for call in self._calls.values():
                        call.stop()
                    with suppress(FailedError, StoppedError):
                        await self._host.stop()
                    if self._outcomes:
                        await asyncio.wait(self._outcomes.values())

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            self._reports.put_nowait(json.loads(line))
        self._reports.put_nowait({"fault": "the agent has ended"})
        writer.close()

    async def _play(self, command: list[str]) -> None:
        start = asyncio.create_task(self._start(command))
        start.add_done_callback(self._look_for_faults)
        while "over" not in (report := await self._reports.get()):
            assert "fault" not in report, report["fault"]
            step = self._transcript.steps[report["step"]]
            if step[0].direction == ">" and step[0].method != "initialize":
                await start
                await self._act(step)
        await start
        await self._compare()
        await self._host.stop()

    async def _start(self, command: list[str]) -> None:
        await self._host.start(command)
        if self._transcript.start != "nothing":
            params = {"target": player.TARGET, "config": player.CONFIG}
            request = Line("", ">", {"method": "target.open", "params": params})
            await self._host.perform(Call(request))

    async def _act(self, step: Step) -> None:
        """Performs the host's steps of the transcript."""
        (line,) = step
        if line.closes:
            self._is_closed = True
            await self._host.stop()
            return
        number = line.request_id or 0
        if line.is_request:
            if line.message.get("params", {}).get("cursor"):
                return  # the host continues by itself
            call = Call(line, self._about(number))
            self._calls[number] = call
            self._outcomes[number] = outcome = asyncio.create_task(self._host.perform(call))
            outcome.add_done_callback(self._look_for_faults)
            return
        call = self._calls[number]
        match line.method:
            case "stream.data" if line.payload:
                call.feed.put(line.payload.data)
            case "stream.end":
                call.feed.put(None)
            case "cancel":
                call.stop()

    def _look_for_faults(self, task: asyncio.Task[Any]) -> None:
        """Stores the caller's result for a later comparison."""
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, FailedError | StoppedError):
            self._reports.put_nowait({"fault": f"the host: {error!r}"})

    def _about(self, number: int) -> list[Line]:
        return [line for line in self._transcript.lines if line.request_id == number]

    # Results of the callers

    async def _compare(self) -> None:
        if any(self._response(number) is None for number in self._calls):
            await self._host.stop()
        for call in self._calls.values():
            call.feed.put(None)
        for number, call in self._calls.items():
            response = self._response(number)
            try:
                result = await self._outcomes[number]
                assert response, f"request {number} got {result}"
                expected = self._host.seen(call.method, self._pages(number, response))
                assert result == expected, f"request {number}: {result}"
            except StoppedError:
                assert call.is_cancelled
            except FailedError as error:
                self._compare_error(number, error, response)
            if call.method == "backup.download":
                self._compare_bytes(number, call, response)

    def _response(self, number: int) -> Json | None:
        messages = [line.message for line in self._about(number) if line.is_response]
        return dict(render.example(messages[0])) if messages else None

    def _compare_error(self, number: int, error: FailedError, response: Json | None) -> None:
        if response is None:
            assert error.data["code"] in UNANSWERED
            return
        assert "error" in response, f"request {number}: {error.data}"
        expected = FailedError(self._host.seen_error(response["error"]["data"])).data
        assert error.data == expected, f"request {number}: {error.data}"

    def _compare_bytes(self, number: int, call: Call, response: Json | None) -> None:
        lines = [line for line in self._about(number) if line.direction == "<"]
        sent = b"".join(line.payload.data for line in lines if line.payload)
        received = bytes(call.received)
        is_whole = response is not None and "result" in response
        assert (received == sent) if is_whole else sent.startswith(received), "other bytes"

    def _pages(self, number: int, response: Json) -> Json:
        """Returns the result with those of the following pages."""
        result: Json = response["result"]
        cursor = result.get("next")
        for line in self._transcript.lines:
            if cursor and line.is_request and line.message["params"].get("cursor") == cursor:
                page = self._response(line.request_id or 0)
                assert page
                for name in ("backups", "skipped"):
                    result[name] = result[name] + page["result"][name]
                cursor = page["result"]["next"]
        return result
