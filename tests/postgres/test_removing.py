"""QUIT's transaction when the connection breaks around its commit."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest

from bridge.ids import MessageId
from bridge.maildrop.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from bridge.maildrop.model import AddMessage, Lease
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Database, DatabaseLimits
from bridge.postgres.lease_store import PostgresLeaseStore
from bridge.postgres.message_index import PostgresMessageIndex
from bridge.postgres.removal_outbox import PostgresRemovalOutbox
from tests.contract.rig import new_account, new_message
from tests.postgres.proxy import FaultyProxy, faulty_proxy

LIMITS = DatabaseLimits(max_connection_count=4, connect_timeout_s=1, command_timeout_s=1, total_timeout_s=3)


@dataclass(frozen=True)
class Scene:
    """A session whose connection to the database leads through a faulty proxy, and a look past the proxy."""

    proxy: FaultyProxy
    index: PostgresMessageIndex
    real: Database
    lease: Lease
    ids: Sequence[MessageId]

    async def live_ids(self) -> Sequence[MessageId]:
        snapshot = await PostgresMessageIndex(self.real).load_snapshot(self.lease.maildrop_id)
        return snapshot.message_ids(1, snapshot.count)


@pytest.fixture
async def scene(database: Database, database_url: str) -> AsyncIterator[Scene]:
    account = await PostgresAccountStore(database).create_account(new_account("alice"))
    index = PostgresMessageIndex(database)
    await index.apply_changes(account.maildrop_id, [AddMessage(new_message(name)) for name in "abc"])
    acquired = await PostgresLeaseStore(database).acquire(
        account.maildrop_id, account.view_id, uuid4(), lease_duration_s=60, login_delay_s=0, takeover_idle_s=120
    )
    snapshot = await index.load_snapshot(account.maildrop_id)
    async with faulty_proxy(database_url) as (proxy, url), Database(url, LIMITS) as through_proxy:
        yield Scene(proxy, PostgresMessageIndex(through_proxy), database, acquired.lease, snapshot.message_ids(1, 3))


STATEMENTS = [b"BEGIN", b"FROM view", b"FROM maildrop", b"INSERT INTO removal", b"UPDATE maildrop", b"COMMIT\x00"]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("is_passed_on", [False, True])
async def test_whichever_statement_the_connection_breaks_at_the_messages_are_removed_once(
    scene: Scene, statement: bytes, is_passed_on: bool
) -> None:
    if is_passed_on:
        scene.proxy.cut_after = statement
    else:
        scene.proxy.cut_before = statement
    removals = await scene.index.remove_messages(scene.lease, scene.ids[:2], claim_duration_s=30)

    assert scene.proxy.cut_after is None and scene.proxy.cut_before is None
    assert [one.message_id for one in removals] == list(scene.ids[:2])
    assert await scene.live_ids() == scene.ids[2:]
    assert (await PostgresMessageIndex(scene.real).maildrop(scene.lease.maildrop_id)).index_version == 2


async def test_a_commit_whose_answer_was_lost_is_known_even_if_the_lease_was_taken_over_since(scene: Scene) -> None:
    view = (scene.lease.maildrop_id, scene.lease.view_id)

    class Breaking(Database):
        """Between the lost commit and the question about it, an operator breaks the lease."""

        async def _run_once(self, work):  # type: ignore[no-untyped-def]
            if scene.proxy.cut_after is None:
                await PostgresLeaseStore(scene.real).break_lease(*view)
            return await super()._run_once(work)

    scene.proxy.cut_after = b"COMMIT\x00"
    url = scene.index._database._dsn
    async with Breaking(url, LIMITS) as database:
        removals = await PostgresMessageIndex(database).remove_messages(scene.lease, scene.ids, claim_duration_s=30)
    assert len(removals) == 3
    assert await scene.live_ids() == []


async def test_when_it_cannot_be_asked_either_the_outcome_is_unknown(scene: Scene) -> None:
    await scene.index.maildrop(scene.lease.maildrop_id)
    scene.proxy.cut_after = b"COMMIT\x00"
    scene.proxy.is_refusing = True
    with pytest.raises(OutcomeUnknown):
        await scene.index.remove_messages(scene.lease, scene.ids, claim_duration_s=30)


@pytest.mark.parametrize("statement", STATEMENTS[:-1])
async def test_before_the_commit_a_broken_connection_is_no_doubt(scene: Scene, statement: bytes) -> None:
    await scene.index.maildrop(scene.lease.maildrop_id)
    scene.proxy.cut_after = statement
    scene.proxy.is_refusing = True
    with pytest.raises(StoreUnavailable) as away:
        await scene.index.remove_messages(scene.lease, scene.ids, claim_duration_s=30)
    assert not isinstance(away.value, OutcomeUnknown)
    assert await scene.live_ids() == scene.ids


async def test_a_lost_lease_is_said_even_over_a_broken_connection(scene: Scene) -> None:
    await PostgresLeaseStore(scene.real).break_lease(scene.lease.maildrop_id, scene.lease.view_id)
    scene.proxy.cut_after = b"FROM view"
    with pytest.raises(LeaseLost):
        await scene.index.remove_messages(scene.lease, scene.ids, claim_duration_s=30)
    assert await scene.live_ids() == scene.ids


@pytest.mark.parametrize("is_passed_on", [False, True])
async def test_an_addition_over_a_broken_connection_is_made_once(scene: Scene, is_passed_on: bool) -> None:
    if is_passed_on:
        scene.proxy.cut_after = b"COMMIT\x00"
    else:
        scene.proxy.cut_before = b"COMMIT\x00"
    await scene.index.apply_changes(scene.lease.maildrop_id, [AddMessage(new_message("d"))])
    assert len(await scene.live_ids()) == 4


async def test_what_is_put_back_over_a_broken_connection_is_counted_right(scene: Scene) -> None:
    removals = await scene.index.remove_messages(scene.lease, scene.ids, claim_duration_s=30)
    scene.proxy.cut_after = b"COMMIT\x00"
    outbox = PostgresRemovalOutbox(scene.index._database)
    assert await outbox.put_back(removals, error="AccessDenied") == 3
    assert await scene.live_ids() == scene.ids
