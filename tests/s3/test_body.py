import asyncio

import pytest

from bridge.maildrop.errors import ObjectChanged, StoreUnavailable
from tests.s3.scripted import Answer, found, scripted


async def read(store, chunk_octets: int = 65_536, *, etag: str | None = None, **span: int) -> bytes:
    async with store.open_object("b", "k", etag=etag, **span) as body:
        return b"".join([chunk async for chunk in body.chunks(chunk_octets)])


async def test_a_body_that_ends_early_is_never_taken_for_whole() -> None:
    async with scripted(found(b"half", length=8)) as (store, _):
        with pytest.raises(StoreUnavailable):
            await read(store)


async def test_what_came_before_the_break_was_handed_on() -> None:
    async with scripted(found(b"half", length=8)) as (store, _), store.open_object("b", "k", etag=None) as body:
        chunks = aiter(body.chunks(65_536))
        assert await anext(chunks) == b"half"
        with pytest.raises(StoreUnavailable):
            await anext(chunks)


async def test_a_body_that_stalls_is_given_up_in_time() -> None:
    stalled = found(b"half", length=8, is_held_open=True)
    async with scripted(stalled, read_timeout_s=0.1) as (store, script):
        with pytest.raises(StoreUnavailable):
            await read(store)
        await asyncio.wait_for(script.cut_off.wait(), 10)


async def test_an_answer_that_never_begins_is_given_up_in_time() -> None:
    async with scripted(Answer(is_silent=True), read_timeout_s=0.1) as (store, script):
        with pytest.raises(StoreUnavailable):
            await read(store)
        await asyncio.wait_for(script.cut_off.wait(), 10)


async def test_an_answer_that_does_not_say_what_object_it_is_of_is_not_taken() -> None:
    async with scripted(Answer(body=b"mail", length=8, is_held_open=True)) as (store, script):
        with pytest.raises(StoreUnavailable, match="lacks"):
            await read(store)
        await asyncio.wait_for(script.cut_off.wait(), 10)
        with pytest.raises(StoreUnavailable, match="lacks"):
            await store.describe_object("b", "k")


async def test_a_body_left_in_the_middle_is_not_read_to_its_end() -> None:
    async with scripted(found(b"x" * 10, length=50_000_000, is_held_open=True)) as (store, script):
        async with store.open_object("b", "k", etag=None) as body:
            assert await anext(aiter(body.chunks(10))) == b"x" * 10
        await asyncio.wait_for(script.cut_off.wait(), 10)


async def test_a_cancelled_reader_ends_the_connection() -> None:
    async with scripted(found(b"x", length=9, is_held_open=True)) as (store, script):
        has_begun = asyncio.Event()

        async def reader() -> None:
            async with store.open_object("b", "k", etag=None) as body:
                async for _ in body.chunks(10):
                    has_begun.set()

        task = asyncio.create_task(reader())
        await asyncio.wait_for(has_begun.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(script.cut_off.wait(), 10)


async def test_a_store_that_knows_no_ranges_is_found_out() -> None:
    async with scripted(found(b"0123456789")) as (store, _):
        with pytest.raises(StoreUnavailable, match="range"):
            await read(store, first_octet=3)
        with pytest.raises(StoreUnavailable, match="range"):
            await read(store, first_octet=0, octet_count=4)
        assert await read(store, first_octet=0, octet_count=10) == b"0123456789"


async def test_a_range_other_than_the_one_asked_for_is_not_taken() -> None:
    answer = found(b"0123", status=206, headers={"Content-Range": "bytes 0-3/10"})
    async with scripted(answer) as (store, script):
        with pytest.raises(StoreUnavailable, match="range"):
            await read(store, first_octet=4, octet_count=4)
        assert await read(store, first_octet=0, octet_count=4) == b"0123"
    assert [asked.headers["range"] for asked in script.asked] == ["bytes=4-7", "bytes=0-3"]


async def test_a_store_that_knows_no_conditions_is_found_out() -> None:
    async with scripted(found(b"newer", etag="e2")) as (store, script):
        with pytest.raises(ObjectChanged):
            await read(store, etag="e1")
    assert script.asked[0].headers["if-match"] == '"e1"'


async def test_encoded_octets_come_as_they_are() -> None:
    async with scripted(found(b"no gzip at all", headers={"Content-Encoding": "gzip"})) as (store, script):
        assert await read(store) == b"no gzip at all"
    assert script.asked[0].headers["accept-encoding"] == "identity"
