"""From a row of the index to canonical octets."""

import bz2
import gzip
import lzma

import pytest
import zstandard

from bridge.maildrop.errors import ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import IndexedMessage
from tests.maildrop.house import MAILDROP_ID, House, mail

LONG = mail(1, b".dot\n" + b"a line\n" * 60_000)
CANONICAL = LONG.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def indexed(house: House, key: str, stored: bytes) -> IndexedMessage:
    house.store.put(key, stored)
    await house.sync()
    snapshot = await house.index.load_snapshot(MAILDROP_ID)
    [row] = await house.index.messages(MAILDROP_ID, snapshot.message_ids(1, 1))
    house.store.calls.clear()
    return row


async def read(house: House, message: IndexedMessage, body_lines: int | None = None) -> bytes:
    async with house.reader.open(message, body_lines=body_lines) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "stored",
    [
        LONG,
        CANONICAL,
        gzip.compress(LONG),
        bz2.compress(LONG),
        lzma.compress(LONG),
        zstandard.ZstdCompressor().compress(LONG),
    ],
)
async def test_a_message_is_read_as_it_was_measured_however_it_is_stored(stored: bytes) -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", stored)
    assert await read(house, message) == CANONICAL
    assert message.octets == len(CANONICAL)
    assert house.store.open_body_count == 0


async def test_an_empty_message_has_no_octets_and_costs_no_read() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", b"")
    assert await read(house, message) == b""
    assert house.store.calls == []


async def test_a_broken_read_goes_on_at_the_next_octet() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    house.store.break_off("alice/1.eml", 100_000, 50_000, 0, 150_000)
    assert await read(house, message) == CANONICAL
    assert house.store.calls == [("get", "alice/1.eml")] * 5


async def test_a_compressed_message_goes_on_too() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", gzip.compress(LONG))
    house.store.break_off("alice/1.eml", 50, 50)
    assert await read(house, message) == CANONICAL


async def test_three_failures_without_an_octet_between_them_are_told() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    house.store.break_off("alice/1.eml", 100_000, 0, 0)
    with pytest.raises(StoreUnavailable):
        await read(house, message)
    assert house.store.open_body_count == 0


@pytest.mark.parametrize("error", [ObjectGone("x"), ObjectChanged("x"), ObjectUnreadable("x")])
async def test_what_a_retry_cannot_cure_is_told_before_anything_is_promised(error: Exception) -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    house.store.fail("get", error)
    with pytest.raises(type(error)):
        async with house.reader.open(message, body_lines=None):
            pytest.fail("nothing was there to be promised")
    assert house.store.calls == [("get", "alice/1.eml")]


async def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed_with_the_new_one() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    house.store.break_off("alice/1.eml", 100_000)
    taken = b""
    with pytest.raises(ObjectChanged):
        async with house.reader.open(message, body_lines=None) as chunks:
            async for chunk in chunks:
                taken += chunk
                house.store.put("alice/1.eml", b"other\r\n" * 100_000)
    assert CANONICAL.startswith(taken.removesuffix(b"\r"))


async def test_top_of_no_line_reads_the_header_alone() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    async with house.reader.open(message, body_lines=0) as chunks:
        assert await anext(chunks) == CANONICAL[: message.header_octets]
    assert house.store.calls == [("get", "alice/1.eml")]


async def test_top_reads_on_in_growing_steps_only_as_long_as_it_is_asked() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", mail(1, b"x" * 100_000 + b"\r\nend\r\n"))
    async with house.reader.open(message, body_lines=1) as chunks:
        first = await anext(chunks)
        assert len(first) == message.header_octets + 100
        assert len(house.store.calls) == 1
        rest = b"".join([chunk async for chunk in chunks])
    assert len(first + rest) == message.octets
    assert len(house.store.calls) == 4


async def test_a_reader_that_leaves_early_leaves_no_connection_open() -> None:
    house = House()
    message = await indexed(house, "alice/1.eml", LONG)
    async with house.reader.open(message, body_lines=None) as chunks:
        await anext(chunks)
    assert house.store.open_body_count == 0
