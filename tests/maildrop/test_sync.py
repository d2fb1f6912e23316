"""Keeping the index in step with the bucket."""

import asyncio
import gzip

import pytest

from bridge.maildrop.errors import MaildropBeingPrepared, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.layouts import NotAMessage
from bridge.maildrop.model import DeleteResult, History, RemovalPolicy
from tests.maildrop.house import MAILDROP_ID, House, mail

_FAILED = (DeleteResult.FAILED, "try again")


async def test_what_lies_under_the_prefix_becomes_messages_oldest_first() -> None:
    house = House()
    for number in (3, 1, 2):
        house.store.put(f"alice/{number}.eml", mail(number))
    house.store.put("bob/1.eml", mail(9))
    report = await house.sync()
    assert (report.listed_count, report.added_count, report.is_complete) == (3, 3, True)
    snapshot = await house.index.load_snapshot(MAILDROP_ID)
    rows = await house.index.messages(MAILDROP_ID, snapshot.message_ids(1, 3))
    assert [row.ref.key for row in rows] == ["alice/3.eml", "alice/1.eml", "alice/2.eml"]


async def test_an_unchanged_bucket_reads_nothing_again() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    version = house.tables.maildrop(MAILDROP_ID).index_version
    house.store.calls.clear()
    report = await house.sync()
    assert house.store.calls == [("list", "alice/")]
    assert report.is_complete
    assert house.tables.maildrop(MAILDROP_ID).index_version == version


async def test_what_is_no_message_is_counted_by_its_reason() -> None:
    house = House()
    house.store.put("alice/", b"")
    house.store.put("alice/sub/", b"")
    house.store.put("alice/AMAZON_SES_SETUP_NOTIFICATION", b"x")
    report = await house.sync()
    assert report.skipped == {NotAMessage.FOLDER_MARKER: 2, NotAMessage.SES_SETUP: 1}
    assert await house.uidls() == []


async def test_a_listing_of_many_pages_is_taken_whole() -> None:
    house = House()
    house.store.page_count = 7
    for number in range(50):
        house.store.put(f"alice/{number}.eml", mail(number))
    assert (await house.sync()).added_count == 50


async def test_a_listing_that_breaks_off_changes_nothing() -> None:
    house = House()
    house.store.page_count = 1
    for number in range(3):
        house.store.put(f"alice/{number}.eml", mail(number))
    await house.sync()
    before = await house.uidls()
    house.store.remove("alice/1.eml")
    house.store.fail("list", StoreUnavailable("slow down"), key="alice/")
    with pytest.raises(StoreUnavailable):
        await house.sync()
    assert await house.uidls() == before


async def test_the_same_text_under_a_new_etag_keeps_its_uidl() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    before = await house.uidls()
    house.store.put("alice/1.eml", mail(1), etag="another")
    report = await house.sync()
    assert (report.refreshed_count, report.added_count) == (1, 0)
    assert await house.uidls() == before


async def test_other_text_under_an_old_key_is_another_message() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    before = await house.uidls()
    house.store.put("alice/1.eml", mail(2))
    await house.sync()
    [after] = await house.uidls()
    assert after != before[0]


async def test_a_message_that_vanished_and_returned_has_its_uidl_again() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    before = await house.uidls()
    house.store.remove("alice/1.eml")
    assert (await house.sync()).vanished_count == 1
    assert await house.uidls() == []
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    assert await house.uidls() == before


async def test_a_message_that_only_the_listing_has_lost_stays() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    before = await house.uidls()
    store, hidden = house.store, house.store._objects.pop(("mail", "alice/1.eml"))

    class Forgetful:
        """Lists without the object that a HEAD still finds."""

        def __getattr__(self, name: str):
            return getattr(store, name)

        async def describe_object(self, bucket: str, key: str):
            return hidden.described(bucket, key)

    house.store = Forgetful()
    house.syncer = house.make_syncer()
    assert (await house.sync()).vanished_count == 0
    assert await house.uidls() == before


async def test_a_mass_loss_changes_nothing_until_it_is_confirmed() -> None:
    house = House()
    for number in range(30):
        house.store.put(f"alice/{number:02}.eml", mail(number))
    await house.sync()
    for number in range(25):
        house.store.remove(f"alice/{number:02}.eml")
    report = await house.sync()
    assert (report.held_count, report.vanished_count) == (25, 0)
    assert len(await house.uidls()) == 30
    report = await house.syncer.accept_loss(MAILDROP_ID)
    assert (report.held_count, report.vanished_count) == (0, 25)
    assert len(await house.uidls()) == 5


async def test_twenty_messages_may_vanish_at_once() -> None:
    house = House()
    for number in range(20):
        house.store.put(f"alice/{number:02}.eml", mail(number))
    await house.sync()
    for number in range(20):
        house.store.remove(f"alice/{number:02}.eml")
    assert (await house.sync()).vanished_count == 20


async def test_an_object_that_may_not_be_read_is_counted_and_not_asked_for_again() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    house.store.put("alice/2.eml", mail(2))
    house.store.fail("get", ObjectUnreadable("access denied"), key="alice/1.eml")
    report = await house.sync()
    assert (report.unreadable_count, report.added_count, report.is_complete) == (1, 1, True)
    house.store.calls.clear()
    report = await house.sync()
    assert (report.unreadable_count, house.store.calls) == (1, [("list", "alice/")])


@pytest.mark.parametrize("history", list(History))
async def test_a_mailbox_that_may_not_be_read_is_not_served_as_empty(history: History) -> None:
    house = House(history=history)
    house.store.put("alice/1.eml", mail(1))
    house.store.fail("get", ObjectUnreadable("access denied"))
    for _ in range(2):
        with pytest.raises(MaildropBeingPrepared):
            async with house.open():
                pytest.fail("clients would forget their UIDLs")


async def test_a_mailbox_with_a_past_waits_until_each_of_its_messages_may_be_read() -> None:
    house = House(history=History.EXISTING)
    house.store.put("alice/1.eml", mail(1))
    house.store.put("alice/2.eml", mail(2))
    house.store.fail("get", ObjectUnreadable("access denied"), key="alice/1.eml")
    report = await house.sync()
    assert (report.denied_count, report.is_complete) == (1, False)
    house.syncer = house.make_syncer()  # ten minutes later, as another process has it
    assert (await house.sync()).is_complete


async def test_many_messages_that_change_at_once_keep_their_uidls_until_it_is_confirmed() -> None:
    house = House()
    for number in range(30):
        house.store.put(f"alice/{number:02}.eml", mail(number))
    await house.sync()
    before = await house.uidls()
    for number in range(25):
        house.store.put(f"alice/{number:02}.eml", b"X-Scanned: yes\r\n" + mail(number))
    report = await house.sync()
    assert (report.held_count, report.added_count, report.is_complete) == (25, 0, False)
    assert await house.uidls() == before
    house.store.calls.clear()
    assert (await house.sync()).held_count == 25
    assert house.store.calls == [("list", "alice/")]  # they are not read at every login
    report = await house.syncer.accept_loss(MAILDROP_ID)
    assert report.added_count == 25
    assert len(set(before) & set(await house.uidls())) == 5


async def test_who_comes_while_a_sync_is_being_stopped_gets_one_of_its_own() -> None:
    house = House()
    listing, ending, store = asyncio.Event(), asyncio.Event(), house.store
    store.put("alice/1.eml", mail(1))

    class Slow:
        """The first listing hangs, and takes its time to stop."""

        is_first = True

        def __getattr__(self, name: str):
            return getattr(store, name)

        async def list_objects(self, bucket: str, prefix: str):
            if self.is_first:
                self.is_first = False
                listing.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await ending.wait()
            async for page in store.list_objects(bucket, prefix):
                yield page

    house.store = Slow()
    house.syncer = house.make_syncer()
    login = asyncio.create_task(house.sync())
    await listing.wait()
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    assert (await house.sync()).added_count == 1
    ending.set()
    await house.syncer.close()


async def test_ciphertext_is_never_a_message() -> None:
    house = House()
    house.store.put("alice/1.eml", b"\x00\x01\x02", metadata={"x-amz-key-v2": "k", "x-amz-iv": "i"})
    report = await house.sync()
    assert report.unreadable_count == 1
    assert await house.uidls() == []


async def test_what_does_not_decompress_is_never_a_message() -> None:
    house = House()
    house.store.put("alice/1.eml.gz", gzip.compress(mail(1))[:-4])
    assert (await house.sync()).unreadable_count == 1


async def test_a_store_in_trouble_for_one_object_leaves_the_sync_incomplete_and_the_rest_indexed() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    house.store.put("alice/2.eml", mail(2))
    house.store.fail("get", StoreUnavailable("slow down"), key="alice/1.eml")
    report = await house.sync()
    assert (report.added_count, report.is_complete) == (1, False)
    assert MAILDROP_ID not in house.tables.synced_at
    report = await house.sync()
    assert (report.added_count, report.is_complete) == (1, True)


async def test_an_object_that_goes_between_listing_and_reading_is_left_out() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))

    class Late:
        """The object is listed, and gone before it is read."""

        def __getattr__(self, name: str):
            return getattr(store, name)

        def open_object(self, bucket: str, key: str, **more):
            if ("mail", key) in store._objects:
                store.remove(key)
            return store.open_object(bucket, key, **more)

    store = house.store
    house.store = Late()
    house.syncer = house.make_syncer()
    report = await house.sync()
    assert (report.added_count, report.is_complete) == (0, True)


async def test_a_removed_message_stays_removed_whatever_is_listed() -> None:
    house = House()
    ref = house.store.put("alice/1.eml", mail(1))
    await house.sync()
    async with house.open() as opened:
        house.store.answer_delete(ref.key, *_FAILED)
        await opened.remove([1])
    assert house.store.keys() == ["alice/1.eml"]
    await house.sync()
    assert await house.uidls() == []


async def test_a_removed_message_that_was_copied_onto_itself_is_queued_for_its_new_etag() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    async with house.open() as opened:
        house.store.answer_delete("alice/1.eml", *_FAILED)
        await opened.remove([1])
    house.store.put("alice/1.eml", mail(1), etag="another")
    await house.sync()
    assert await house.uidls() == []
    house.store._delete_answers.clear()
    house.tables.clock.pass_time(10_000)
    await house.worker.run_once()
    assert house.store.keys() == []


async def test_a_hidden_message_stays_hidden_as_long_as_its_object_stands() -> None:
    house = House()
    house.set_policy(RemovalPolicy.HIDE)
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    async with house.open() as opened:
        await opened.remove([1])
    house.tables.clock.pass_time(10_000_000)
    await house.worker.run_once()
    await house.sync()
    assert house.store.keys() == ["alice/1.eml"]
    assert await house.uidls() == []


async def test_other_mail_under_the_key_of_a_hidden_message_is_a_new_message() -> None:
    house = House()
    house.set_policy(RemovalPolicy.HIDE)
    house.store.put("alice/1.eml", mail(1))
    await house.sync()
    async with house.open() as opened:
        await opened.remove([1])
    house.store.put("alice/1.eml", mail(1), etag="another")
    await house.sync()
    assert await house.uidls() == []
    house.store.calls.clear()
    await house.sync()
    assert house.store.calls == [("list", "alice/")]  # the hidden text is not read at every login
    house.store.put("alice/1.eml", mail(2))
    await house.sync()
    assert len(await house.uidls()) == 1


async def test_a_slow_sync_does_not_bring_back_what_was_removed_meanwhile() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    measured, go, index = asyncio.Event(), asyncio.Event(), house.index

    class Late:
        """Another process: it has listed and measured, and writes much later."""

        def __getattr__(self, name: str):
            return getattr(index, name)

        async def apply_changes(self, *given):
            measured.set()
            await go.wait()
            return await index.apply_changes(*given)

    house.index = Late()
    late = house.make_syncer()
    house.index = index
    writing = asyncio.create_task(late.sync(MAILDROP_ID, budget_s=30))
    await measured.wait()
    async with house.open() as opened:
        await opened.remove([1])
    assert house.store.keys() == []
    go.set()
    await writing
    assert await house.uidls() == []


async def test_logins_that_come_together_share_listings_that_began_no_earlier_than_they() -> None:
    house = House()
    house.store.put("alice/1.eml", mail(1))
    await asyncio.gather(*(house.sync() for _ in range(5)))
    assert house.store.calls.count(("list", "alice/")) == 2


async def test_a_sync_that_nobody_waits_for_any_more_is_stopped() -> None:
    house = House()
    listing, store = asyncio.Event(), house.store
    ended = asyncio.Event()

    class Slow:
        def __getattr__(self, name: str):
            return getattr(store, name)

        async def list_objects(self, bucket: str, prefix: str):
            listing.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            yield

    house.store = Slow()
    house.syncer = house.make_syncer()
    login = asyncio.create_task(house.sync())
    await listing.wait()
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_login_whose_budget_ran_out_leaves_the_sync_going() -> None:
    house = House()
    go, store = asyncio.Event(), house.store
    store.put("alice/1.eml", mail(1))

    class Slow:
        def __getattr__(self, name: str):
            return getattr(store, name)

        async def list_objects(self, bucket: str, prefix: str):
            await go.wait()
            async for page in store.list_objects(bucket, prefix):
                yield page

    house.store = Slow()
    house.syncer = house.make_syncer()
    assert await house.syncer.sync(MAILDROP_ID, budget_s=0) is None
    go.set()
    assert (await house.sync()).added_count == 0
    assert [report.added_count for report in house.reports] == [1, 0]
