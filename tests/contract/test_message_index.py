from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.accounts.model import Account
from bridge.ids import MaildropId, MessageId, Uidl, ViewId
from bridge.mail.compression import ContentEncoding
from bridge.mail.mbox import Extent
from bridge.maildrop.errors import LeaseLost, NoSuchMaildrop
from bridge.maildrop.model import (
    AddMessage,
    NewMessage,
    ObjectRef,
    RefreshMessage,
    RemovalPolicy,
    ReplaceMessage,
    RequeueRemoval,
    RowState,
    VanishMessage,
)
from tests.contract.rig import BUCKET, Rig, listed, new_message

OTHER_TEXT = b"Subject: y\r\n\r\nother\r\n"


async def remove(rig: Rig, account: Account, *ids: MessageId) -> None:
    lease = await rig.lease(account)
    await rig.index.remove_messages(lease, ids, claim_duration_s=30)
    await rig.leases.release(lease, by_quit=True)


async def confirm(rig: Rig) -> None:
    await rig.pass_time(31)
    await rig.outbox.complete(await rig.outbox.claim(limit=1000, claim_duration_s=30))


async def version(rig: Rig, account: Account) -> int:
    return (await rig.index.maildrop(account.maildrop_id)).index_version


# Adding and reading


async def test_a_message_is_read_back_as_it_was_measured(rig: Rig) -> None:
    account = await rig.make_account()
    new = new_message("m1", "Subject: ä\n\n.dot\n".encode())
    new = replace(
        new,
        ref=ObjectRef(BUCKET, "alice/m1", "etag", "version"),
        extent=Extent(5, 7),
        encoding=ContentEncoding.GZIP,
        stored_octets=2**40,
    )
    (message_id,) = await rig.add(account, new)

    (row,) = await rig.index.messages(account.maildrop_id, [message_id])
    assert (row.message_id, row.uidl, row.ref) == (message_id, new.uidl, new.ref)
    assert (row.extent, row.encoding, row.stored_octets) == (new.extent, new.encoding, new.stored_octets)
    for name in ("octets", "header_octets", "text_octets", "text_header_octets"):
        assert getattr(row, name) == getattr(new.measure, name)
    for name in ("is_canonical", "has_dot_lines", "has_utf8_headers"):
        assert getattr(row, name) == getattr(new.measure, name)


async def test_messages_come_in_the_order_asked_and_missing_ids_are_left_out(rig: Rig) -> None:
    account = await rig.make_account()
    first, second = await rig.add(account, new_message("a"), new_message("b"))
    rows = await rig.index.messages(account.maildrop_id, [second, MessageId(10**9), first])
    assert [row.message_id for row in rows] == [second, first]


async def test_messages_of_another_maildrop_are_not_there(rig: Rig) -> None:
    alice, bob = await rig.make_account("alice"), await rig.make_account("bob")
    ids = await rig.add(alice, new_message())
    assert await rig.index.messages(bob.maildrop_id, ids) == []


async def test_a_drop_is_ordered_by_arrival_then_identity_and_part_byte_wise(rig: Rig) -> None:
    account = await rig.make_account()
    messages = [
        new_message("é"),
        new_message("a-b"),
        new_message("a.b"),
        new_message("B", part=2),
        new_message("B", part=10),
        new_message("a/b"),
        new_message("z", age_s=5),
        new_message("a"),
    ]
    await rig.add(account, *messages)

    snapshot = await rig.index.load_snapshot(account.maildrop_id)
    expected = sorted(messages, key=lambda one: (one.arrived_at, one.identity.encode(), one.part))
    assert list(snapshot.uidl_range(1, snapshot.count)) == [one.uidl for one in expected]
    assert list(snapshot.octets_range(1, 8)) == [one.measure.octets for one in expected]
    assert expected[0].identity == "z" and expected[-1].identity == "é"


async def test_an_empty_drop_is_a_snapshot_too_and_an_unknown_one_is_not(rig: Rig) -> None:
    account = await rig.make_account()
    snapshot = await rig.index.load_snapshot(account.maildrop_id)
    assert (snapshot.count, snapshot.total_octets, snapshot.index_version) == (0, 0, 0)
    for unknown in (rig.index.load_snapshot, rig.index.maildrop, rig.index.begin_sync):
        with pytest.raises(NoSuchMaildrop):
            await unknown(MaildropId(999))
    with pytest.raises(NoSuchMaildrop):
        await rig.index.apply_changes(MaildropId(999), [])


async def test_adding_twice_adds_once_and_the_version_grows_only_with_a_change(rig: Rig) -> None:
    account = await rig.make_account()
    changes = [AddMessage(new_message("a")), AddMessage(new_message("b"))]
    first = await rig.index.apply_changes(account.maildrop_id, changes)
    second = await rig.index.apply_changes(account.maildrop_id, changes)

    assert (first.added_count, first.uidl_taken) == (2, ())
    assert (second.added_count, second.uidl_taken) == (0, ())
    assert await version(rig, account) == 1
    assert (await rig.index.load_snapshot(account.maildrop_id)).index_version == 1
    assert len(await rig.ids(account)) == 2


async def test_one_identity_listed_under_two_keys_becomes_one_message(rig: Rig) -> None:
    account = await rig.make_account()
    report = await rig.index.apply_changes(
        account.maildrop_id,
        [AddMessage(new_message("m", key="alice/new/m")), AddMessage(new_message("m", key="alice/cur/m:2,S"))],
    )
    assert (report.added_count, report.uidl_taken) == (1, ())


async def test_a_uidl_of_another_row_is_not_given_again_and_that_is_said(rig: Rig) -> None:
    account = await rig.make_account()
    (first,) = await rig.add(account, new_message("a", uidl="taken"))
    clash = new_message("b", uidl="taken")
    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(clash), AddMessage(new_message("c"))])
    assert (report.added_count, report.uidl_taken) == (1, (clash,))

    await remove(rig, account, first)
    await confirm(rig)
    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(clash)])
    assert (report.added_count, report.uidl_taken) == (0, (clash,))


async def test_two_new_messages_with_one_uidl_are_not_both_taken_in(rig: Rig) -> None:
    account = await rig.make_account()
    first, second = new_message("a", uidl="same"), new_message("b", uidl="same")
    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(first), AddMessage(second)])
    assert (report.added_count, report.uidl_taken) == (1, (second,))


# Refreshing, replacing, vanishing


async def test_a_refreshed_message_keeps_its_row_its_uidl_and_its_place(rig: Rig) -> None:
    account = await rig.make_account()
    old = new_message("m", etag="old")
    ids = await rig.add(account, old)
    new = new_message("m", etag="new", key="alice/moved", uidl="not-taken", age_s=-500)
    change = RefreshMessage(ids[0], "old", new)

    assert (await rig.index.apply_changes(account.maildrop_id, [change])).refreshed_count == 1
    (row,) = await rig.index.messages(account.maildrop_id, ids)
    assert (row.uidl, row.ref) == (old.uidl, new.ref)
    assert (await rig.index.apply_changes(account.maildrop_id, [change])).refreshed_count == 0
    assert await version(rig, account) == 2


async def test_a_refresh_that_was_decided_on_an_older_etag_has_no_effect(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message("m", etag="now"))
    report = await rig.index.apply_changes(
        account.maildrop_id, [RefreshMessage(ids[0], "older", new_message("m", etag="late"))]
    )
    assert report.refreshed_count == 0
    assert (await rig.index.messages(account.maildrop_id, ids))[0].ref.etag == "now"


async def test_a_vanished_message_is_not_shown_and_comes_back_with_its_uidl(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m")
    ids = await rig.add(account, message)
    vanish = VanishMessage(ids[0], message.ref.etag)
    assert (await rig.index.apply_changes(account.maildrop_id, [vanish, vanish])).vanished_count == 1
    assert await rig.ids(account) == []
    assert len(await rig.index.messages(account.maildrop_id, ids)) == 1

    back = RefreshMessage(ids[0], message.ref.etag, message)
    assert (await rig.index.apply_changes(account.maildrop_id, [back])).refreshed_count == 1
    assert await rig.ids(account) == ids
    assert await version(rig, account) == 3


async def test_a_message_that_moved_to_another_etag_does_not_vanish(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message("m", etag="now"))
    report = await rig.index.apply_changes(account.maildrop_id, [VanishMessage(ids[0], "older")])
    assert report.vanished_count == 0
    assert await rig.ids(account) == ids


async def test_a_vanished_row_does_not_come_back_beside_a_live_one(rig: Rig) -> None:
    account = await rig.make_account()
    old = new_message("m")
    (old_id,) = await rig.add(account, old)
    new = new_message("m", OTHER_TEXT)
    await rig.index.apply_changes(account.maildrop_id, [ReplaceMessage(old_id, old.ref.etag, new)])
    ids = await rig.ids(account)
    report = await rig.index.apply_changes(account.maildrop_id, [RefreshMessage(old_id, old.ref.etag, old)])
    assert report.refreshed_count == 0
    assert await rig.ids(account) == ids != [old_id]


async def test_other_text_under_an_old_identity_is_another_message(rig: Rig) -> None:
    account = await rig.make_account()
    old, new = new_message("m"), new_message("m", OTHER_TEXT, age_s=-10)
    (old_id,) = await rig.add(account, old)
    change = ReplaceMessage(old_id, old.ref.etag, new)

    report = await rig.index.apply_changes(account.maildrop_id, [change])
    assert (report.vanished_count, report.added_count) == (1, 1)
    (new_id,) = await rig.ids(account)
    assert new_id != old_id
    report = await rig.index.apply_changes(account.maildrop_id, [change])
    assert (report.vanished_count, report.added_count, report.uidl_taken) == (0, 0, ())


# Removing


async def test_removed_messages_are_gone_from_the_drop_and_stand_in_the_outbox(rig: Rig) -> None:
    account = await rig.make_account()
    messages = [new_message(name) for name in "abc"]
    ids = await rig.add(account, *messages)
    lease = await rig.lease(account)

    removals = await rig.index.remove_messages(lease, [ids[2], ids[0]], claim_duration_s=30)
    assert [one.message_id for one in removals] == [ids[2], ids[0]]
    assert [one.ref for one in removals] == [messages[2].ref, messages[0].ref]
    assert {(one.policy, one.attempt_count, one.maildrop_id) for one in removals} == {
        (RemovalPolicy.DELETE, 0, account.maildrop_id)
    }
    assert await rig.ids(account) == [ids[1]]
    assert await version(rig, account) == 2
    assert await rig.outbox.claim(limit=10, claim_duration_s=30) == []
    await rig.pass_time(31)
    assert set(await rig.outbox.claim(limit=10, claim_duration_s=30)) == set(removals)


async def test_what_is_removed_vanished_or_unknown_already_is_left_out(rig: Rig) -> None:
    account = await rig.make_account()
    messages = [new_message(name) for name in "abc"]
    ids = await rig.add(account, *messages)
    await remove(rig, account, ids[0])
    await rig.index.apply_changes(account.maildrop_id, [VanishMessage(ids[1], messages[1].ref.etag)])
    grown = await version(rig, account)
    lease = await rig.lease(account)

    asked = [*ids[:2], MessageId(10**9)]
    assert await rig.index.remove_messages(lease, asked, claim_duration_s=30) == []
    assert await version(rig, account) == grown
    assert [one.message_id for one in await rig.index.remove_messages(lease, ids, claim_duration_s=30)] == [ids[2]]


async def test_a_session_that_gave_its_lease_back_can_remove_nothing(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message())
    lease = await rig.lease(account)
    await rig.leases.release(lease, by_quit=False)
    with pytest.raises(LeaseLost):
        await rig.index.remove_messages(lease, ids, claim_duration_s=30)
    assert await rig.ids(account) == ids


async def test_an_expired_lease_that_nobody_took_still_removes(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message())
    lease = await rig.lease(account)
    await rig.pass_time(3600)
    assert len(await rig.index.remove_messages(lease, ids, claim_duration_s=30)) == 1


async def test_a_hidden_message_is_gone_for_good_and_its_object_is_left_alone(rig: Rig) -> None:
    account = await rig.make_account("alice", removal_policy="hide")
    message = new_message()
    ids = await rig.add(account, message)
    lease = await rig.lease(account)

    assert await rig.index.remove_messages(lease, ids, claim_duration_s=30) == []
    assert await rig.ids(account) == []
    await rig.pass_time(10**8)
    assert await rig.outbox.claim(limit=10, claim_duration_s=30) == []
    assert (await rig.outbox.backlog()).due_count == 0
    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(message)])
    assert (report.added_count, report.uidl_taken) == (0, ())
    requeue = RequeueRemoval(ids[0], replace(message.ref, etag="again"))
    assert (await rig.index.apply_changes(account.maildrop_id, [requeue])).requeued_count == 0


@pytest.mark.parametrize("text", [b"Subject: x\r\n\r\nhello\r\n", OTHER_TEXT])
async def test_a_removed_message_does_not_come_back_by_a_late_add_or_replace_or_refresh(rig: Rig, text: bytes) -> None:
    account = await rig.make_account()
    message = new_message("m")
    ids = await rig.add(account, message)
    await remove(rig, account, *ids)

    late = new_message("m", text, etag="late")
    changes = [
        AddMessage(late),
        ReplaceMessage(ids[0], message.ref.etag, late),
        RefreshMessage(ids[0], message.ref.etag, late),
        VanishMessage(ids[0], message.ref.etag),
    ]
    report = await rig.index.apply_changes(account.maildrop_id, changes)
    assert (report.added_count, report.refreshed_count, report.vanished_count) == (0, 0, 0)
    assert report.uidl_taken == ()
    assert await rig.ids(account) == []


async def test_after_its_removal_is_confirmed_an_identity_may_bring_a_new_message(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m")
    ids = await rig.add(account, message)
    await remove(rig, account, *ids)
    await confirm(rig)

    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(message)])
    assert report.uidl_taken == (message,)
    again = replace(message, uidl=Uidl("next"))
    assert (await rig.index.apply_changes(account.maildrop_id, [AddMessage(again)])).added_count == 1
    assert await rig.ids(account) != ids


async def test_a_removed_part_does_not_keep_other_parts_out(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, new_message("box", part=1))
    await remove(rig, account, *ids)
    assert len(await rig.add(account, new_message("box", part=1), new_message("box", part=2))) == 1


async def test_a_removal_is_queued_again_for_the_new_etag_of_the_same_text(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m")
    ids = await rig.add(account, message)
    await remove(rig, account, *ids)
    again = ObjectRef(BUCKET, "alice/m", "again")
    change = RequeueRemoval(ids[0], again)

    grown = await version(rig, account)
    assert (await rig.index.apply_changes(account.maildrop_id, [change])).requeued_count == 1
    assert (await rig.index.apply_changes(account.maildrop_id, [change])).requeued_count == 0
    assert await version(rig, account) == grown
    (removal,) = await rig.outbox.claim(limit=10, claim_duration_s=30)
    assert removal.ref == again
    await rig.outbox.complete([removal])
    later = RequeueRemoval(ids[0], ObjectRef(BUCKET, "alice/m", "later"))
    assert (await rig.index.apply_changes(account.maildrop_id, [later])).requeued_count == 0


# Comparing


async def state_of(rig: Rig, account: Account, message: NewMessage) -> list[RowState] | None:
    """Of the known rows, when the message listed as it is makes a difference."""
    compared = await rig.index.compare_listing(account.maildrop_id, [listed(message)], whole_since=None)
    if not compared.differences:
        return None
    (difference,) = compared.differences
    assert difference.listed == listed(message)
    return [known.state for known in difference.known]


async def test_what_is_live_as_listed_is_no_difference(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m", etag="e")
    assert await state_of(rig, account, message) == []
    (message_id,) = await rig.add(account, message)

    assert await state_of(rig, account, message) is None
    assert await state_of(rig, account, new_message("m", etag="other")) == [RowState.LIVE]
    assert await state_of(rig, account, new_message("m", etag="e", key="alice/moved")) == [RowState.LIVE]
    moved = listed(new_message("m", etag="other"))
    compared = await rig.index.compare_listing(account.maildrop_id, [moved], whole_since=None)
    (known,) = compared.differences[0].known
    assert (known.message_id, known.identity, known.part) == (message_id, "m", 0)
    assert (known.key, known.etag, known.uidl) == (message.ref.key, "e", message.uidl)
    assert known.digest == message.measure.digest


async def test_the_state_of_a_row_that_is_not_live_is_told(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m", etag="e")
    other = new_message("m", etag="other")
    (message_id,) = await rig.add(account, message)

    await rig.index.apply_changes(account.maildrop_id, [VanishMessage(message_id, "e")])
    assert await state_of(rig, account, message) == [RowState.VANISHED]
    await rig.index.apply_changes(account.maildrop_id, [RefreshMessage(message_id, "e", message)])
    await remove(rig, account, message_id)
    assert await state_of(rig, account, message) is None  # its object is on its way out
    assert await state_of(rig, account, other) == [RowState.REMOVED]
    await confirm(rig)
    assert await state_of(rig, account, message) == [RowState.CONFIRMED]
    assert await state_of(rig, account, other) == [RowState.CONFIRMED]


async def test_a_hidden_row_is_told_only_for_another_object(rig: Rig) -> None:
    account = await rig.make_account("alice", removal_policy="hide")
    message = new_message("m", etag="e")
    await remove(rig, account, *await rig.add(account, message))
    assert await state_of(rig, account, message) is None
    assert await state_of(rig, account, new_message("m", etag="other")) == [RowState.HIDDEN]


async def test_of_several_rows_the_live_one_is_told_else_the_newest(rig: Rig) -> None:
    account = await rig.make_account()
    first = new_message("m", etag="1")
    await remove(rig, account, *await rig.add(account, first))
    await confirm(rig)
    second = new_message("m", etag="2", uidl="second")
    (second_id,) = await rig.add(account, second)

    moved = [listed(new_message("m", etag="3"))]
    for state in (RowState.LIVE, RowState.VANISHED):
        compared = await rig.index.compare_listing(account.maildrop_id, moved, whole_since=None)
        (known,) = compared.differences[0].known
        assert (known.message_id, known.state) == (second_id, state)
        await rig.index.apply_changes(account.maildrop_id, [VanishMessage(second_id, "2")])


async def test_all_live_parts_of_an_object_are_told(rig: Rig) -> None:
    account = await rig.make_account()
    await rig.add(account, new_message("box", etag="e", part=1), new_message("box", etag="e", part=2))
    assert await state_of(rig, account, new_message("box", etag="e")) is None
    assert await state_of(rig, account, new_message("box", etag="f")) == [RowState.LIVE, RowState.LIVE]


async def test_a_whole_listing_tells_what_is_missing_and_what_came_later_is_not(rig: Rig) -> None:
    account = await rig.make_account()
    shown, gone, moved = new_message("shown"), new_message("gone"), new_message("moved")
    await rig.add(account, shown, gone, moved)
    began_at = await rig.index.begin_sync(account.maildrop_id)
    await rig.add(account, new_message("late"))

    listing = [listed(shown), listed(replace(moved, ref=replace(moved.ref, key="alice/elsewhere")))]
    compared = await rig.index.compare_listing(account.maildrop_id, listing, whole_since=began_at)
    assert [(one.identity, one.state) for one in compared.missing] == [("gone", RowState.LIVE)]
    assert [one.listed.identity for one in compared.differences] == ["moved"]
    assert compared.live_count == 4

    part = await rig.index.compare_listing(account.maildrop_id, listing, whole_since=None)
    assert (part.missing, part.live_count) == ((), 0)


async def test_a_message_that_came_back_after_a_listing_began_is_not_missing(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m")
    (message_id,) = await rig.add(account, message)
    await rig.index.apply_changes(account.maildrop_id, [VanishMessage(message_id, message.ref.etag)])
    began_at = await rig.index.begin_sync(account.maildrop_id)
    back = RefreshMessage(message_id, message.ref.etag, message)
    await rig.index.apply_changes(account.maildrop_id, [back])
    compared = await rig.index.compare_listing(account.maildrop_id, [], whole_since=began_at)
    assert (compared.missing, compared.live_count) == ((), 1)


async def test_removed_and_vanished_messages_are_not_missing(rig: Rig) -> None:
    account = await rig.make_account()
    messages = [new_message("a"), new_message("b")]
    ids = await rig.add(account, *messages)
    await remove(rig, account, ids[0])
    await rig.index.apply_changes(account.maildrop_id, [VanishMessage(ids[1], messages[1].ref.etag)])
    began_at = await rig.index.begin_sync(account.maildrop_id)
    compared = await rig.index.compare_listing(account.maildrop_id, [], whole_since=began_at)
    assert (compared.differences, compared.missing, compared.live_count) == ((), (), 0)


async def test_differences_come_in_the_order_of_the_listing(rig: Rig) -> None:
    account = await rig.make_account()
    await rig.add(account, new_message("b", etag="old"))
    listing = [listed(new_message(name)) for name in "cba"]
    compared = await rig.index.compare_listing(account.maildrop_id, listing, whole_since=None)
    assert [one.listed.identity for one in compared.differences] == ["c", "b", "a"]


async def test_a_row_of_another_maildrop_is_unknown_here(rig: Rig) -> None:
    alice, bob = await rig.make_account("alice"), await rig.make_account("bob")
    message = new_message("m")
    await rig.add(alice, message)
    assert await state_of(rig, bob, message) == []
    assert len(await rig.add(bob, message)) == 1


# Seen, and when to sync


async def test_each_view_remembers_what_it_retrieved_of_the_live_messages(rig: Rig) -> None:
    account = await rig.make_account()
    ids = await rig.add(account, *[new_message(name) for name in "abc"])
    await rig.index.note_retrieved(account.maildrop_id, account.view_id, ids[:2])
    await rig.index.note_retrieved(account.maildrop_id, account.view_id, [ids[1], MessageId(10**9)])
    assert await rig.index.seen(account.maildrop_id, account.view_id) == {ids[0], ids[1]}

    await remove(rig, account, ids[0])
    assert await rig.index.seen(account.maildrop_id, account.view_id) == {ids[1]}
    await rig.index.note_retrieved(account.maildrop_id, ViewId(999), ids)
    assert await rig.index.seen(account.maildrop_id, ViewId(999)) == frozenset()


async def test_a_worker_gets_those_never_listed_first_then_those_listed_longest_ago(rig: Rig) -> None:
    old, older, never, fresh = [await rig.make_account(name) for name in ("old", "older", "never", "fresh")]
    for account in (older, old):
        await rig.index.end_sync(account.maildrop_id, await rig.index.begin_sync(account.maildrop_id))
        await rig.pass_time(100)
    await rig.index.end_sync(fresh.maildrop_id, await rig.index.begin_sync(fresh.maildrop_id))

    claimed = [await rig.index.claim_for_sync(older_than_s=50, limit=1) for _ in range(4)]
    assert claimed == [[never.maildrop_id], [older.maildrop_id], [old.maildrop_id], []]
    await rig.pass_time(51)
    assert len(await rig.index.claim_for_sync(older_than_s=50, limit=10)) == 4


async def test_a_listing_that_began_earlier_does_not_count_back(rig: Rig) -> None:
    account = await rig.make_account()
    began_at = await rig.index.begin_sync(account.maildrop_id)
    await rig.index.end_sync(account.maildrop_id, began_at)
    await rig.index.end_sync(account.maildrop_id, began_at - timedelta(hours=1))
    assert await rig.index.claim_for_sync(older_than_s=600, limit=10) == []
    assert (await rig.index.maildrop(account.maildrop_id)).is_indexed


async def test_what_was_listed_before_a_removal_was_confirmed_does_not_come_back(rig: Rig) -> None:
    account = await rig.make_account()
    listed_at = await rig.index.begin_sync(account.maildrop_id)
    message = replace(new_message("m"), listed_at=listed_at)
    ids = await rig.add(account, message)
    removals = await rig.index.remove_messages(await rig.lease(account), ids, claim_duration_s=30)
    await rig.outbox.complete(removals)
    report = await rig.index.apply_changes(account.maildrop_id, [AddMessage(replace(message, uidl=Uidl("second")))])
    assert (report.added_count, report.uidl_taken) == (0, ())
    later = replace(message, uidl=Uidl("third"), listed_at=await rig.index.begin_sync(account.maildrop_id))
    assert (await rig.index.apply_changes(account.maildrop_id, [AddMessage(later)])).added_count == 1


async def test_a_hidden_message_keeps_out_its_own_text_alone(rig: Rig) -> None:
    account = await rig.make_account(removal_policy="hide")
    ids = await rig.add(account, new_message("m"))
    await rig.index.remove_messages(await rig.lease(account), ids, claim_duration_s=30)
    assert await rig.add(account, new_message("m", etag="other", uidl="again")) == []
    assert len(await rig.add(account, new_message("m", b"Subject: other\r\n\r\n"))) == 1


async def test_a_distrusted_message_differs_from_any_listing(rig: Rig) -> None:
    account = await rig.make_account()
    message = new_message("m")
    ids = await rig.add(account, message)
    comparison = await rig.index.compare_listing(account.maildrop_id, [listed(message)], whole_since=None)
    assert comparison.differences == ()
    await rig.index.distrust(account.maildrop_id, ids[0])
    comparison = await rig.index.compare_listing(account.maildrop_id, [listed(message)], whole_since=None)
    assert len(comparison.differences) == 1
