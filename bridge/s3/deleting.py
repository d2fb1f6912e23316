"""Deleting exactly the objects that were decided on: a look at each, then one call for all that still stand.

Between look and delete another object may come under the key; S3's general-purpose buckets know no delete that depends
on the etag, and of the others' no two agree. The gap is as short as one HEAD and one request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from botocore.exceptions import ClientError

from bridge.maildrop.errors import MaildropError, ObjectGone, ObjectUnreadable
from bridge.maildrop.model import DeleteOutcome, DeleteResult, ObjectRef, StoredObject
from bridge.s3.errors import BucketMissing, error_code, http_status

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_PARALLEL_COUNT = 16
_FINAL = frozenset({"AccessDenied", "MethodNotAllowed", "InvalidRequest", "ObjectLocked"})
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
# Refusals of the call for many that say nothing of the call for one: not built, another checksum wanted (Content-MD5),
# a key that XML cannot hold, a policy for this call alone.
_NOT_FOR_MANY = frozenset(
    {"NotImplemented", "MethodNotAllowed", "MissingContentMD5", "InvalidRequest", "InvalidDigest", "BadDigest"}
    | {"MalformedXML", "AccessDenied", "405", "501"}
)

T = TypeVar("T")


class Ask(Protocol):
    def __call__(self, operation: str, call: Callable[[], Awaitable[T]]) -> Awaitable[T]: ...


async def delete_looked_at(
    client: "S3Client",
    refs: Sequence[ObjectRef],
    *,
    look: Callable[[str, str], Awaitable[StoredObject | None]],
    ask: Ask,
) -> list[DeleteOutcome]:
    """As `ObjectStore.delete_objects`. `look` is a HEAD; `ask` tries a call again, and translates its errors."""
    outcomes: dict[ObjectRef, DeleteOutcome] = {}

    async def look_at(ref: ObjectRef) -> None:
        try:
            stored = await look(ref.bucket, ref.key)
        except MaildropError as error:
            outcomes[ref] = _failure(ref, error)
            return
        if stored is None:
            outcomes[ref] = DeleteOutcome(ref, DeleteResult.GONE)
        elif stored.ref.etag != ref.etag:
            outcomes[ref] = DeleteOutcome(ref, DeleteResult.CHANGED, "another object stands under the key")

    await _at_once(look_at, refs)
    gone = [ref for ref, outcome in outcomes.items() if outcome.result is DeleteResult.GONE]
    if gone:
        # An answer to HEAD does not say whether the object is missing or its whole bucket, as after a wrong setting.
        outcomes.update((outcome.ref, outcome) for outcome in await _confirm_gone(client, gone, ask))
    standing = [ref for ref in dict.fromkeys(refs) if ref not in outcomes]
    if standing:
        outcomes.update((outcome.ref, outcome) for outcome in await _delete(client, standing, ask))
    return [outcomes[ref] for ref in refs]


async def _confirm_gone(client: "S3Client", refs: Sequence[ObjectRef], ask: Ask) -> Sequence[DeleteOutcome]:
    async def is_bucket_there() -> bool:
        try:
            await client.head_bucket(Bucket=refs[0].bucket)
        except ClientError as error:
            if http_status(error) not in (403, 404):
                raise
            return http_status(error) == 403  # there, but not ours to look at
        return True

    try:
        if await ask("head", is_bucket_there):
            return [DeleteOutcome(ref, DeleteResult.GONE) for ref in refs]
        raise BucketMissing("delete: the bucket is not there: check its name and region, and the store's address")
    except MaildropError as error:
        return [_failure(ref, error) for ref in refs]


async def _delete(client: "S3Client", refs: Sequence[ObjectRef], ask: Ask) -> Sequence[DeleteOutcome]:
    async def delete_all() -> dict[str, str] | None:
        try:
            answer = await client.delete_objects(
                Bucket=refs[0].bucket, Delete={"Objects": [{"Key": ref.key} for ref in refs], "Quiet": False}
            )
        except ClientError as error:
            if error_code(error) in _NOT_FOR_MANY:
                return None
            raise
        # Stores differ in what they list as deleted; only what they list as failed has failed.
        return {error.get("Key", ""): error.get("Code", "") for error in answer.get("Errors", [])}

    try:
        failed = await ask("delete", delete_all)
    except MaildropError as error:
        return [_failure(ref, error) for ref in refs]
    if failed is None:
        return await _delete_each(client, refs, ask)
    return [_judged(ref, failed.get(ref.key)) for ref in refs]


async def _delete_each(client: "S3Client", refs: Sequence[ObjectRef], ask: Ask) -> Sequence[DeleteOutcome]:
    outcomes: list[DeleteOutcome] = []

    async def delete(ref: ObjectRef) -> None:
        try:
            await ask("delete", lambda: client.delete_object(Bucket=ref.bucket, Key=ref.key))
            outcomes.append(DeleteOutcome(ref, DeleteResult.GONE))
        except ObjectGone:
            outcomes.append(DeleteOutcome(ref, DeleteResult.GONE))
        except MaildropError as error:
            outcomes.append(_failure(ref, error))

    await _at_once(delete, refs)
    return outcomes


def _judged(ref: ObjectRef, code: str | None) -> DeleteOutcome:
    if code is None or code in _GONE:
        return DeleteOutcome(ref, DeleteResult.GONE)
    return DeleteOutcome(ref, DeleteResult.REFUSED if code in _FINAL else DeleteResult.FAILED, f"delete: {code}")


def _failure(ref: ObjectRef, error: MaildropError) -> DeleteOutcome:
    is_final = isinstance(error, ObjectUnreadable) and not isinstance(error, BucketMissing)
    result = DeleteResult.REFUSED if is_final else DeleteResult.FAILED
    return DeleteOutcome(ref, result, str(error))


async def _at_once(work: Callable[[ObjectRef], Awaitable[None]], refs: Iterable[ObjectRef]) -> None:
    free = asyncio.Semaphore(_PARALLEL_COUNT)

    async def one(ref: ObjectRef) -> None:
        async with free:
            await work(ref)

    async with asyncio.TaskGroup() as group:
        for ref in refs:
            group.create_task(one(ref))
