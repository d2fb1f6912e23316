"""The port `ObjectStore`, satisfied by S3 and what speaks like it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from bridge.maildrop.errors import MaildropError, ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import DeleteOutcome, ListingPage, ObjectRef, StoredObject
from bridge.s3.body import EmptyBody, S3Body
from bridge.s3.deleting import delete_looked_at
from bridge.s3.errors import STORE_ERRORS, http_status, translated
from bridge.s3.listing import RAW_PAGE, ParsedPage, leave_pages_unread, parse_page

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from bridge.maildrop.ports import ObjectBody
    from bridge.s3.clients import S3Options

T = TypeVar("T")
Observe = Callable[[str, str, float], None]  # operation, outcome, seconds

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_SLOWEST_UPLOAD_OCTETS_PER_S = 100_000


class S3ObjectStore:
    """All that the bridge asks of S3. Every request has a deadline, and is tried again when the store is in trouble."""

    def __init__(
        self,
        client: "S3Client",
        options: "S3Options",
        *,
        observe: Observe = lambda operation, outcome, duration_s: None,
    ) -> None:
        """`client`: from `s3_client` with the same options; it is taken over, and must outlive the store."""
        leave_pages_unread(client)
        self._client = client
        self._read_timeout_s = options.read_timeout_s
        self._attempt_timeout_s = options.connect_timeout_s + options.read_timeout_s
        self._attempt_count = options.attempt_count
        self._observe = observe

    async def list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ListingPage]:
        token: str | None = None
        while True:
            page = await self._page(bucket, prefix, token)
            yield ListingPage(page.objects, is_last=page.next_token is None)
            if page.next_token is None:
                return
            if page.next_token == token:
                raise StoreUnavailable("list objects: the store goes round in circles")
            token = page.next_token

    async def _page(self, bucket: str, prefix: str, token: str | None) -> ParsedPage:
        wanted: dict[str, str] = {"Bucket": bucket, "Prefix": prefix, "EncodingType": "url"}
        if token is not None:
            wanted["ContinuationToken"] = token

        async def ask() -> ParsedPage:
            answer: Any = await self._client.list_objects_v2(**wanted)  # type: ignore[arg-type]
            return await asyncio.to_thread(parse_page, bucket, answer[RAW_PAGE])

        try:
            return await self._ask("list", ask)
        except ObjectGone as error:
            raise ObjectUnreadable("list: the bucket is not there: check its name and region") from error

    @asynccontextmanager
    async def open_object(
        self, bucket: str, key: str, *, etag: str | None, first_octet: int = 0, octet_count: int | None = None
    ) -> AsyncIterator["ObjectBody"]:
        wanted = {"Bucket": bucket, "Key": key}
        if etag is not None:
            wanted["IfMatch"] = f'"{etag}"'
        if first_octet or octet_count is not None:
            last = "" if octet_count is None else str(first_octet + octet_count - 1)
            wanted["Range"] = f"bytes={first_octet}-{last}"

        async def ask() -> S3Body | None:
            try:
                answer = await self._client.get_object(**wanted)  # type: ignore[arg-type]
            except ClientError as error:
                if http_status(error) == 416:  # nothing lies in the range
                    return None
                raise
            try:
                return S3Body(bucket, key, answer, read_timeout_s=self._read_timeout_s)
            except KeyError as missing:
                answer["Body"].close()
                raise _incomplete("get", missing) from None

        body = None if octet_count == 0 else await self._ask("get", ask)
        if body is None:
            stored = await self.describe_object(bucket, key)
            if stored is None:
                raise ObjectGone("get: not there")
            if etag not in (None, stored.ref.etag):
                raise ObjectChanged("get: another object stands there")
            yield EmptyBody(stored.ref, stored.modified_at)
            return
        try:
            body.check(etag=etag, first_octet=first_octet, octet_count=octet_count)
            yield body
        finally:
            body.close()

    async def describe_object(self, bucket: str, key: str) -> StoredObject | None:
        async def ask() -> StoredObject | None:
            try:
                return _described(bucket, key, await self._client.head_object(Bucket=bucket, Key=key))
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                if http_status(error) not in (400, 403):
                    raise
            # An answer to HEAD cannot say why. A wrong clock or an expired token must not pass for a denied object.
            try:
                answer = await self._client.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if isinstance(translated(error, "head"), ObjectGone):
                    return None
                raise
            answer["Body"].close()
            return _described(bucket, key, answer)

        return await self._ask("head", ask)

    async def delete_objects(self, refs: Sequence[ObjectRef]) -> Sequence[DeleteOutcome]:
        return await delete_looked_at(self._client, refs, look=self.describe_object, ask=self._ask)

    async def put_object(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> ObjectRef:
        async def ask() -> ObjectRef:
            answer = await self._client.put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)
            try:
                return ObjectRef(bucket, key, answer["ETag"].strip('"'), answer.get("VersionId"))
            except KeyError as missing:
                raise _incomplete("put", missing) from None

        return await self._ask("put", ask, more_time_s=len(body) / _SLOWEST_UPLOAD_OCTETS_PER_S)

    async def _ask(self, operation: str, call: Callable[[], Awaitable[T]], *, more_time_s: float = 0) -> T:
        """Try, and try again with growing pauses; raises this room's translation of what went wrong last."""
        began = time.monotonic()
        outcome = "cancelled"
        try:
            attempt = 0
            while True:
                attempt += 1
                try:
                    async with asyncio.timeout(self._attempt_timeout_s + more_time_s):
                        answer = await call()
                    outcome = "ok"
                    return answer
                except (*STORE_ERRORS, StoreUnavailable) as error:
                    refusal = error if isinstance(error, MaildropError) else translated(error, operation)
                    if not isinstance(refusal, StoreUnavailable) or attempt == self._attempt_count:
                        outcome = type(refusal).__name__
                        raise refusal from error
                pause_s = min(_FIRST_PAUSE_S * 4 ** (attempt - 1), _LONGEST_PAUSE_S)
                await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311
        finally:
            self._observe(operation, outcome, time.monotonic() - began)


def _described(bucket: str, key: str, answer: Any) -> StoredObject:  # noqa: ANN401 - HEAD and GET answer alike
    try:
        modified_at: datetime = answer["LastModified"]
        return StoredObject(
            ref=ObjectRef(bucket, key, answer["ETag"].strip('"'), answer.get("VersionId")),
            stored_octets=answer["ContentLength"],
            modified_at=modified_at,
            storage_class=answer.get("StorageClass"),
        )
    except KeyError as missing:
        raise _incomplete("head", missing) from None


def _incomplete(operation: str, missing: KeyError) -> StoreUnavailable:
    return StoreUnavailable(f"{operation}: the store's answer lacks {missing}: is there a proxy between that cuts it?")
