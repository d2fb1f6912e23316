"""Buckets in memory that answer as S3 does, and fail when told to."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from bridge.maildrop.errors import MaildropError, ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import DeleteOutcome, DeleteResult, ListingPage, ObjectRef, StoredObject
from bridge.maildrop.ports import ObjectBody
from tests.fakes.clock import FakeClock


@dataclass(frozen=True, slots=True)
class FakeObject:
    stored: bytes
    etag: str
    modified_at: datetime
    metadata: Mapping[str, str]
    content_encoding: str
    storage_class: str | None

    def described(self, bucket: str, key: str) -> StoredObject:
        return StoredObject(ObjectRef(bucket, key, self.etag), len(self.stored), self.modified_at, self.storage_class)


@dataclass(slots=True)
class FakeBody:
    ref: ObjectRef
    octets: bytes
    modified_at: datetime
    content_encoding: str
    metadata: Mapping[str, str]
    breaks_after_octets: int | None

    @property
    def octet_count(self) -> int:
        return len(self.octets)

    async def chunks(self, chunk_octets: int) -> AsyncIterator[bytes]:
        sent = 0
        while sent < len(self.octets):
            end = min(sent + chunk_octets, len(self.octets))
            if self.breaks_after_octets is not None:
                end = min(end, self.breaks_after_octets)
                if end == sent:
                    raise StoreUnavailable("get: the store broke off in mid-object")
            yield self.octets[sent:end]
            sent = end


@dataclass(slots=True)
class FakeObjectStore:
    """Satisfies ObjectStore. `calls` has every operation with its key or prefix, in order."""

    bucket_names: set[str] = field(default_factory=lambda: {"mail"})
    page_count: int = 1_000
    clock: FakeClock = field(default_factory=FakeClock)
    calls: list[tuple[str, str]] = field(default_factory=list)
    open_body_count: int = 0
    _objects: dict[tuple[str, str], FakeObject] = field(default_factory=dict)
    _failures: defaultdict[tuple[str, str | None], list[MaildropError]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _breaks: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _delete_answers: dict[str, tuple[DeleteResult, str]] = field(default_factory=dict)

    def put(
        self,
        key: str,
        stored: bytes,
        *,
        bucket: str = "mail",
        metadata: Mapping[str, str] | None = None,
        content_encoding: str = "",
        storage_class: str | None = None,
        etag: str | None = None,
    ) -> ObjectRef:
        """As another program would."""
        made = etag or hashlib.md5(stored).hexdigest()
        self._objects[bucket, key] = FakeObject(
            stored, made, self.clock.now(), dict(metadata or {}), content_encoding, storage_class
        )
        return ObjectRef(bucket, key, made)

    def remove(self, key: str, *, bucket: str = "mail") -> None:
        """As another program would."""
        del self._objects[bucket, key]

    def keys(self, *, bucket: str = "mail") -> list[str]:
        return sorted(key for of_bucket, key in self._objects if of_bucket == bucket)

    def fail(self, operation: str, *errors: MaildropError, key: str | None = None) -> None:
        """The next calls of the operation ("list", "get", "head", "put"), for this key (prefix) or any, raise these."""
        self._failures[operation, key].extend(errors)

    def break_off(self, key: str, *after_octets: int) -> None:
        """The next reads of the object break off after so many octets each."""
        self._breaks[key].extend(after_octets)

    def answer_delete(self, key: str, result: DeleteResult, error: str = "") -> None:
        """From now on deletes of the key end so, and nothing is deleted."""
        self._delete_answers[key] = (result, error)

    def _begin(self, operation: str, bucket: str, key: str) -> None:
        self.calls.append((operation, key))
        for failures in (self._failures[operation, key], self._failures[operation, None]):
            if failures:
                raise failures.pop(0)
        if bucket not in self.bucket_names:
            raise ObjectUnreadable(f"{operation}: the bucket is not there")

    async def list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ListingPage]:
        found = sorted(
            (key.encode(), found.described(bucket, key))
            for (of_bucket, key), found in self._objects.items()
            if of_bucket == bucket and key.startswith(prefix)
        )
        start = 0
        while True:
            self._begin("list", bucket, prefix)
            page = tuple(stored for _, stored in found[start : start + self.page_count])
            start += self.page_count
            yield ListingPage(page, is_last=start >= len(found))
            if start >= len(found):
                return

    @asynccontextmanager
    async def open_object(
        self, bucket: str, key: str, *, etag: str | None, first_octet: int = 0, octet_count: int | None = None
    ) -> AsyncIterator[ObjectBody]:
        self._begin("get", bucket, key)
        found = self._objects.get((bucket, key))
        if found is None:
            raise ObjectGone("get: not there")
        if etag not in (None, found.etag):
            raise ObjectChanged("get: another object stands there")
        end = None if octet_count is None else first_octet + octet_count
        body = FakeBody(
            ref=ObjectRef(bucket, key, found.etag),
            octets=found.stored[first_octet:end],
            modified_at=found.modified_at,
            content_encoding=found.content_encoding,
            metadata=found.metadata,
            breaks_after_octets=self._breaks[key].pop(0) if self._breaks[key] else None,
        )
        self.open_body_count += 1
        try:
            yield body
        finally:
            self.open_body_count -= 1

    async def describe_object(self, bucket: str, key: str) -> StoredObject | None:
        self._begin("head", bucket, key)
        found = self._objects.get((bucket, key))
        return found.described(bucket, key) if found else None

    async def delete_objects(self, refs: Sequence[ObjectRef]) -> Sequence[DeleteOutcome]:
        assert len(refs) <= 1_000
        assert len({ref.bucket for ref in refs}) <= 1
        return [self._delete(ref) for ref in refs]

    def _delete(self, ref: ObjectRef) -> DeleteOutcome:
        self.calls.append(("delete", ref.key))
        if ref.key in self._delete_answers:
            return DeleteOutcome(ref, *self._delete_answers[ref.key])
        if ref.bucket not in self.bucket_names:
            return DeleteOutcome(ref, DeleteResult.FAILED, "delete: the bucket is not there")
        found = self._objects.get((ref.bucket, ref.key))
        if found is not None and found.etag != ref.etag:
            return DeleteOutcome(ref, DeleteResult.CHANGED, "another object stands under the key")
        self._objects.pop((ref.bucket, ref.key), None)
        return DeleteOutcome(ref, DeleteResult.GONE)

    async def put_object(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> ObjectRef:
        self._begin("put", bucket, key)
        return self.put(key, body, bucket=bucket, metadata={name.lower(): value for name, value in metadata.items()})
