"""The agent as a child process: start, pipes, exit.

This module does not know about messages. It puts no secrets into arguments or environment.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, cast

from .binary import start_error
from .errors import AgentGone
from .log import LogReader
from .pipe import PipeWriter, pipe

# The variables that the agent inherits, in lower and upper case.
_ENVIRONMENT = {"path", "tz", "ssl_cert_file", "ssl_cert_dir", "credentials_directory"}
_ENVIRONMENT |= {"https_proxy", "http_proxy", "all_proxy", "no_proxy"}
_PIPE_SIZE = 1 << 20  # fits a whole payload

STOP_TIMEOUT = 15.0  # seconds for the agent's cleanup after the end of its input
TERMINATE_TIMEOUT = 5.0  # seconds after a SIGTERM
KILL_TIMEOUT = 5.0  # seconds after a SIGKILL; the system may be busy
_OUTPUT_TIMEOUT = 2.0  # seconds to read the remaining output of a process that has exited
_CLOSED_TIMEOUT = 5.0  # seconds for a process that closed its pipes to exit


class AgentProcess(asyncio.SubprocessProtocol):
    """A child process. `receive` is called with its output, `on_exit` once, after its exit.

    The event loop calls both; they must not block.
    """

    def __init__(
        self, receive: Callable[[bytes], None], on_exit: Callable[[AgentGone], None], log: LogReader
    ) -> None:
        self._receive = receive
        self._on_exit = on_exit
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
        """Starts the process. Raises `AgentNotFound` or `AgentStartFailed`."""
        words = [os.fspath(word) for word in command]
        try:
            try:
                await self._spawn(words, _PIPE_SIZE)
            except PermissionError:
                # The system may not allow pipes of this size.
                await self._spawn(words, -1)
        except OSError as error:
            raise await self._loop.run_in_executor(None, start_error, error, words[0]) from error

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
                start_new_session=True,  # Ctrl-C in the terminal must not reach the agent
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
        """Writes pieces, or queues them. The pieces of two calls are never mixed."""
        if self._stdin:
            self._stdin.write(pieces)

    async def drain(self) -> None:
        """Waits until the queue is empty or the process has exited."""
        if self._stdin:
            await self._stdin.drain()

    def kill(self, reason: str) -> None:
        """Kills the process."""
        if self._transport and not self._exited.is_set():
            self._killed_because = self._killed_because or reason
            with suppress(ProcessLookupError):
                self._transport.kill()

    async def stop(self) -> None:
        """Closes the input and waits for the exit. After timeouts, sends SIGTERM, then SIGKILL."""
        if self._transport is None:
            return
        self._is_stopping = True
        try:
            if self._stdin:
                self._stdin.close()
            if await self._ends_within(STOP_TIMEOUT):
                return
            with suppress(ProcessLookupError):
                self._transport.terminate()
            if await self._ends_within(TERMINATE_TIMEOUT):
                return
        finally:
            self.kill("it did not stop")
        await self._ends_within(KILL_TIMEOUT)

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    # Callbacks of the event loop

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

    # Exit

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the event loop has only weak references to tasks
        task.add_done_callback(self._tasks.discard)
        return task

    async def _await_exit(self) -> None:
        """Kills a process that closed a pipe and does not exit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSED_TIMEOUT):
                await self._exited.wait()
        if not self._is_stopping:
            self.kill("it closed its input or output")

    async def _await_end(self, log_read: asyncio.Task[None]) -> None:
        await self._exited.wait()
        # A child of the process may keep the pipes open, hence the timeout.
        output_read = self._start(self._read_to_end())
        await asyncio.wait((log_read, output_read), timeout=_OUTPUT_TIMEOUT)
        for task in (log_read, output_read):
            task.cancel()
        if self._transport:
            self._transport.close()
        if self._stdin:
            self._stdin.abort()
        self._ended.set()
        self._on_exit(self._exit_error())

    async def _read_to_end(self) -> None:
        await self._stdout_closed.wait()

    def _exit_error(self) -> AgentGone:
        code = self._transport.get_returncode() if self._transport else None
        details: dict[str, Any] = {"stderr_tail": "\n".join(self._log.tail)}
        if code is None:
            message = "the agent ended"
        elif code < 0:
            details["signal"] = -code
            with suppress(ValueError):
                details["signal"] = signal.Signals(-code).name
            message = f"the agent was killed by {details['signal']}"
        else:
            details["exit_code"] = code
            message = f"the agent ended with exit code {code}"
        if self._killed_because:
            message += f", because {self._killed_because}"
        if self._log.tail:
            message += f"; last line of its log: {self._log.tail[-1]}"
        return AgentGone(message, **details)
