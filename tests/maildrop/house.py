"""The maildrop room on fakes: one maildrop `alice/` and whatever a test puts under it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from bridge.ids import MaildropId
from bridge.maildrop.leasing import LeaseKeeper
from bridge.maildrop.model import History, Layout, LockPolicy, Maildrop, RemovalPolicy
from bridge.maildrop.opening import MaildropService, OpenMaildrop, SnapshotCache
from bridge.maildrop.reading import MessageReader
from bridge.maildrop.removing import RemovalWorker
from bridge.maildrop.sync import Syncer, SyncReport
from tests.fakes.lease_store import FakeLeaseStore
from tests.fakes.message_index import FakeMessageIndex
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.removal_outbox import FakeRemovalOutbox
from tests.fakes.tables import FakeTables

MAILDROP_ID = MaildropId(1)
LIMIT_S = 30.0


class House:
    def __init__(self, *, history: History = History.NEW, lock_policy: LockPolicy = LockPolicy.REFUSE) -> None:
        self.tables = FakeTables()
        self.view = self.tables.add_maildrop(
            Maildrop(
                maildrop_id=MAILDROP_ID,
                bucket="mail",
                key_prefix="alice/",
                layout=Layout.OBJECTS,
                history=history,
                lock_policy=lock_policy,
                removal_policy=RemovalPolicy.DELETE,
                trash_prefix=None,
                is_indexed=False,
                index_version=0,
            )
        )
        self.store = FakeObjectStore(clock=self.tables.clock)
        self.index = FakeMessageIndex(self.tables)
        self.leases = FakeLeaseStore(self.tables)
        self.outbox = FakeRemovalOutbox(self.tables)
        self.reports: list[SyncReport] = []
        self.syncer = self.make_syncer()
        self.worker = RemovalWorker(
            self.outbox,
            self.store,
            self.syncer,
            claim_duration_s=300,
            first_retry_delay_s=5,
            max_retry_delay_s=3_600,
        )
        self.reader = MessageReader(self.store, read_attempts=3, max_text_octets=10_000_000)
        self.service = self.make_service()

    def make_syncer(self) -> Syncer:
        return Syncer(
            self.store,
            self.index,
            parallel_measure_count=4,
            max_text_octets=10_000_000,
            sync_timeout_s=LIMIT_S,
            on_report=self.reports.append,
        )

    def make_service(self, **settings: Any) -> MaildropService:
        keeper = LeaseKeeper(
            self.leases,
            lease_duration_s=60,
            renew_interval_s=15,
            takeover_idle_s=120,
            wait_s=5,
            release_timeout_s=LIMIT_S,
        )
        given = {
            "snapshots": SnapshotCache(max_octets=1_000_000),
            "sync_min_interval_s": 0.0,
            "login_sync_budget_s": LIMIT_S,
            "quit_delete_budget_s": LIMIT_S,
            **settings,
        }
        return MaildropService(keeper, self.syncer, self.index, self.worker, **given)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenMaildrop]:
        async with self.service.open(MAILDROP_ID, self.view.view_id, login_delay_s=0) as opened:
            yield opened

    async def sync(self) -> SyncReport:
        report = await self.syncer.sync(MAILDROP_ID, budget_s=LIMIT_S)
        assert report is not None
        return report

    async def uidls(self) -> list[str]:
        snapshot = await self.index.load_snapshot(MAILDROP_ID)
        return [snapshot.uidl(number) for number in range(1, snapshot.count + 1)]

    def set_policy(self, policy: RemovalPolicy) -> None:
        self.tables.maildrops[MAILDROP_ID] = replace(self.tables.maildrops[MAILDROP_ID], removal_policy=policy)


def mail(number: int, body: bytes = b"A body.\r\n") -> bytes:
    return b"From: a@example.com\r\nSubject: %d\r\n\r\n" % number + body
