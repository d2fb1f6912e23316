"""The one S3 client of a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import aioboto3
from aiobotocore.config import AioConfig

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the store is and how it is spoken to. Without keys, credentials come from the ordinary AWS chain."""

    endpoint_url: str | None = None  # None: AWS
    region: str | None = None
    path_style: bool = False
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    request_checksum_calculation: Literal["when_required", "when_supported"] = "when_required"
    max_connections: int = 64
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 20.0  # the longest silence within an answer
    attempt_count: int = 3  # of each request, in all


@asynccontextmanager
async def s3_client(options: S3Options) -> "AsyncIterator[S3Client]":
    """Build the client, once, at the start of the process: its model files are read there and then.

    It holds the connections and renews its credentials by itself; leave it open until nothing reads any more.
    """
    session = aioboto3.Session(
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        region_name=options.region,
    )
    config = AioConfig(
        s3={"addressing_style": "path" if options.path_style else "virtual"},
        request_checksum_calculation=options.request_checksum_calculation,
        # Only an object's whole body could be validated, and bodies are read in pieces, by ranges: lengths are compared
        # instead, and messages have a digest of their own.
        response_checksum_validation="when_required",
        max_pool_connections=options.max_connections,
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        retries={"total_max_attempts": 1, "mode": "standard"},  # S3ObjectStore tries again, also after 429
    )
    async with session.client("s3", endpoint_url=options.endpoint_url, config=config) as client:
        yield client
