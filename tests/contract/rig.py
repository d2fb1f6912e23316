"""The stores that share one world, and the ways to make things happen in it."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from bridge.accounts.model import Account, NewAccount
from bridge.accounts.ports import AccountStore
from bridge.ids import MessageId, Uidl
from bridge.mail.compression import ContentEncoding
from bridge.mail.measure import Measurer
from bridge.maildrop.model import (
    Acquired,
    AddMessage,
    Lease,
    ListedMessage,
    NewMessage,
    ObjectRef,
    StoredObject,
)
from bridge.maildrop.ports import LeaseStore, MessageIndex, RemovalOutbox
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Connection, Database
from bridge.postgres.lease_store import PostgresLeaseStore
from bridge.postgres.message_index import PostgresMessageIndex
from bridge.postgres.removal_outbox import PostgresRemovalOutbox
from tests.fakes.account_store import FakeAccountStore
from tests.fakes.lease_store import FakeLeaseStore
from tests.fakes.message_index import FakeMessageIndex
from tests.fakes.removal_outbox import FakeRemovalOutbox
from tests.fakes.tables import FakeTables
from tests.postgres_fixtures import PostgresServer

ARRIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUCKET = "mail"


@dataclass(frozen=True, slots=True)
class Rig:
    accounts: AccountStore
    leases: LeaseStore
    index: MessageIndex
    outbox: RemovalOutbox
    pass_time: Callable[[float], Awaitable[None]]  # seconds go by, for all that is stored

    async def make_account(self, name: str = "alice", **settings: str | int) -> Account:
        """With the maildrop `<name>/` of its own, unless said otherwise."""
        return await self.accounts.create_account(new_account(name, **settings))

    async def acquire(self, account: Account, *, login_delay_s: float = 0, takeover_idle_s: float = 120) -> Acquired:
        """As a new session."""
        return await self.leases.acquire(
            account.maildrop_id,
            account.view_id,
            uuid4(),
            lease_duration_s=60,
            login_delay_s=login_delay_s,
            takeover_idle_s=takeover_idle_s,
        )

    async def lease(self, account: Account) -> Lease:
        return (await self.acquire(account)).lease

    async def add(self, account: Account, *messages: NewMessage) -> Sequence[MessageId]:
        """All of the drop's ids afterwards, in its order."""
        await self.index.apply_changes(account.maildrop_id, [AddMessage(message) for message in messages])
        return await self.ids(account)

    async def ids(self, account: Account) -> Sequence[MessageId]:
        snapshot = await self.index.load_snapshot(account.maildrop_id)
        return snapshot.message_ids(1, snapshot.count)


def new_account(name: str, **settings: str | int) -> NewAccount:
    given: dict[str, object] = {"bucket": BUCKET, "key_prefix": f"{name}/", **settings}
    return NewAccount(login_name=name, argon2_verifier="argon", scram_verifiers={"sha256": "scram"}, **given)  # type: ignore[arg-type]


def new_message(
    identity: str = "m1",
    text: bytes = b"Subject: x\r\n\r\nhello\r\n",
    *,
    etag: str | None = None,
    key: str | None = None,
    uidl: str | None = None,
    age_s: float = 0,
    part: int = 0,
) -> NewMessage:
    """A measured message; by default its etag and UIDL follow from identity and text."""
    measurer = Measurer()
    measurer.feed(text)
    measure = measurer.finish()
    own = hashlib.sha256(identity.encode() + measure.digest + bytes([part])).hexdigest()
    return NewMessage(
        identity=identity,
        part=part,
        uidl=Uidl(uidl or own[:26]),
        ref=ObjectRef(BUCKET, key or f"alice/{identity}", etag or hashlib.md5(text).hexdigest()),
        stored_octets=len(text),
        extent=None,
        encoding=ContentEncoding.IDENTITY,
        measure=measure,
        arrived_at=ARRIVED_AT - timedelta(seconds=age_s),
    )


def listed(message: NewMessage) -> ListedMessage:
    """As a listing shows the object of the message."""
    return ListedMessage(message.identity, StoredObject(message.ref, message.stored_octets, message.arrived_at))


def fake_rig() -> Rig:
    tables = FakeTables()

    async def pass_time(duration_s: float) -> None:
        tables.clock.pass_time(duration_s)

    return Rig(
        FakeAccountStore(tables),
        FakeLeaseStore(tables),
        FakeMessageIndex(tables),
        FakeRemovalOutbox(tables),
        pass_time,
    )


_TIMES = {
    "view": ("lease_expires_at", "last_active_at", "last_login_at", "last_quit_at"),
    "maildrop": ("synced_at", "sync_tried_at"),
    "message": ("indexed_at", "retrieved_at", "removed_at", "vanished_at"),
    "removal": ("due_at", "claimed_until", "confirmed_at"),
}


@asynccontextmanager
async def postgres_rig(server: PostgresServer) -> AsyncIterator[Rig]:
    async with server.fresh_database() as url, Database(url) as database:

        async def pass_time(duration_s: float) -> None:
            """The database's clock cannot be set; all that is stored moves into the past instead."""

            async def shift(connection: Connection) -> None:
                async with database.transaction(connection):
                    for table, columns in _TIMES.items():
                        moved = ", ".join(f"{column} = {column} - make_interval(secs => $1)" for column in columns)
                        await connection.execute(f"UPDATE {table} SET {moved}", float(duration_s))

            await database.run("pass time", shift, is_repeatable=False)

        yield Rig(
            PostgresAccountStore(database),
            PostgresLeaseStore(database),
            PostgresMessageIndex(database),
            PostgresRemovalOutbox(database),
            pass_time,
        )
