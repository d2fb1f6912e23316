from uuid import uuid4

import pytest

from bridge.ids import ViewId
from bridge.maildrop.errors import LeaseLost, LoginTooSoon, MaildropInUse, NoSuchMaildrop
from bridge.maildrop.model import LockPolicy, Renewal
from tests.contract.rig import Rig, new_message


@pytest.mark.parametrize("policy", list(LockPolicy))
async def test_a_held_view_is_refused_to_a_second_session_and_the_policy_is_said(rig: Rig, policy: LockPolicy) -> None:
    account = await rig.make_account("alice", lock_policy=policy)
    await rig.acquire(account)
    with pytest.raises(MaildropInUse) as refused:
        await rig.acquire(account)
    assert refused.value.lock_policy is policy


async def test_each_lease_has_a_higher_token_than_the_one_before(rig: Rig) -> None:
    account = await rig.make_account()
    first = await rig.lease(account)
    await rig.leases.release(first, by_quit=True)
    second = await rig.lease(account)
    assert second.fencing_token > first.fencing_token
    assert second.holder != first.holder


async def test_a_holder_whose_answer_was_lost_gets_its_lease_when_it_asks_again(rig: Rig) -> None:
    account = await rig.make_account()
    lease = await rig.lease(account)
    again = await rig.leases.acquire(
        account.maildrop_id, account.view_id, lease.holder, lease_duration_s=60, login_delay_s=0, takeover_idle_s=120
    )
    assert again.lease.holder == lease.holder
    assert again.lease.fencing_token > lease.fencing_token


async def test_an_expired_lease_is_anybodys(rig: Rig) -> None:
    account = await rig.make_account()
    await rig.lease(account)
    await rig.pass_time(59)
    with pytest.raises(MaildropInUse):
        await rig.acquire(account)
    await rig.pass_time(2)
    await rig.acquire(account)


async def test_renewing_keeps_a_lease_alive_and_an_expired_one_that_nobody_took_as_well(rig: Rig) -> None:
    account = await rig.make_account()
    lease = await rig.lease(account)
    for _ in range(3):
        await rig.pass_time(50)
        renewal = await rig.leases.renew([lease], idle_s=[0], lease_duration_s=60)
        assert renewal == Renewal(frozenset({lease.holder}), frozenset())
    await rig.pass_time(300)
    assert lease.holder in (await rig.leases.renew([lease], idle_s=[0], lease_duration_s=60)).kept
    with pytest.raises(MaildropInUse):
        await rig.acquire(account)


async def test_one_renewal_tells_the_kept_from_the_lost(rig: Rig) -> None:
    alice, bob, carol = [await rig.make_account(name) for name in ("alice", "bob", "carol")]
    leases = [await rig.lease(account) for account in (alice, bob, carol)]
    await rig.pass_time(61)
    await rig.lease(bob)
    await rig.leases.break_lease(carol.maildrop_id, carol.view_id)

    renewal = await rig.leases.renew(leases, idle_s=[0, 0, 0], lease_duration_s=60)
    assert renewal == Renewal(frozenset({leases[0].holder}), frozenset({leases[1].holder, leases[2].holder}))


async def test_a_lease_of_a_maildrop_that_was_deleted_is_lost(rig: Rig) -> None:
    account = await rig.make_account()
    lease = await rig.lease(account)
    await rig.accounts.delete_account(account.account_id)
    assert (await rig.leases.renew([lease], idle_s=[0], lease_duration_s=60)).lost == {lease.holder}


async def test_a_silent_holder_is_taken_over_only_where_the_policy_says_so(rig: Rig) -> None:
    takeover = await rig.make_account("alice", lock_policy="takeover")
    refuse = await rig.make_account("bob")
    leases = [await rig.lease(takeover), await rig.lease(refuse)]
    await rig.leases.renew(leases, idle_s=[119, 119], lease_duration_s=600)
    with pytest.raises(MaildropInUse):
        await rig.acquire(takeover, takeover_idle_s=120)
    await rig.pass_time(2)
    await rig.acquire(takeover, takeover_idle_s=120)
    with pytest.raises(MaildropInUse):
        await rig.acquire(refuse, takeover_idle_s=120)


async def test_an_active_holder_is_not_taken_over(rig: Rig) -> None:
    account = await rig.make_account("alice", lock_policy="takeover")
    lease = await rig.lease(account)
    await rig.pass_time(200)
    await rig.leases.renew([lease], idle_s=[3], lease_duration_s=60)
    with pytest.raises(MaildropInUse):
        await rig.acquire(account, takeover_idle_s=120)


async def test_the_login_delay_counts_from_the_last_quit(rig: Rig) -> None:
    account = await rig.make_account()
    await rig.leases.release(await rig.lease(account), by_quit=False)
    lease = (await rig.acquire(account, login_delay_s=100)).lease
    await rig.leases.release(lease, by_quit=True)
    await rig.pass_time(99)
    with pytest.raises(LoginTooSoon):
        await rig.acquire(account, login_delay_s=100)
    await rig.pass_time(2)
    await rig.acquire(account, login_delay_s=100)


async def test_a_zombie_can_neither_renew_nor_remove_nor_release(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message())
    zombie = await rig.lease(account)
    await rig.pass_time(61)
    heir = await rig.lease(account)

    assert (await rig.leases.renew([zombie], idle_s=[0], lease_duration_s=60)).lost == {zombie.holder}
    with pytest.raises(LeaseLost):
        await rig.index.remove_messages(zombie, ids, claim_duration_s=30)
    await rig.leases.release(zombie, by_quit=True)

    assert await rig.ids(account) == ids
    with pytest.raises(MaildropInUse):
        await rig.acquire(account)
    assert len(await rig.index.remove_messages(heir, ids, claim_duration_s=30)) == 1


async def test_a_right_token_with_another_holder_is_no_fence(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message())
    lease = await rig.lease(account)
    forged = type(lease)(lease.maildrop_id, lease.view_id, uuid4(), lease.fencing_token)

    assert (await rig.leases.renew([forged], idle_s=[0], lease_duration_s=60)).lost == {forged.holder}
    with pytest.raises(LeaseLost):
        await rig.index.remove_messages(forged, ids, claim_duration_s=30)


async def test_a_broken_lease_frees_the_view_and_its_holder_can_remove_nothing(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message())
    lease = await rig.lease(account)

    assert await rig.leases.break_lease(account.maildrop_id, account.view_id)
    assert not await rig.leases.break_lease(account.maildrop_id, account.view_id)
    with pytest.raises(LeaseLost):
        await rig.index.remove_messages(lease, ids, claim_duration_s=30)
    await rig.acquire(account)


async def test_an_unknown_view_is_said_to_be_unknown(rig: Rig) -> None:
    account = await rig.make_account()
    with pytest.raises(NoSuchMaildrop):
        await rig.leases.acquire(
            account.maildrop_id, ViewId(999), uuid4(), lease_duration_s=60, login_delay_s=0, takeover_idle_s=120
        )


async def test_a_login_hears_how_old_the_last_whole_listing_is(rig: Rig) -> None:
    account = await rig.make_account()
    acquired = await rig.acquire(account)
    assert acquired.sync_age_s is None
    await rig.leases.release(acquired.lease, by_quit=True)

    await rig.index.end_sync(account.maildrop_id, await rig.index.begin_sync(account.maildrop_id))
    await rig.pass_time(100)
    acquired = await rig.acquire(account)
    assert acquired.sync_age_s is not None and 100 <= acquired.sync_age_s < 110
    assert acquired.maildrop.is_indexed


async def test_operators_see_held_leases_oldest_login_first(rig: Rig) -> None:
    bob = await rig.make_account("bob")
    await rig.make_account("also-bob", key_prefix="bob/")
    alice = await rig.make_account("alice")
    lease = await rig.lease(bob)
    await rig.pass_time(100)
    await rig.lease(alice)

    first, second = await rig.leases.open_leases(limit=10)
    assert (first.holder, first.fencing_token) == (lease.holder, lease.fencing_token)
    assert (first.login_names, first.view_name, second.login_names) == (("also-bob", "bob"), "", ("alice",))
    assert 100 <= first.held_s < 110 and 100 <= first.idle_s < 110
    assert -50 < first.expires_in_s <= -40 < 0 < second.expires_in_s <= 60
    assert len(await rig.leases.open_leases(limit=1)) == 1
    await rig.leases.release(lease, by_quit=True)
    assert [one.login_names for one in await rig.leases.open_leases(limit=10)] == [("alice",)]


async def test_a_lease_whose_token_is_unknown_is_freed_by_its_holder_alone(rig: Rig) -> None:
    account = await rig.make_account()
    lease = await rig.lease(account)
    await rig.leases.abandon(account.maildrop_id, account.view_id, uuid4())
    with pytest.raises(MaildropInUse):
        await rig.acquire(account)
    await rig.leases.abandon(account.maildrop_id, account.view_id, lease.holder)
    await rig.acquire(account)
