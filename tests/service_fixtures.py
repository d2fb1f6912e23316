"""The service on a fresh database and bucket, with one account `alice` whose prefix is `alice/`."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from bridge.dev.certificate import local_certificate
from tests.s3_fixtures import S3Server
from tests.service import PASSWORD, Bucket, Service, add_account


@pytest.fixture
def bucket(seaweedfs_server: S3Server) -> Bucket:
    one = Bucket(
        endpoint_url=seaweedfs_server.endpoint_url,
        access_key_id=seaweedfs_server.access_key_id,
        secret_access_key=seaweedfs_server.secret_access_key,
        name=f"journey-{uuid4().hex[:12]}",
    )
    one.client.create_bucket(Bucket=one.name)
    return one


@pytest.fixture
def environment(database_url: str, bucket: Bucket, tmp_path: Path) -> dict[str, str]:
    certificate = local_certificate(tmp_path)
    found = {
        **bucket.environment,
        "BRIDGE_POSTGRES__URL": database_url,
        "BRIDGE_TLS__CERTIFICATE_FILE": str(certificate.certificate_file),
        "BRIDGE_TLS__KEY_FILE": str(certificate.key_file),
        "BRIDGE_LOGIN__CLEARTEXT_NETWORKS": "127.0.0.0/8",
        "BRIDGE_SYNC__MIN_INTERVAL_S": "0",
        "BRIDGE_MAILDROP__LEASE_DURATION_S": "6",
        "BRIDGE_MAILDROP__LEASE_RENEW_INTERVAL_S": "2",
        "BRIDGE_SERVER__DRAIN_ACCEPT_GRACE_S": "0",
        "BRIDGE_SERVER__DRAIN_IDLE_S": "0",
        "BRIDGE_SERVER__DRAIN_TIMEOUT_S": "10",
    }
    add_account(found, "alice", PASSWORD)
    return found


@pytest.fixture
def client_tls(environment: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=environment["BRIDGE_TLS__CERTIFICATE_FILE"])
    context.check_hostname = False
    return context


@pytest.fixture
def service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    one = Service(environment, tmp_path / "service.log").start()
    yield one
    one.stop()


@pytest.fixture
def another_service(environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    one = Service(environment, tmp_path / "another.log").start()
    yield one
    one.stop()


@pytest.fixture
def upload_many(bucket: Bucket) -> Callable[[dict[str, bytes]], None]:
    def upload(objects: dict[str, bytes]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: bucket.put(*item), objects.items()))

    return upload


@pytest.fixture
def drop_index(database_url: str) -> Callable[[], None]:
    """Lose all that Postgres knows of messages."""

    async def lose() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("DELETE FROM message")
            await connection.execute("UPDATE maildrop SET synced_at = NULL, index_version = index_version + 1")
        finally:
            await connection.close()

    return lambda: asyncio.run(lose())
