"""The octets of an object on their way out of a GET."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import ClientError as HttpError

from bridge.maildrop.errors import ObjectChanged, StoreUnavailable
from bridge.maildrop.model import ObjectRef

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef


class S3Body:
    """The answer to a GET that has begun well. Holds a connection until `close`."""

    def __init__(self, bucket: str, key: str, answer: "GetObjectOutputTypeDef", *, read_timeout_s: float) -> None:
        self._read_timeout_s = read_timeout_s
        self._stream = answer["Body"]
        self._range = answer.get("ContentRange", "")
        self.ref = ObjectRef(bucket, key, answer["ETag"].strip('"'), answer.get("VersionId"))
        self.octet_count = answer["ContentLength"]
        self.modified_at = answer["LastModified"]
        self.content_encoding = answer.get("ContentEncoding", "")
        self.metadata: Mapping[str, str] = {name.lower(): value for name, value in answer["Metadata"].items()}

    def check(self, *, etag: str | None, first_octet: int, octet_count: int | None) -> None:
        """Whether a store that knows no If-Match or no ranges has sent something else than was asked for."""
        if etag not in (None, self.ref.etag):
            raise ObjectChanged("get: another object stands there")
        is_range_kept = self._range.startswith(f"bytes {first_octet}-") or (first_octet == 0 and not self._range)
        if not is_range_kept or (octet_count is not None and self.octet_count > octet_count):
            raise StoreUnavailable("get: the store did not send the range that was asked for")

    async def chunks(self, chunk_octets: int) -> AsyncIterator[bytes]:
        content = self._stream.content  # as sent: no Content-Encoding is undone
        left_octets = self.octet_count
        while left_octets:
            try:
                async with asyncio.timeout(self._read_timeout_s):
                    chunk = await content.read(min(chunk_octets, left_octets))
            except (HttpError, TimeoutError) as error:
                raise StoreUnavailable(f"get: {type(error).__name__}: the store broke off in mid-object") from error
            if not chunk:
                raise StoreUnavailable(f"get: the store ended {left_octets} octets too early")
            left_octets -= len(chunk)
            yield chunk

    def close(self) -> None:
        """Give the connection back when all was read; else end it, rather than read on for nobody."""
        if self._stream.content.at_eof():
            self._stream.release()
        else:
            self._stream.close()


class EmptyBody:
    """Of a range in which nothing lies."""

    content_encoding = ""
    octet_count = 0

    def __init__(self, ref: ObjectRef, modified_at: datetime) -> None:
        self.ref = ref
        self.modified_at = modified_at
        self.metadata: Mapping[str, str] = {}

    async def chunks(self, chunk_octets: int) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk
