import asyncio
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from bridge.dev.child import DevError, is_port_free
from bridge.dev.seaweedfs import EmbeddedS3

_ABANDON = """
import asyncio, sys
from pathlib import Path
from bridge.dev.seaweedfs import EmbeddedS3

async def main():
    server = EmbeddedS3(Path(sys.argv[1]))
    await server.start()
    print(server.endpoint_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def client_of(server: EmbeddedS3, *, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


async def test_the_bucket_is_there_at_once_and_objects_outlast_a_restart(state_dir: Path) -> None:
    async with EmbeddedS3(state_dir) as server:
        client = client_of(server)
        await asyncio.to_thread(client.head_bucket, Bucket="mail")  # first: a put would make the bucket
        await asyncio.to_thread(client.put_object, Bucket="mail", Key="a/1", Body=b"kept")
        client.close()
    async with EmbeddedS3(state_dir) as server:
        client = client_of(server)
        answer = await asyncio.to_thread(client.get_object, Bucket="mail", Key="a/1")
        with answer["Body"] as body:
            assert body.read() == b"kept"
        client.close()
    assert (state_dir / "credentials.json").stat().st_mode & 0o777 == 0o600


async def test_who_has_not_the_secret_is_refused(state_dir: Path) -> None:
    async with EmbeddedS3(state_dir) as server:
        client = client_of(server, secret="guessed")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await asyncio.to_thread(client.list_objects_v2, Bucket="mail")
        client.close()


async def test_a_server_left_by_a_killed_parent_is_ended_by_the_next_start(state_dir: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ABANDON, str(state_dir), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    endpoint = (await asyncio.wait_for(parent.stdout.readline(), 60)).decode()
    parent.kill()
    await asyncio.wait_for(parent.wait(), 10)
    left_behind = int(endpoint.rpartition(":")[2])
    assert not is_port_free(left_behind)
    async with EmbeddedS3(state_dir) as server:
        assert server.child.is_running
        assert is_port_free(left_behind)


async def test_a_busy_port_is_named(state_dir: Path) -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(DevError, match=f"port {port}"):
            await EmbeddedS3(state_dir, port=port).start()
