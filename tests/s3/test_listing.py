from datetime import UTC, datetime

import pytest

from bridge.maildrop.errors import ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import ListingPage, ObjectRef, StoredObject
from bridge.s3.listing import parse_page
from tests.s3.scripted import Answer, refusal, scripted

AWS = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2026-11-25T10:00:00.500Z</LastModified>"
    "<ETag>&quot;e1&quot;</ETag><Size>5</Size>{more}</Contents>"
)


def page(*entries: str, head: str = "<IsTruncated>false</IsTruncated>", namespace: str = AWS) -> bytes:
    return f"<?xml version='1.0'?><ListBucketResult{namespace}>{head}{''.join(entries)}</ListBucketResult>".encode()


def more_at(token: str) -> str:
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


def stored(key: str, storage_class: str | None = None) -> StoredObject:
    at = datetime(2026, 11, 25, 10, 0, 0, 500_000, tzinfo=UTC)
    return StoredObject(ObjectRef("b", key, "e1"), 5, at, storage_class)


@pytest.mark.parametrize("namespace", [AWS, ""])
def test_a_page_is_read_with_and_without_a_namespace(namespace: str) -> None:
    parsed = parse_page("b", page(ENTRY.format(key="in/1", more=""), namespace=namespace))
    assert parsed.objects == (stored("in/1"),)
    assert parsed.next_token is None


def test_keys_are_unquoted_only_when_the_store_says_that_it_quoted_them() -> None:
    entry = ENTRY.format(key="a+b%2Bc%0A%E2%98%83", more="")
    assert parse_page("b", page(entry)).objects == (stored("a+b%2Bc%0A%E2%98%83"),)
    assert parse_page("b", page(entry, head="<EncodingType>url</EncodingType>")).objects == (stored("a b+c\n☃"),)


def test_a_storage_class_is_kept_unless_it_is_the_standard_one() -> None:
    entries = [
        ENTRY.format(key=name, more=f"<StorageClass>{name}</StorageClass>") for name in ("STANDARD", "DEEP_ARCHIVE")
    ]
    assert parse_page("b", page(*entries)).objects == (
        stored("STANDARD"),
        stored("DEEP_ARCHIVE", "DEEP_ARCHIVE"),
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"<html>a proxy's page",
        b"<html></html>",
        page(ENTRY.format(key="a", more=""))[:-30],
        page("<Contents><Key>a</Key><Size>5</Size></Contents>"),
        page(ENTRY.format(key="a", more="").replace("<Size>5", "<Size>five")),
        page(head="<IsTruncated>true</IsTruncated>"),
        b"<Error><Code>InternalError</Code></Error>",
    ],
)
def test_what_is_no_whole_page_never_passes_for_a_short_listing(damaged: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        parse_page("b", damaged)


async def test_pages_follow_the_tokens_of_the_store() -> None:
    first = page(ENTRY.format(key="1", more=""), head=more_at("t+1"))
    async with scripted(Answer(body=first), Answer(body=page(ENTRY.format(key="2", more="")))) as (store, script):
        pages = [found async for found in store.list_objects("b", "in/")]
    assert pages == [ListingPage((stored("1"),), is_last=False), ListingPage((stored("2"),), is_last=True)]
    assert "continuation-token" not in script.asked[0].target
    assert "continuation-token=t%2B1" in script.asked[1].target
    assert all("prefix=in%2F" in asked.target and "encoding-type=url" in asked.target for asked in script.asked)


async def test_a_store_that_gives_the_same_token_again_is_not_followed_for_ever() -> None:
    async with scripted(Answer(body=page(head=more_at("t")))) as (store, script):
        with pytest.raises(StoreUnavailable, match="round in circles"):
            async for _ in store.list_objects("b", ""):
                pass
    assert len(script.asked) == 2


async def test_a_listing_that_breaks_off_has_no_last_page() -> None:
    first = Answer(body=page(ENTRY.format(key="1", more=""), head=more_at("t")))
    async with scripted(first, refusal(500, "InternalError")) as (store, _):
        seen: list[ListingPage] = []
        with pytest.raises(StoreUnavailable):
            async for found in store.list_objects("b", ""):
                seen.append(found)
    assert [found.is_last for found in seen] == [False]


@pytest.mark.parametrize("damaged", [Answer(body=page()[:-5]), Answer(body=page(), length=len(page()) + 7)])
async def test_a_damaged_page_is_asked_for_again(damaged: Answer) -> None:
    async with scripted(damaged, Answer(body=page()), attempt_count=2) as (store, script):
        assert [found async for found in store.list_objects("b", "")] == [ListingPage((), is_last=True)]
    assert len(script.asked) == 2


@pytest.mark.parametrize("said", [refusal(404, "NoSuchBucket"), refusal(403, "AccessDenied"), Answer(404)])
async def test_a_bucket_that_may_not_be_listed_is_told_apart_from_an_empty_one(said: Answer) -> None:
    async with scripted(said) as (store, _):
        with pytest.raises(ObjectUnreadable):
            async for _ in store.list_objects("b", ""):
                pass
