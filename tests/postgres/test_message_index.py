"""What only a real database can show of the index: processes that change one maildrop at the same time, and size."""

import asyncio
from dataclasses import replace
from uuid import uuid4

from bridge.accounts.model import Account
from bridge.maildrop.model import AddMessage, Lease, NewMessage, VanishMessage
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Database
from bridge.postgres.lease_store import PostgresLeaseStore
from bridge.postgres.message_index import PostgresMessageIndex
from bridge.postgres.removal_outbox import PostgresRemovalOutbox
from tests.contract.rig import listed, new_account, new_message


def many_messages(count: int) -> list[NewMessage]:
    base = new_message()
    return [
        replace(base, identity=f"{number:06d}", uidl=f"{number:026d}", ref=replace(base.ref, key=f"alice/{number:06d}"))
        for number in range(count)
    ]


async def make_account(database: Database) -> Account:
    return await PostgresAccountStore(database).create_account(new_account("alice"))


async def hold(database: Database, account: Account) -> Lease:
    acquired = await PostgresLeaseStore(database).acquire(
        account.maildrop_id, account.view_id, uuid4(), lease_duration_s=60, login_delay_s=0, takeover_idle_s=120
    )
    return acquired.lease


async def test_processes_that_index_the_same_messages_at_once_add_each_once(database: Database) -> None:
    account = await make_account(database)
    index = PostgresMessageIndex(database)
    changes = [AddMessage(message) for message in many_messages(200)]
    reports = await asyncio.gather(*(index.apply_changes(account.maildrop_id, changes) for _ in range(8)))
    assert sum(report.added_count for report in reports) == 200
    assert all(report.uidl_taken == () for report in reports)
    snapshot = await index.load_snapshot(account.maildrop_id)
    assert (snapshot.count, snapshot.index_version) == (200, 1)


async def test_nothing_comes_back_however_removals_and_late_additions_meet(database: Database) -> None:
    account = await make_account(database)
    index = PostgresMessageIndex(database)
    messages = many_messages(50)
    changes = [AddMessage(message) for message in messages]
    await index.apply_changes(account.maildrop_id, changes)
    snapshot = await index.load_snapshot(account.maildrop_id)
    ids = snapshot.message_ids(1, 50)
    lease = await hold(database, account)
    late = [AddMessage(replace(message, uidl=message.uidl + "x")) for message in messages]

    outcomes = await asyncio.gather(
        *(
            task
            for start in range(0, 50, 10)
            for task in (
                index.remove_messages(lease, ids[start : start + 10], claim_duration_s=30),
                index.apply_changes(account.maildrop_id, late),
                index.note_retrieved(account.maildrop_id, account.view_id, ids),
            )
        )
    )
    assert sum(len(removals) for removals in outcomes[::3]) == 50
    assert (await index.load_snapshot(account.maildrop_id)).count == 0


async def test_a_snapshot_taken_amid_changes_always_fits_its_version(database: Database) -> None:
    account = await make_account(database)
    index = PostgresMessageIndex(database)
    messages = many_messages(40)

    async def change() -> None:
        for message in messages:
            await index.apply_changes(account.maildrop_id, [AddMessage(message)])

    changing = asyncio.create_task(change())
    while not changing.done():
        snapshot = await index.load_snapshot(account.maildrop_id)
        assert snapshot.index_version == snapshot.count
    await changing


async def test_workers_that_claim_at_once_share_the_removals_out(database: Database) -> None:
    account = await make_account(database)
    index, outbox = PostgresMessageIndex(database), PostgresRemovalOutbox(database)
    await index.apply_changes(account.maildrop_id, [AddMessage(message) for message in many_messages(100)])
    ids = (await index.load_snapshot(account.maildrop_id)).message_ids(1, 100)
    await index.remove_messages(await hold(database, account), ids, claim_duration_s=0)

    claims = await asyncio.gather(*(outbox.claim(limit=30, claim_duration_s=60) for _ in range(8)))
    rest = await outbox.claim(limit=100, claim_duration_s=60)
    claimed = [one.message_id for claim in [*claims, rest] for one in claim]
    assert sorted(claimed) == sorted(ids)


async def test_a_listing_of_many_thousands_answers_with_its_few_differences(database: Database) -> None:
    account = await make_account(database)
    index = PostgresMessageIndex(database)
    messages = many_messages(20_000)
    for start in range(0, 20_000, 1000):
        changes = [AddMessage(message) for message in messages[start : start + 1000]]
        assert (await index.apply_changes(account.maildrop_id, changes)).added_count == 1000
    vanished = (await index.load_snapshot(account.maildrop_id)).message_id(5)
    await index.apply_changes(account.maildrop_id, [VanishMessage(vanished, messages[4].ref.etag)])
    began_at = await index.begin_sync(account.maildrop_id)

    shown = [listed(message) for message in messages[:-3]]
    shown[7] = replace(shown[7], object=replace(shown[7].object, ref=replace(shown[7].object.ref, etag="changed")))
    shown.append(listed(new_message("new")))
    compared = await index.compare_listing(account.maildrop_id, shown, whole_since=began_at)
    assert [one.listed.identity for one in compared.differences] == ["000004", "000007", "new"]
    assert sorted(one.identity for one in compared.missing) == ["019997", "019998", "019999"]
    assert compared.live_count == 19_999
