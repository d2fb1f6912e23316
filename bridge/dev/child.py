"""A server as a child process that ends with us: stopped in order, and after our own violent end by our next start."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_POLL_S = 0.02
_LOG_TAIL_LINES = 8


class DevError(Exception):
    """Something on this machine is in the way; the message says what to do about it."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Child:
    """One child process with its pid file and its log file in the state folder.

    The child is in a session of its own, so that Ctrl-C reaches us alone. The pid file is locked as long as we live:
    what it names when we get the lock was left behind by a process that could not stop it.
    """

    def __init__(self, name: str, state_dir: Path, *, stop_signals: Sequence[tuple[signal.Signals, float]]) -> None:
        """`stop_signals`: what to send, and how many seconds to wait after each; SIGKILL follows by itself."""
        self._name = name
        self._state_dir = state_dir
        self._stop_signals = (*stop_signals, (signal.SIGKILL, 10.0))
        self._pid_file: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = state_dir / f"{name}.log"

    async def claim(self) -> None:
        """Make the state folder ours and stop what an earlier run left behind. Raises DevError when it is in use."""
        pid_file = (self._state_dir / f"{self._name}.pid").open("a+")
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid_file.close()
            raise DevError(
                f"{self._state_dir} is in use by another run: stop that one, or choose another state folder"
            ) from None
        try:
            pid_file.seek(0)
            pid_text, _, started = pid_file.read().partition(" ")
            if pid_text.isdecimal() and started:
                pid = int(pid_text)

                async def is_over() -> bool:
                    return await asyncio.to_thread(_start_mark, pid) != started

                await self._end(pid, is_over)
        except BaseException:
            pid_file.close()
            raise
        self._pid_file = pid_file
        self._write_pid("")

    async def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        user_id: int | None = None,
        group_id: int | None = None,
    ) -> None:
        """After `claim`. Output goes to the log file, which begins anew."""
        await asyncio.to_thread(self._start, arguments, environment, user_id, group_id)

    def _start(
        self, arguments: Sequence[str], environment: Mapping[str, str], user_id: int | None, group_id: int | None
    ) -> None:
        with self.log_file.open("wb") as log:
            # Popen, because uvloop's subprocesses cannot change the user.
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._state_dir,
                start_new_session=True,
                user=user_id,
                group=group_id,
                extra_groups=None if user_id is None else [],
            )
        self._write_pid(f"{self._process.pid} {_start_mark(self._process.pid)}")

    async def wait_until_ready(self, is_ready: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
        """Ask again and again. Raises DevError, with the end of the log, when the child ends or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await is_ready():
                    if not self.is_running:
                        raise DevError(f"{self._name} ended at its start:\n{self._log_tail()}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise DevError(f"{self._name} was not ready within {timeout_s:g} s:\n{self._log_tail()}") from None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def wait(self) -> None:
        """Until the child has ended, however long that takes; for whoever wants to know that it died."""
        while self.is_running:  # noqa: ASYNC110 - nothing tells us, whatever the loop
            await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """End the child, within the time of its stop signals. No effect when it has ended or never began."""
        if self._process is not None:

            async def is_over() -> bool:
                return not self.is_running

            await self._end(self._process.pid, is_over)
            self._process = None
        if self._pid_file is not None:
            self._write_pid("")
            self._pid_file.close()
            self._pid_file = None

    async def _end(self, pid: int, is_over: Callable[[], Awaitable[bool]]) -> None:
        for stop_signal, wait_s in self._stop_signals:
            if await is_over():
                return
            with suppress(ProcessLookupError):  # ended this moment
                os.kill(pid, stop_signal)
            try:
                async with asyncio.timeout(wait_s):
                    while not await is_over():  # noqa: ASYNC110 - a process that is not our child tells us nothing
                        await asyncio.sleep(_POLL_S)
            except TimeoutError:
                continue
            return
        raise DevError(f"{self._name} (process {pid}) does not end, not even when killed")

    def _write_pid(self, text: str) -> None:
        if self._pid_file is None:
            raise RuntimeError("claim() comes first")
        self._pid_file.seek(0)
        self._pid_file.truncate()
        self._pid_file.write(text)
        self._pid_file.flush()

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join([*lines[-_LOG_TAIL_LINES:], f"(all of it: {self.log_file})"])


def _start_mark(pid: int) -> str | None:
    """When the process began, in the system's words, to tell it from a later one of the same number; None: it ended."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    answer = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    state, _, began = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else began.strip()
