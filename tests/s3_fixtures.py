"""A real S3 server for the tests, SeaweedFS, one for the run; and moto's as a second opinion."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bridge.dev.child import Child, free_port
from bridge.dev.seaweedfs import EmbeddedS3
from bridge.s3.clients import S3Options, s3_client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class S3Server:
    """An S3 server of this test run, and who may use it."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str

    @property
    def options(self) -> S3Options:
        return S3Options(
            endpoint_url=self.endpoint_url,
            region="us-east-1",
            path_style=True,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
        )

    @asynccontextmanager
    async def fresh_bucket(self) -> "AsyncIterator[tuple[S3Client, str]]":
        """A bucket that nobody else has, and a client to put things into it."""
        name = f"test-{next(_numbers)}"
        async with s3_client(self.options) as client:
            await client.create_bucket(Bucket=name)
            yield client, name


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[S3Server]:
    with TemporaryDirectory(prefix="pop3-bridge-") as folder:
        server = EmbeddedS3(Path(folder) / "s3")
        asyncio.run(server.start())
        try:
            yield S3Server(server.endpoint_url, server.access_key_id, server.secret_access_key)
        finally:
            asyncio.run(server.stop())


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    child = Child("moto", tmp_path_factory.mktemp("moto"), stop_signals=[])
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    async def is_ready() -> bool:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"{url}/moto-api/") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

    async def start() -> None:
        await child.claim()
        await child.start(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], environment={"PATH": "/usr/bin"}
        )
        await child.wait_until_ready(is_ready, timeout_s=60)

    try:
        asyncio.run(start())
        yield S3Server(url, "key", "secret")
    finally:
        asyncio.run(child.stop())


@pytest.fixture
async def s3_bucket(seaweedfs_server: S3Server) -> "AsyncIterator[tuple[S3Client, str]]":
    async with seaweedfs_server.fresh_bucket() as found:
        yield found
