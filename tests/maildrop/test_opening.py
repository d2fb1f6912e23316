"""A session's maildrop, from login to QUIT and every other end."""

import asyncio

import pytest

from bridge.maildrop.errors import (
    LeaseLost,
    MaildropBeingPrepared,
    MaildropInUse,
    ObjectGone,
    ObjectUnreadable,
    StoreUnavailable,
)
from bridge.maildrop.model import DeleteResult, History, RowState
from bridge.maildrop.opening import SnapshotCache
from bridge.maildrop.snapshot import Snapshot
from tests.maildrop.house import LIMIT_S, MAILDROP_ID, House, mail


def filled(count: int, **settings) -> House:
    house = House(**settings)
    for number in range(1, count + 1):
        house.store.put(f"alice/{number:03}.eml", mail(number))
    return house


async def test_the_drop_is_fixed_at_login() -> None:
    house = filled(2)
    async with house.open() as opened:
        house.store.put("alice/later.eml", mail(9))
        await house.sync()
        assert opened.snapshot.count == 2
    async with house.open() as opened:
        assert opened.snapshot.count == 3


async def test_one_session_holds_the_drop_and_leaving_frees_it() -> None:
    house = filled(1)
    async with house.open():
        with pytest.raises(MaildropInUse):
            async with house.open():
                pytest.fail("two sessions")
    async with house.open():
        pass
    assert house.view.last_quit_at is None


async def test_a_login_that_fails_behind_the_lease_gives_it_back() -> None:
    house = filled(1)
    house.store.fail("list", StoreUnavailable("slow down"))
    with pytest.raises(StoreUnavailable):
        async with house.open():
            pytest.fail("a mailbox that was never listed is not shown as empty")
    assert house.view.lease_holder is None


@pytest.mark.parametrize("error", [StoreUnavailable("slow down"), ObjectUnreadable("access denied")])
async def test_with_s3_away_the_index_serves(error: Exception) -> None:
    house = filled(2)
    await house.sync()
    house.store.fail("list", error)
    async with house.open() as opened:
        assert opened.snapshot.count == 2


async def test_a_mailbox_with_a_past_is_not_served_half_indexed() -> None:
    house = filled(3, history=History.EXISTING)
    house.store.fail("get", StoreUnavailable("slow down"), key="alice/002.eml")
    with pytest.raises(MaildropBeingPrepared):
        async with house.open():
            pytest.fail("a client would forget the UIDLs it does not see")
    async with house.open() as opened:
        assert opened.snapshot.count == 3


async def test_a_mailbox_with_a_past_is_served_from_its_index_with_s3_away() -> None:
    house = filled(3, history=History.EXISTING)
    await house.sync()
    house.store.fail("list", StoreUnavailable("slow down"))
    async with house.open() as opened:
        assert opened.snapshot.count == 3


async def test_a_login_soon_after_a_listing_asks_s3_for_nothing() -> None:
    house = filled(1)
    house.service = house.make_service(sync_min_interval_s=60.0)
    async with house.open():
        pass
    house.store.calls.clear()
    async with house.open() as opened:
        assert opened.snapshot.count == 1
    assert house.store.calls == []


async def test_an_unchanged_drop_is_not_loaded_again() -> None:
    house = filled(1)
    async with house.open() as first:
        snapshot = first.snapshot
    async with house.open() as second:
        assert second.snapshot is snapshot
    house.store.put("alice/new.eml", mail(9))
    async with house.open() as third:
        assert third.snapshot.count == 2


async def test_rows_are_fetched_in_runs_and_fit_their_numbers() -> None:
    house = filled(130)
    async with house.open() as opened:
        for number in (1, 64, 65, 130, 2):
            assert (await opened.message(number)).ref.key == f"alice/{number:03}.eml"


async def test_a_row_that_is_gone_is_told() -> None:
    house = filled(1)
    async with house.open() as opened:
        house.tables.messages[MAILDROP_ID].clear()
        with pytest.raises(ObjectGone):
            await opened.message(1)


async def test_removal_deletes_what_was_marked_and_nothing_else() -> None:
    house = filled(3)
    async with house.open() as opened:
        outcome = await opened.remove([1, 3])
        await opened.release(by_quit=True)
    assert (outcome.removed_count, outcome.refused_count) == (2, 0)
    assert house.store.keys() == ["alice/002.eml"]
    assert house.view.last_quit_at is not None
    states = [row.state for row in house.tables.messages[MAILDROP_ID].values()]
    assert states == [RowState.CONFIRMED, RowState.LIVE, RowState.CONFIRMED]


async def test_a_session_whose_lease_another_has_removes_nothing() -> None:
    house = filled(1)
    async with house.open() as opened:
        house.tables.clock.pass_time(61)
        async with house.open():
            with pytest.raises(LeaseLost):
                await opened.remove([1])
    assert house.store.keys() == ["alice/001.eml"]
    assert len(await house.uidls()) == 1


async def test_an_expired_lease_that_nobody_took_still_removes() -> None:
    house = filled(1)
    async with house.open() as opened:
        house.tables.clock.pass_time(10_000)
        await opened.remove([1])
    assert house.store.keys() == []


async def test_what_the_store_refuses_for_good_is_live_again_with_its_uidl() -> None:
    house = filled(2)
    async with house.open() as opened:
        before = await house.uidls()
        house.store.answer_delete("alice/001.eml", DeleteResult.REFUSED, "object lock")
        outcome = await opened.remove([1, 2])
    assert (outcome.removed_count, outcome.refused_count) == (1, 1)
    assert await house.uidls() == before[:1]


async def test_a_refusal_is_told_also_when_the_time_runs_out_behind_it() -> None:
    house = filled(2)
    store = house.store
    store.answer_delete("alice/001.eml", DeleteResult.REFUSED, "object lock")

    class Halting:
        """Hangs at the second batch."""

        count = 0

        def __getattr__(self, name: str):
            return getattr(store, name)

        async def delete_objects(self, refs):
            self.count += 1
            if self.count == 2:
                await asyncio.Event().wait()
            return await store.delete_objects(refs)

    house.worker._store = Halting()
    house.worker._batch_count = 1
    house.service = house.make_service(quit_delete_budget_s=0.05)
    async with house.open() as opened:
        outcome = await opened.remove([1, 2])
    assert (outcome.removed_count, outcome.refused_count) == (1, 1)


async def test_what_cannot_be_deleted_now_is_left_to_the_worker() -> None:
    house = filled(1)
    async with house.open() as opened:
        house.store.answer_delete("alice/001.eml", DeleteResult.FAILED, "slow down")
        assert (await opened.remove([1])).refused_count == 0
    house.store._delete_answers.clear()
    assert await house.worker.run_once() == 0  # not due yet
    house.tables.clock.pass_time(6)
    assert await house.worker.run_once() == 1
    assert house.store.keys() == []


async def test_with_postgres_away_nothing_is_removed() -> None:
    house = filled(1)
    async with house.open() as opened:
        house.index.is_away = True
        with pytest.raises(StoreUnavailable):
            await opened.remove([1])
        house.index.is_away = False
    assert house.store.keys() == ["alice/001.eml"]


async def test_a_removal_that_began_ends_though_its_session_is_cancelled() -> None:
    house = filled(1)
    deciding, go, decided, index = asyncio.Event(), asyncio.Event(), asyncio.Event(), house.index

    class Slow:
        def __getattr__(self, name: str):
            return getattr(index, name)

        async def remove_messages(self, *given, **more):
            deciding.set()
            await go.wait()
            removals = await index.remove_messages(*given, **more)
            decided.set()
            return removals

    house.index = Slow()
    house.service = house.make_service()
    async with house.open() as opened:
        update = asyncio.create_task(opened.remove([1]))
        await deciding.wait()
        update.cancel()
        with pytest.raises(asyncio.CancelledError):
            await update
        go.set()
        async with asyncio.timeout(LIMIT_S):
            await decided.wait()


async def test_a_clear_that_takes_too_long_is_handed_to_the_worker_at_once() -> None:
    house = filled(1)
    store = house.store

    class Hanging:
        def __getattr__(self, name: str):
            return getattr(store, name)

        async def delete_objects(self, refs):
            await asyncio.Event().wait()

    house.worker._store = Hanging()
    house.service = house.make_service(quit_delete_budget_s=0.01)
    async with house.open() as opened:
        assert (await opened.remove([1])).removed_count == 1
    house.worker._store = store
    assert await house.worker.run_once() == 1
    assert house.store.keys() == []


async def test_last_is_what_earlier_sessions_of_the_view_retrieved() -> None:
    house = filled(3)
    async with house.open() as opened:
        assert await opened.last_seen_number() == 0
        opened.note_retrieved(2)
        assert await opened.last_seen_number() == 0  # the session itself knows of its own
    async with house.open() as opened:
        assert await opened.last_seen_number() == 2


def test_the_snapshot_cache_keeps_within_its_memory() -> None:
    cache = SnapshotCache(max_octets=3_000)

    def snapshot(version: int) -> Snapshot:
        column = b"\0" * 8 * 20
        return Snapshot(index_version=version, message_ids=column, octets=column, uidls=b"\n".join([b"u" * 26] * 20))

    size = snapshot(1).memory_octets
    for number in range(1, 10):
        cache.put(number, snapshot(1))
    kept = [number for number in range(1, 10) if cache.get(number, 1)]
    assert kept == list(range(10 - 3_000 // size, 10))
    cache.put(9, snapshot(2))
    assert cache.get(9, 1) is None
    assert cache.get(9, 2) is not None


async def test_a_message_that_was_rewritten_with_the_same_text_is_found_again() -> None:
    house = filled(1)
    async with house.open() as opened:
        known = await opened.message(1)
        assert not await opened.has_moved(1)
        house.store.put("alice/001.eml", mail(1), etag="another")
        await house.sync()
        assert await opened.message(1) == known
        assert await opened.has_moved(1)
        assert (await opened.message(1)).ref.etag == "another"


async def test_a_message_that_is_distrusted_is_measured_anew() -> None:
    house = filled(1)
    async with house.open() as opened:
        before = await house.uidls()
        house.store.calls.clear()
        await opened.distrust(1)
    await house.sync()
    assert ("get", "alice/001.eml") in house.store.calls
    assert await house.uidls() == before
    async with house.open() as opened:
        assert (await opened.message(1)).ref.etag != ""


async def test_closing_waits_for_removals_that_outlived_their_sessions() -> None:
    house = filled(1)
    deciding, go, index = asyncio.Event(), asyncio.Event(), house.index

    class Slow:
        def __getattr__(self, name: str):
            return getattr(index, name)

        async def remove_messages(self, *given, **more):
            deciding.set()
            await go.wait()
            return await index.remove_messages(*given, **more)

    house.index = Slow()
    house.service = house.make_service()
    async with house.open() as opened:
        update = asyncio.create_task(opened.remove([1]))
        await deciding.wait()
        update.cancel()
        closing = asyncio.create_task(house.service.close())
        go.set()
        async with asyncio.timeout(LIMIT_S):
            await closing
    assert house.store.keys() == []
