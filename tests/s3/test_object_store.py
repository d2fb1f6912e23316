import asyncio

import pytest

from bridge.maildrop.errors import MaildropError, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import DeleteResult
from bridge.s3.clients import s3_client
from bridge.s3.object_store import S3ObjectStore
from tests.s3.scripted import Answer, found, refusal, scripted
from tests.s3_fixtures import S3Server


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(503, "SlowDown"),
        refusal(429, "TooManyRequests"),
        refusal(500, "InternalError"),
        refusal(403, "RequestTimeTooSkewed"),
        Answer(502, b"<html>a proxy's page</html>"),
        found(b"x", headers={"Transfer-Encoding": "nonsense"}),
    ],
)
async def test_trouble_that_passes_is_not_seen_by_the_caller(trouble: Answer) -> None:
    observed: list[tuple[str, str]] = []
    answers = (trouble, trouble, found(b"mail"))
    async with (
        scripted(*answers, attempt_count=3, observed=observed) as (store, script),
        store.open_object("b", "k", etag=None) as body,
    ):
        assert [chunk async for chunk in body.chunks(9)] == [b"mail"]
    assert len(script.asked) == 3
    assert observed == [("get", "ok")]


async def test_trouble_that_stays_ends_after_so_many_tries() -> None:
    observed: list[tuple[str, str]] = []
    async with scripted(refusal(503, "SlowDown"), attempt_count=2, observed=observed) as (store, script):
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            async with store.open_object("b", "k", etag=None):
                pass
    assert len(script.asked) == 2
    assert observed == [("get", "StoreUnavailable")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [(refusal(404, "NoSuchKey"), ObjectGone), (refusal(403, "AccessDenied"), ObjectUnreadable)],
)
async def test_a_final_answer_is_not_asked_for_twice(said: Answer, expected: type[MaildropError]) -> None:
    async with scripted(said, attempt_count=3) as (store, script):
        with pytest.raises(expected):
            async with store.open_object("b", "k", etag=None):
                pass
    assert len(script.asked) == 1


async def test_a_store_that_is_not_there_is_unavailable() -> None:
    async with scripted(found(b""), endpoint_url="http://127.0.0.1:9", attempt_count=2) as (store, _):
        with pytest.raises(StoreUnavailable):
            await store.describe_object("b", "k")


async def test_an_upload_carries_its_metadata_and_gives_the_etag() -> None:
    async with scripted(found(b"", etag="e9")) as (store, script):
        ref = await store.put_object("b", "k", b"mail", {"sender": "a"})
    assert ref.etag == "e9"
    assert script.asked[0].headers["x-amz-meta-sender"] == "a"
    assert script.asked[0].body == b"mail"
    assert not any(name.startswith("x-amz-checksum") for name in script.asked[0].headers)


async def test_a_look_that_is_denied_is_told_apart_from_a_wrong_clock() -> None:
    async with scripted(Answer(403), refusal(403, "AccessDenied")) as (store, script):
        with pytest.raises(ObjectUnreadable):
            await store.describe_object("b", "k")
    assert [asked.method for asked in script.asked] == ["HEAD", "GET"]
    async with scripted(Answer(403), refusal(403, "RequestTimeTooSkewed")) as (store, _):
        with pytest.raises(StoreUnavailable, match="clock"):
            await store.describe_object("b", "k")
    async with scripted(Answer(400), refusal(404, "NoSuchKey")) as (store, _):
        assert await store.describe_object("b", "k") is None
    async with scripted(Answer(400), found(b"mail", etag="e1")) as (store, _):
        stored = await store.describe_object("b", "k")
    assert stored is not None
    assert (stored.ref.etag, stored.stored_octets) == ("e1", 4)


async def test_an_archived_object_says_so() -> None:
    async with scripted(found(b"mail", headers={"x-amz-storage-class": "GLACIER"})) as (store, _):
        stored = await store.describe_object("b", "k")
    assert stored is not None
    assert stored.storage_class == "GLACIER"


async def test_a_wait_for_a_free_connection_has_an_end() -> None:
    slow = found(b"x", length=9, is_held_open=True)
    async with (
        scripted(slow, max_connections=1, connect_timeout_s=0.1, read_timeout_s=0.1) as (store, script),
        store.open_object("b", "k", etag=None),
    ):
        with pytest.raises(StoreUnavailable):
            async with store.open_object("b", "k", etag=None):
                pass
        assert len(script.asked) == 1


async def test_many_readers_share_the_connections(seaweedfs_server: S3Server) -> None:
    async with seaweedfs_server.fresh_bucket() as (client, bucket):
        store = S3ObjectStore(client, seaweedfs_server.options)
        ref = await store.put_object(bucket, "k", b"m" * 200_000, {})

        async def read() -> int:
            async with store.open_object(bucket, "k", etag=ref.etag) as body:
                return sum([len(chunk) async for chunk in body.chunks(65_536)])

        assert await asyncio.gather(*(read() for _ in range(200))) == [200_000] * 200


@pytest.mark.parametrize("key", ["in//double", "in/../up", "in/./here", "in/"])
async def test_keys_that_are_no_file_names_are_keys(moto_server: S3Server, key: str) -> None:
    async with moto_server.fresh_bucket() as (client, bucket):
        store = S3ObjectStore(client, moto_server.options)
        ref = await store.put_object(bucket, key, b"mail", {})
        pages = [page async for page in store.list_objects(bucket, "in/")]
        assert [stored.ref for page in pages for stored in page.objects] == [ref]
        async with store.open_object(bucket, key, etag=ref.etag) as body:
            assert [chunk async for chunk in body.chunks(9)] == [b"mail"]
        assert [outcome.result for outcome in await store.delete_objects([ref])] == [DeleteResult.GONE]
        assert await store.describe_object(bucket, key) is None


@pytest.mark.parametrize("kind", ["seaweedfs", "moto"])
async def test_in_a_versioned_bucket_a_repeated_delete_adds_no_second_marker(
    seaweedfs_server: S3Server, moto_server: S3Server, kind: str
) -> None:
    server = seaweedfs_server if kind == "seaweedfs" else moto_server
    async with server.fresh_bucket() as (client, bucket):
        await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        store = S3ObjectStore(client, server.options)
        ref = await store.put_object(bucket, "in/1", b"mail", {})
        assert ref.version_id is not None
        for _ in range(2):
            (outcome,) = await store.delete_objects([ref])
            assert outcome.result is DeleteResult.GONE
        versions = await client.list_object_versions(Bucket=bucket)
        assert len(versions["DeleteMarkers"]) == 1
        assert len(versions["Versions"]) == 1
        assert [page.objects async for page in store.list_objects(bucket, "")] == [()]
        with pytest.raises(ObjectGone):
            async with store.open_object(bucket, "in/1", etag=ref.etag):
                pass


async def test_an_object_that_went_up_in_parts_is_read_under_its_etag(seaweedfs_server: S3Server) -> None:
    async with seaweedfs_server.fresh_bucket() as (client, bucket):
        upload = await client.create_multipart_upload(Bucket=bucket, Key="k")
        parts = []
        for number, octets in ((1, b"m" * 5_242_880), (2, b"end")):
            part = await client.upload_part(
                Bucket=bucket, Key="k", PartNumber=number, UploadId=upload["UploadId"], Body=octets
            )
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        await client.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}
        )
        store = S3ObjectStore(client, seaweedfs_server.options)
        (page,) = [page async for page in store.list_objects(bucket, "")]
        (stored,) = page.objects
        assert stored.ref.etag.endswith("-2")
        async with store.open_object(bucket, "k", etag=stored.ref.etag) as body:
            assert sum([len(chunk) async for chunk in body.chunks(65_536)]) == 5_242_883


async def test_wrong_credentials_are_the_stores_trouble_and_not_the_objects(seaweedfs_server: S3Server) -> None:
    async with seaweedfs_server.fresh_bucket() as (client, bucket):
        ref = await S3ObjectStore(client, seaweedfs_server.options).put_object(bucket, "k", b"mail", {})
        wrong = S3Server(seaweedfs_server.endpoint_url, seaweedfs_server.access_key_id, "guessed").options
        async with s3_client(wrong) as stranger:
            store = S3ObjectStore(stranger, wrong)
            with pytest.raises(StoreUnavailable, match="check the credentials"):
                await store.describe_object(bucket, "k")
            assert [outcome.result for outcome in await store.delete_objects([ref])] == [DeleteResult.FAILED]
