"""What only a real database can show of leases: races, waits for row locks, and its own clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest

from bridge.accounts.model import Account
from bridge.maildrop.errors import LeaseLost, MaildropInUse
from bridge.maildrop.model import Lease
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Database
from bridge.postgres.lease_store import PostgresLeaseStore
from bridge.postgres.message_index import PostgresMessageIndex
from tests.contract.rig import new_account

EXPIRE = "UPDATE view SET lease_expires_at = clock_timestamp() - interval '1 second'"


async def acquire(store: PostgresLeaseStore, account: Account, *, lease_duration_s: float = 60) -> Lease:
    acquired = await store.acquire(
        account.maildrop_id,
        account.view_id,
        uuid4(),
        lease_duration_s=lease_duration_s,
        login_delay_s=0,
        takeover_idle_s=120,
    )
    return acquired.lease


@asynccontextmanager
async def locked_view(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The rows of all views are locked by this other session until it ends."""
    other = await asyncpg.connect(url)
    try:
        async with other.transaction():
            await other.fetch("SELECT FROM view FOR NO KEY UPDATE")
            yield other
    finally:
        await other.close()


async def wait_until_blocked(other: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Until some session waits for a lock of this one."""
    is_blocking = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    async with asyncio.timeout(10):
        while not await other.fetchval(is_blocking):
            pass


async def expire(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(EXPIRE)
    await connection.close()


async def test_of_ten_sessions_that_race_for_a_view_exactly_one_wins(database: Database, database_url: str) -> None:
    store = PostgresLeaseStore(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    last_token = 0
    for round_number in range(50):
        racers = await asyncio.gather(*(acquire(store, account) for _ in range(10)), return_exceptions=True)
        winners = [one for one in racers if isinstance(one, Lease)]
        assert len(winners) == 1
        assert sum(isinstance(one, MaildropInUse) for one in racers) == 9
        assert winners[0].fencing_token > last_token
        last_token = winners[0].fencing_token
        if round_number % 2:
            await store.release(winners[0], by_quit=True)
        else:
            await expire(database_url)


async def test_a_lease_that_expires_while_another_session_waits_for_its_row_is_judged_after_the_wait(
    database: Database, database_url: str
) -> None:
    store = PostgresLeaseStore(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    old = await acquire(store, account, lease_duration_s=0.3)

    async with locked_view(database_url) as other:
        waiting = asyncio.create_task(acquire(store, account))
        await wait_until_blocked(other)
        await other.execute("SELECT pg_sleep(greatest(0, extract(epoch FROM max(lease_expires_at) - now()))) FROM view")
    new = await waiting
    assert new.fencing_token > old.fencing_token


async def test_a_new_lease_lasts_from_the_end_of_the_wait_for_its_row(database: Database, database_url: str) -> None:
    store = PostgresLeaseStore(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    async with locked_view(database_url) as other:
        waiting = asyncio.create_task(acquire(store, account, lease_duration_s=0.5))
        await wait_until_blocked(other)
        await other.execute("SELECT pg_sleep(0.6)")
        unlocked_at = await other.fetchval("SELECT clock_timestamp()")
    await waiting
    ends_later = await database.run(
        "test",
        lambda c: c.fetchval(
            "SELECT lease_expires_at >= $1::timestamptz + interval '0.5 seconds' FROM view", unlocked_at
        ),
        is_repeatable=True,
    )
    assert ends_later


async def test_who_waited_for_the_row_while_another_session_took_the_lease_is_refused(
    database: Database, database_url: str
) -> None:
    store = PostgresLeaseStore(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    async with locked_view(database_url) as other:
        waiting = asyncio.create_task(acquire(store, account))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE view SET lease_holder = gen_random_uuid(), fencing_token = fencing_token + 1,"
            " lease_expires_at = clock_timestamp() + interval '1 minute', last_active_at = clock_timestamp()"
        )
    with pytest.raises(MaildropInUse):
        await waiting


async def test_who_waited_for_a_row_that_changed_takes_it_as_it_now_is(database: Database, database_url: str) -> None:
    store = PostgresLeaseStore(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    async with locked_view(database_url) as other:
        waiting = asyncio.create_task(acquire(store, account))
        await wait_until_blocked(other)
        await other.execute("UPDATE view SET fencing_token = 41")
    assert (await waiting).fencing_token == 42


async def test_a_busy_row_is_neither_kept_nor_lost_and_holds_up_no_other_renewal(
    database: Database, database_url: str
) -> None:
    store = PostgresLeaseStore(database)
    accounts = PostgresAccountStore(database)
    busy = await acquire(store, await accounts.create_account(new_account("alice")))
    async with locked_view(database_url) as other:
        free = await acquire(store, await accounts.create_account(new_account("bob")))
        renewal = await store.renew([busy, free], idle_s=[0, 0], lease_duration_s=60)
        assert (renewal.kept, renewal.lost) == ({free.holder}, frozenset())

        await other.execute(
            "UPDATE view SET lease_holder = gen_random_uuid(), fencing_token = 9 WHERE view_id = $1", busy.view_id
        )
        assert not (await store.renew([busy], idle_s=[0], lease_duration_s=60)).lost
    assert (await store.renew([busy], idle_s=[0], lease_duration_s=60)).lost == {busy.holder}


async def test_of_an_heir_and_a_zombie_that_remove_at_the_same_time_only_the_heir_does(
    database: Database, database_url: str
) -> None:
    store, index = PostgresLeaseStore(database), PostgresMessageIndex(database)
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    zombie = await acquire(store, account)
    for _ in range(20):
        await expire(database_url)
        removing, acquiring = await asyncio.gather(
            index.remove_messages(zombie, [], claim_duration_s=30), acquire(store, account), return_exceptions=True
        )
        assert isinstance(acquiring, Lease)
        assert isinstance(removing, LeaseLost) or removing == []
        with pytest.raises(LeaseLost):
            await index.remove_messages(zombie, [], claim_duration_s=30)
        zombie = acquiring
