"""The worker: whatever crashed before, running it once more reaches the same end."""

import pytest

from bridge.maildrop.errors import StoreUnavailable
from bridge.maildrop.model import DeleteResult, RowState
from tests.maildrop.house import MAILDROP_ID, House, mail


async def removed(house: House, *numbers: int) -> None:
    """Decided, and the process died right behind the commit."""
    async with house.service.open(MAILDROP_ID, house.view.view_id, login_delay_s=0) as opened:
        ids = [opened.snapshot.message_id(number) for number in numbers]
        await house.index.remove_messages(opened._held.lease, ids, claim_duration_s=30)
    house.tables.clock.pass_time(31)


def states(house: House) -> list[RowState]:
    return [row.state for row in house.tables.messages[MAILDROP_ID].values()]


def filled(count: int) -> House:
    house = House()
    for number in range(1, count + 1):
        house.store.put(f"alice/{number:04}.eml", mail(number))
    return house


async def test_a_decided_removal_is_done_by_the_worker() -> None:
    house = filled(3)
    await removed(house, 1, 2)
    assert await house.worker.run_once() == 2
    assert house.store.keys() == ["alice/0003.eml"]
    assert states(house) == [RowState.CONFIRMED, RowState.CONFIRMED, RowState.LIVE]
    assert await house.worker.run_once() == 0


async def test_a_claim_keeps_a_second_worker_away_until_it_runs_out() -> None:
    house = filled(1)
    await removed(house, 1)
    await house.outbox.claim(limit=10, claim_duration_s=60)
    assert await house.worker.run_once() == 0
    house.tables.clock.pass_time(61)
    assert await house.worker.run_once() == 1


async def test_an_object_that_went_before_is_done() -> None:
    house = filled(1)
    await removed(house, 1)
    house.store.remove("alice/0001.eml")
    await house.worker.run_once()
    assert states(house) == [RowState.CONFIRMED]


async def test_an_object_that_was_replaced_is_not_deleted_and_is_a_new_message() -> None:
    house = filled(1)
    await house.sync()
    before = await house.uidls()
    await removed(house, 1)
    house.store.put("alice/0001.eml", mail(77))
    await house.worker.run_once()
    assert house.store.keys() == ["alice/0001.eml"]
    assert states(house) == [RowState.CONFIRMED]
    await house.sync()
    [after] = await house.uidls()
    assert after != before[0]


async def test_the_same_text_under_a_new_etag_is_still_the_removed_message() -> None:
    house = filled(1)
    await removed(house, 1)
    house.store.put("alice/0001.eml", mail(1), etag="another")
    await house.worker.run_once()
    assert house.store.keys() == ["alice/0001.eml"]
    await house.worker.run_once()
    assert house.store.keys() == []
    await house.sync()
    assert await house.uidls() == []


async def test_an_object_that_cannot_be_looked_at_now_is_tried_later() -> None:
    house = filled(1)
    await removed(house, 1)
    house.store.put("alice/0001.eml", mail(1), etag="another")
    house.store.fail("head", StoreUnavailable("slow down"))
    await house.worker.run_once()
    assert states(house) == [RowState.REMOVED]
    house.tables.clock.pass_time(10)
    await house.worker.run_once()
    await house.worker.run_once()
    assert house.store.keys() == []


async def test_each_failure_doubles_the_wait_up_to_its_limit() -> None:
    house = filled(1)
    await removed(house, 1)
    house.store.answer_delete("alice/0001.eml", DeleteResult.FAILED, "slow down")
    waits = []
    for _ in range(12):
        assert await house.worker.run_once() == 1
        [row] = house.tables.messages[MAILDROP_ID].values()
        waits.append(round((row.removal.due_at - house.tables.clock.now()).total_seconds()))
        house.tables.clock.pass_time(waits[-1] + 1)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]


async def test_what_was_answered_never_comes_back_though_the_store_refuses_for_good() -> None:
    house = filled(3)
    await removed(house, 1, 2, 3)
    house.store.answer_delete("alice/0002.eml", DeleteResult.REFUSED, "access denied")
    await house.worker.run_once()
    assert states(house) == [RowState.CONFIRMED, RowState.REMOVED, RowState.CONFIRMED]
    house.store._delete_answers.clear()
    house.tables.clock.pass_time(3_601)
    await house.worker.run_once()
    assert house.store.keys() == []


async def test_postgres_away_behind_the_delete_is_finished_by_the_next_run() -> None:
    house = filled(1)
    await removed(house, 1)
    claim, house.outbox.claim = house.outbox.claim, None

    async def claim_and_lose(**given):
        removals = await claim(**given)
        house.outbox.is_away = True
        return removals

    house.outbox.claim = claim_and_lose
    with pytest.raises(StoreUnavailable):
        await house.worker.run_once()
    assert house.store.keys() == []
    house.outbox.is_away, house.outbox.claim = False, claim
    house.tables.clock.pass_time(301)
    assert await house.worker.run_once() == 1
    assert states(house) == [RowState.CONFIRMED]


async def test_more_than_a_batch_is_worked_off_batch_by_batch() -> None:
    house = filled(1_001)
    await removed(house, *range(1, 1_002))
    assert await house.worker.run_once() == 1_000
    assert await house.worker.run_once() == 1
    assert house.store.keys() == []


async def test_a_quit_with_five_thousand_deletes_asks_the_store_five_times() -> None:
    house = filled(5_000)
    store, batches = house.store, []

    class Counting:
        def __getattr__(self, name: str):
            return getattr(store, name)

        async def delete_objects(self, refs):
            batches.append(len(refs))
            return await store.delete_objects(refs)

    house.worker._store = Counting()
    async with house.open() as opened:
        assert (await opened.remove(range(1, 5_001))).removed_count == 5_000
    assert batches == [1_000] * 5
    assert store.keys() == []
