from collections.abc import Sequence
from dataclasses import replace

from bridge.accounts.model import Account
from bridge.maildrop.model import ObjectRef, Removal, RemovalBacklog, RequeueRemoval
from tests.contract.rig import BUCKET, Rig, new_message


async def removed(rig: Rig, account: Account, *names: str) -> Sequence[Removal]:
    """Added, removed and claimed by the session for 30 s."""
    ids = await rig.add(account, *[new_message(name) for name in names])
    lease = await rig.lease(account)
    removals = await rig.index.remove_messages(lease, ids, claim_duration_s=30)
    await rig.leases.release(lease, by_quit=True)
    return removals


async def test_a_claimed_removal_is_given_to_nobody_else_until_the_claim_runs_out(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a", "b")
    await rig.pass_time(31)

    first = await rig.outbox.claim(limit=1, claim_duration_s=60)
    second = await rig.outbox.claim(limit=10, claim_duration_s=60)
    assert set(first) | set(second) == set(removals)
    assert len(first) == len(second) == 1
    assert await rig.outbox.claim(limit=10, claim_duration_s=60) == []
    await rig.pass_time(61)
    assert len(await rig.outbox.claim(limit=10, claim_duration_s=60)) == 2


async def test_the_oldest_removals_are_claimed_first(rig: Rig) -> None:
    alice, bob = await rig.make_account("alice"), await rig.make_account("bob")
    await removed(rig, bob, "old")
    await rig.pass_time(100)
    await removed(rig, alice, "young")
    await rig.pass_time(100)
    claimed = await rig.outbox.claim(limit=10, claim_duration_s=60)
    assert [one.maildrop_id for one in claimed] == [bob.maildrop_id, alice.maildrop_id]


async def test_a_completed_removal_is_never_due_again(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a")
    await rig.outbox.complete(removals)
    await rig.outbox.complete(removals)
    await rig.pass_time(10**6)
    assert await rig.outbox.claim(limit=10, claim_duration_s=60) == []
    assert await rig.outbox.backlog() == RemovalBacklog(0, 0.0)


async def test_completing_does_not_touch_what_was_queued_again_for_another_etag(rig: Rig) -> None:
    account = await rig.make_account()
    (removal,) = await removed(rig, account, "a")
    again = RequeueRemoval(removal.message_id, ObjectRef(BUCKET, removal.ref.key, "again"))
    await rig.index.apply_changes(account.maildrop_id, [again])

    await rig.outbox.complete([removal])
    await rig.outbox.postpone([removal], retry_delay_s=600, error="late")
    assert await rig.outbox.put_back([removal], error="late") == 0
    assert [one.ref for one in await rig.outbox.claim(limit=10, claim_duration_s=60)] == [again.ref]


async def test_a_postponed_removal_is_due_after_its_delay_and_counts_the_try(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a")
    await rig.outbox.postpone(removals, retry_delay_s=100, error="SlowDown")
    assert await rig.outbox.claim(limit=10, claim_duration_s=60) == []
    assert (await rig.outbox.backlog()).due_count == 0
    await rig.pass_time(101)
    assert await rig.outbox.claim(limit=10, claim_duration_s=60) == [replace(removals[0], attempt_count=1)]


async def test_a_claim_that_is_handed_over_is_due_at_once_and_counts_no_try(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a", "b")
    await rig.outbox.postpone(removals, retry_delay_s=0, error="")
    assert set(await rig.outbox.claim(limit=10, claim_duration_s=60)) == set(removals)


async def test_what_is_put_back_is_live_again_with_its_uidl_and_its_place(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a", "b")
    before = (await rig.index.maildrop(account.maildrop_id)).index_version

    assert await rig.outbox.put_back(removals, error="AccessDenied") == 2
    assert await rig.outbox.put_back(removals, error="AccessDenied") == 2  # the same once more: still two are live
    assert await rig.ids(account) == [one.message_id for one in removals]
    snapshot = await rig.index.load_snapshot(account.maildrop_id)
    assert list(snapshot.uidl_range(1, 2)) == [new_message("a").uidl, new_message("b").uidl]
    assert snapshot.index_version == before + 1
    await rig.pass_time(10**6)
    assert await rig.outbox.claim(limit=10, claim_duration_s=60) == []
    lease = await rig.lease(account)
    ids = [one.message_id for one in removals]
    assert len(await rig.index.remove_messages(lease, ids, claim_duration_s=30)) == 2


async def test_removals_of_several_maildrops_are_put_back_together(rig: Rig) -> None:
    alice, bob = await rig.make_account("alice"), await rig.make_account("bob")
    removals = [*await removed(rig, alice, "a"), *await removed(rig, bob, "b")]
    assert await rig.outbox.put_back(removals, error="AccessDenied") == 2
    assert len(await rig.ids(alice)) == len(await rig.ids(bob)) == 1


async def test_what_is_confirmed_gone_is_not_put_back(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a")
    await rig.outbox.complete(removals)
    assert await rig.outbox.put_back(removals, error="AccessDenied") == 0
    assert await rig.ids(account) == []


async def test_the_backlog_is_as_old_as_its_oldest_decision_however_often_it_was_postponed(rig: Rig) -> None:
    account = await rig.make_account()
    removals = await removed(rig, account, "a")
    await rig.pass_time(1000)
    await rig.outbox.postpone(removals, retry_delay_s=10, error="SlowDown")
    await rig.pass_time(11)
    backlog = await rig.outbox.backlog()
    assert backlog.due_count == 1
    assert 1011 <= backlog.oldest_age_s < 1020
