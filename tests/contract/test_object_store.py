"""What every object store owes to the maildrop room: the fake, SeaweedFS, and moto."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from bridge.maildrop.errors import ObjectChanged, ObjectGone, ObjectUnreadable
from bridge.maildrop.model import DeleteResult, ListingPage, ObjectRef, StoredObject
from bridge.maildrop.ports import ObjectBody, ObjectStore
from bridge.s3.object_store import S3ObjectStore
from tests.fakes.object_store import FakeObjectStore
from tests.s3_fixtures import S3Server

ODD_NAMES = [
    "a b+c%20d",
    "100%",
    "ümläut-\N{SNOWMAN}",
    "x&<y>'\"",
    "1700000000.M1P2.host,S=5:2,RS",
    "tab\tin",
    "a=b?c#d",
]


@dataclass(frozen=True, slots=True)
class Shop:
    """A store under test, a bucket in it, and the side door for what the port cannot do."""

    store: ObjectStore
    bucket: str
    put_encoded: Callable[[str, bytes, str], Awaitable[None]]  # key, octets, Content-Encoding

    async def put(self, key: str, body: bytes = b"x", **metadata: str) -> ObjectRef:
        return await self.store.put_object(self.bucket, key, body, metadata)

    async def pages(self, prefix: str = "") -> list[ListingPage]:
        return [page async for page in self.store.list_objects(self.bucket, prefix)]

    async def listed(self, prefix: str = "") -> list[StoredObject]:
        return [stored for page in await self.pages(prefix) for stored in page.objects]

    async def read(self, key: str, etag: str | None = None, chunk_octets: int = 65_536, **span: int) -> bytes:
        async with self.store.open_object(self.bucket, key, etag=etag, **span) as body:
            octets = await whole(body, chunk_octets)
            assert len(octets) == body.octet_count
            return octets


async def whole(body: ObjectBody, chunk_octets: int = 65_536) -> bytes:
    octets = b""
    async for chunk in body.chunks(chunk_octets):
        assert 0 < len(chunk) <= chunk_octets
        octets += chunk
    return octets


@asynccontextmanager
async def real_shop(server: S3Server) -> AsyncIterator[Shop]:
    async with server.fresh_bucket() as (client, bucket):

        async def put_encoded(key: str, body: bytes, content_encoding: str) -> None:
            await client.put_object(Bucket=bucket, Key=key, Body=body, ContentEncoding=content_encoding)

        yield Shop(S3ObjectStore(client, server.options), bucket, put_encoded)


@pytest.fixture(params=["fake", "seaweedfs", "moto"])
async def shop(
    request: pytest.FixtureRequest, seaweedfs_server: S3Server, moto_server: S3Server
) -> AsyncIterator[Shop]:
    if request.param == "fake":
        fake = FakeObjectStore()

        async def put_encoded(key: str, body: bytes, content_encoding: str) -> None:
            fake.put(key, body, content_encoding=content_encoding)

        yield Shop(fake, "mail", put_encoded)
        return
    async with real_shop(seaweedfs_server if request.param == "seaweedfs" else moto_server) as shop:
        yield shop


async def test_an_empty_bucket_is_one_last_page_of_nothing(shop: Shop) -> None:
    assert await shop.pages() == [ListingPage((), is_last=True)]


async def test_a_listing_says_key_etag_size_and_time(shop: Shop) -> None:
    ref = await shop.put("in/1", b"hello")
    described = await shop.store.describe_object(shop.bucket, "in/1")
    (listed,) = await shop.listed("in/")
    assert described is not None
    assert listed.ref == ref == ObjectRef(shop.bucket, "in/1", hashlib.md5(b"hello").hexdigest())
    assert listed.stored_octets == described.stored_octets == 5
    assert listed.modified_at.replace(microsecond=0) == described.modified_at.replace(microsecond=0)
    assert listed.modified_at.tzinfo is not None
    assert listed.storage_class is described.storage_class is None


async def test_only_keys_under_the_prefix_are_listed(shop: Shop) -> None:
    for key in ("in/1", "in/sub/2", "inbox/3", "out/4"):
        await shop.put(key)
    assert sorted(stored.ref.key for stored in await shop.listed("in/")) == ["in/1", "in/sub/2"]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_an_odd_key_is_listed_read_and_deleted_as_it_is(shop: Shop, name: str) -> None:
    key = f"in/{name}"
    ref = await shop.put(key, b"odd")
    assert [stored.ref for stored in await shop.listed("in/")] == [ref]
    assert await shop.read(key, ref.etag) == b"odd"
    assert [outcome.result for outcome in await shop.store.delete_objects([ref])] == [DeleteResult.GONE]
    assert await shop.listed() == []


async def test_a_listing_goes_on_beyond_its_first_page(shop: Shop) -> None:
    keys = {f"in/{number:04}" for number in range(1_003)}
    places = asyncio.Semaphore(32)

    async def put(key: str) -> ObjectRef:
        async with places:
            return await shop.put(key)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(put(key)) for key in keys]
    pages = await shop.pages("in/")
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert len(pages) > 1
    assert {stored.ref.key for page in pages for stored in page.objects} == keys
    outcomes = await shop.store.delete_objects([task.result() for task in tasks][:1_000])
    assert {outcome.result for outcome in outcomes} == {DeleteResult.GONE}
    assert len(await shop.listed("in/")) == 3


async def test_an_object_is_read_whole_in_pieces_of_the_size_asked_for(shop: Shop) -> None:
    octets = bytes(range(256)) * 4_000
    ref = await shop.put("big", octets)
    assert await shop.read("big", ref.etag, chunk_octets=10_000) == octets


async def test_an_empty_object_has_no_octets(shop: Shop) -> None:
    ref = await shop.put("empty", b"")
    assert await shop.read("empty", ref.etag) == b""
    assert await shop.read("empty", ref.etag, first_octet=0, octet_count=100) == b""


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"first_octet": 3}, b"3456789"),
        ({"first_octet": 0, "octet_count": 4}, b"0123"),
        ({"first_octet": 2, "octet_count": 3}, b"234"),
        ({"first_octet": 8, "octet_count": 50}, b"89"),
        ({"first_octet": 0, "octet_count": 50}, b"0123456789"),
        ({"first_octet": 10, "octet_count": 5}, b""),
        ({"first_octet": 99}, b""),
        ({"first_octet": 4, "octet_count": 0}, b""),
    ],
)
async def test_a_range_is_cut_at_the_end_of_the_object(shop: Shop, span: dict[str, int], expected: bytes) -> None:
    ref = await shop.put("digits", b"0123456789")
    assert await shop.read("digits", ref.etag, **span) == expected


async def test_an_object_that_is_not_there_is_gone(shop: Shop) -> None:
    with pytest.raises(ObjectGone):
        await shop.read("never")
    with pytest.raises(ObjectGone):
        await shop.read("never", "00", first_octet=5, octet_count=0)
    assert await shop.store.describe_object(shop.bucket, "never") is None


async def test_an_object_that_was_replaced_is_not_read_under_its_old_etag(shop: Shop) -> None:
    old = await shop.put("a", b"old")
    new = await shop.put("a", b"newer")
    with pytest.raises(ObjectChanged):
        await shop.read("a", old.etag)
    with pytest.raises(ObjectChanged):
        await shop.read("a", old.etag, first_octet=99)
    assert await shop.read("a", new.etag) == await shop.read("a") == b"newer"


async def test_a_body_says_what_object_it_is_of(shop: Shop) -> None:
    ref = await shop.put("a", b"hello", Sender="Alice", flags="seen")
    stored = await shop.store.describe_object(shop.bucket, "a")
    assert stored is not None
    async with shop.store.open_object(shop.bucket, "a", etag=None) as body:
        assert body.ref == ref
        assert body.modified_at.replace(microsecond=0) == stored.modified_at.replace(microsecond=0)
        assert body.content_encoding == ""
        assert dict(body.metadata) == {"sender": "Alice", "flags": "seen"}


async def test_a_compressed_object_comes_as_it_is_stored(shop: Shop) -> None:
    octets = gzip.compress(b"Subject: x\r\n\r\nhello\r\n" * 1_000, mtime=0)
    await shop.put_encoded("zipped", octets, "gzip")
    async with shop.store.open_object(shop.bucket, "zipped", etag=None) as body:
        assert body.content_encoding == "gzip"
        assert body.octet_count == len(octets)
        assert await whole(body) == octets


async def test_a_body_may_be_left_unread_and_the_store_goes_on(shop: Shop) -> None:
    await shop.put("big", b"x" * 3_000_000)
    for _ in range(5):
        async with shop.store.open_object(shop.bucket, "big", etag=None) as body:
            assert len(await anext(aiter(body.chunks(1_000)))) <= 1_000
    assert len(await shop.read("big")) == 3_000_000


async def test_deleting_says_of_each_what_became_of_it_in_order(shop: Shop) -> None:
    kept, changed, gone = await shop.put("1"), await shop.put("2", b"old"), await shop.put("3")
    await shop.put("2", b"new")
    never = ObjectRef(shop.bucket, "4", "00")
    outcomes = await shop.store.delete_objects([gone, changed, never, gone])
    assert [outcome.ref for outcome in outcomes] == [gone, changed, never, gone]
    assert [outcome.result for outcome in outcomes] == [
        DeleteResult.GONE,
        DeleteResult.CHANGED,
        DeleteResult.GONE,
        DeleteResult.GONE,
    ]
    assert [stored.ref.key for stored in await shop.listed()] == [kept.key, changed.key]


async def test_deleting_nothing_is_nothing(shop: Shop) -> None:
    assert list(await shop.store.delete_objects([])) == []


async def test_nothing_is_called_gone_because_its_bucket_is_missing(shop: Shop) -> None:
    outcomes = await shop.store.delete_objects([ObjectRef("nobodys-bucket", key, "00") for key in ("a", "b")])
    assert [outcome.result for outcome in outcomes] == [DeleteResult.FAILED, DeleteResult.FAILED]
    assert all("bucket is not there" in outcome.error for outcome in outcomes)


async def test_a_bucket_that_is_not_there_is_told_apart_from_an_empty_one(shop: Shop) -> None:
    with pytest.raises(ObjectUnreadable):
        async for _ in shop.store.list_objects("nobodys-bucket", ""):
            pass
    with pytest.raises(ObjectUnreadable):
        async with shop.store.open_object("nobodys-bucket", "a", etag=None):
            pass
