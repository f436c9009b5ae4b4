"""The agent as a child process: how it is started, how its pipes are read and written, how it ends.

Knows nothing of messages. Nothing secret goes into its arguments or its environment.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, cast

from .binary import explain
from .errors import AgentGone
from .log import LogPump
from .pipe import PipeWriter, pipe

# All that the agent gets of our environment, in lower and upper case.
_ENVIRONMENT = {"path", "tz", "ssl_cert_file", "ssl_cert_dir", "credentials_directory"}
_ENVIRONMENT |= {"https_proxy", "http_proxy", "all_proxy", "no_proxy"}
_PIPE_SIZE = 1 << 20  # room for a whole payload

STOP_PATIENCE = 15.0  # seconds to clean up after the input has ended
TERMINATE_PATIENCE = 5.0  # seconds after a SIGTERM
KILL_PATIENCE = 5.0  # seconds after a SIGKILL; the system may be busy
_LAST_WORDS = 2.0  # seconds for what a process has written to be read after its end
_CLOSED_PATIENCE = 5.0  # seconds for a process to end that has closed its pipes


class AgentProcess(asyncio.SubprocessProtocol):
    """A running child. `receive` gets its output, `gone` is called once, after its end.

    Both are called by the event loop and must not block.
    """

    def __init__(
        self, receive: Callable[[bytes], None], gone: Callable[[AgentGone], None], log: LogPump
    ) -> None:
        self._receive = receive
        self._gone = gone
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._stderr = asyncio.StreamReader(loop=self._loop)
        self._exited = asyncio.Event()
        self._stdout_closed = asyncio.Event()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: PipeWriter | None = None
        self._killed_because: str | None = None
        self._is_stopping = False

    async def spawn(self, command: Sequence[str | os.PathLike[str]]) -> None:
        """Starts the child. Raises `AgentNotFound` or `AgentStartFailed`."""
        words = [os.fspath(word) for word in command]
        try:
            try:
                await self._spawn(words, _PIPE_SIZE)
            except PermissionError:
                # Perhaps it is the size of the pipes that is not permitted.
                await self._spawn(words, -1)
        except OSError as error:
            raise await self._loop.run_in_executor(None, explain, error, words[0]) from error

    async def _spawn(self, command: Sequence[str], pipe_size: int) -> None:
        reading, writing = pipe(_PIPE_SIZE)
        self._stdin = PipeWriter(writing, self._input_closed)
        try:
            await self._loop.subprocess_exec(
                lambda: self,
                *command,
                stdin=reading,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={k: v for k, v in os.environ.items() if k.lower() in _ENVIRONMENT},
                pipesize=pipe_size,
                start_new_session=True,  # a Ctrl-C in our terminal is not meant for the agent
            )
        except BaseException:
            self._stdin.abort()
            raise
        finally:
            os.close(reading)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._transport.get_pid() if self._transport else 0

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Puts pieces into the pipe, or behind what waits for room there. Never mixes two calls."""
        if self._stdin:
            self._stdin.write(pieces)

    async def drain(self) -> None:
        """Waits until what was written has found room in the pipe, or the child is gone."""
        if self._stdin:
            await self._stdin.drain()

    def kill(self, reason: str) -> None:
        """Ends the child at once."""
        if self._transport and not self._exited.is_set():
            self._killed_because = self._killed_because or reason
            with suppress(ProcessLookupError):
                self._transport.kill()

    async def stop(self) -> None:
        """Closes the input and waits for the end; after a while it is enforced."""
        if self._transport is None:
            return
        self._is_stopping = True
        try:
            if self._stdin:
                self._stdin.close()
            if await self._ends_within(STOP_PATIENCE):
                return
            with suppress(ProcessLookupError):
                self._transport.terminate()
            if await self._ends_within(TERMINATE_PATIENCE):
                return
        finally:
            self.kill("it did not end when it was told to")
        await self._ends_within(KILL_PATIENCE)

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        if stderr := self._transport.get_pipe_transport(2):
            self._stderr.set_transport(stderr)
        log_read = self._start(self._log.run(self._stderr))
        self._start(self._await_end(log_read))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._receive(data)
        else:
            self._stderr.feed_data(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 2:
            self._stderr.feed_eof()
            return
        self._stdout_closed.set()
        self._start(self._await_exit())

    def _input_closed(self) -> None:
        self._start(self._await_exit())

    def process_exited(self) -> None:
        self._exited.set()

    # The end

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def _await_exit(self) -> None:
        """A child that does not speak or listen any more is of no use."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_PATIENCE):
                await self._exited.wait()
        if not self._is_stopping:
            self.kill("it closed its input or output")

    async def _await_end(self, log_read: asyncio.Task[None]) -> None:
        await self._exited.wait()
        # A grandchild may hold the pipes open, so their end is not waited for without limit.
        output_read = self._start(self._read_to_end())
        await asyncio.wait((log_read, output_read), timeout=_LAST_WORDS)
        for task in (log_read, output_read):
            task.cancel()
        if self._transport:
            self._transport.close()
        if self._stdin:
            self._stdin.abort()
        self._ended.set()
        self._gone(self._obituary())

    async def _read_to_end(self) -> None:
        await self._stdout_closed.wait()

    def _obituary(self) -> AgentGone:
        code = self._transport.get_returncode() if self._transport else None
        details: dict[str, Any] = {"stderr_tail": "\n".join(self._log.tail)}
        if code is None:
            message = "the agent ended"
        elif code < 0:
            details["signal"] = -code
            with suppress(ValueError):
                details["signal"] = signal.Signals(-code).name
            message = f"the agent was ended by {details['signal']}"
        else:
            details["exit_code"] = code
            message = f"the agent ended with exit code {code}"
        if self._killed_because:
            message += f", because {self._killed_because}"
        if self._log.tail:
            message += f"; its last words: {self._log.tail[-1]}"
        return AgentGone(message, **details)
