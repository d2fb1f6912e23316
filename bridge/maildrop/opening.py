"""A session's maildrop: lease, sync, snapshot at login; removal at QUIT; the lease back on every way out."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bridge.ids import MaildropId, ViewId
from bridge.maildrop.errors import MaildropBeingPrepared, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.leasing import HeldLease, LeaseKeeper
from bridge.maildrop.model import History, IndexedMessage, Removal
from bridge.maildrop.ports import MessageIndex
from bridge.maildrop.removing import ClearingReport, RemovalWorker
from bridge.maildrop.snapshot import Snapshot
from bridge.maildrop.sync import Syncer

log = logging.getLogger(__name__)

_RUN_COUNT = 64  # rows fetched together: clients read in sequence
_CLAIM_MARGIN_S = 30.0  # a session's claim outlives its own clearing


@dataclass(frozen=True, slots=True)
class RemoveOutcome:
    removed_count: int
    refused_count: int  # the store refuses for good: these messages are live again


class SnapshotCache:
    """Snapshots of maildrops that did not change since: an empty poll loads nothing. Bounded by memory."""

    def __init__(self, *, max_octets: int) -> None:
        self._max_octets = max_octets
        self._octets = 0
        self._snapshots: OrderedDict[MaildropId, Snapshot] = OrderedDict()

    def get(self, maildrop_id: MaildropId, index_version: int) -> Snapshot | None:
        snapshot = self._snapshots.get(maildrop_id)
        if snapshot is None or snapshot.index_version != index_version:
            return None
        self._snapshots.move_to_end(maildrop_id)
        return snapshot

    def put(self, maildrop_id: MaildropId, snapshot: Snapshot) -> None:
        old = self._snapshots.pop(maildrop_id, None)
        self._octets += snapshot.memory_octets - (old.memory_octets if old else 0)
        self._snapshots[maildrop_id] = snapshot
        while self._octets > self._max_octets:
            _, evicted = self._snapshots.popitem(last=False)
            self._octets -= evicted.memory_octets


class OpenMaildrop:
    """What a session in TRANSACTION works on."""

    def __init__(
        self,
        held: HeldLease,
        snapshot: Snapshot,
        index: MessageIndex,
        worker: RemovalWorker,
        *,
        quit_delete_budget_s: float,
        updates: "set[asyncio.Task[RemoveOutcome]]",
    ) -> None:
        self.snapshot = snapshot
        self.lost = held.lost
        self._held = held
        self._index = index
        self._worker = worker
        self._quit_delete_budget_s = quit_delete_budget_s
        self._run: dict[int, IndexedMessage] = {}
        self._retrieved: set[int] = set()
        self._updates = updates

    @property
    def maildrop_id(self) -> MaildropId:
        return self._held.lease.maildrop_id

    def note_activity(self) -> None:
        """A command came or octets moved."""
        self._held.note_activity()

    async def message(self, number: int) -> IndexedMessage:
        """The row of a message number. Raises ObjectGone (the row itself is gone), StoreUnavailable."""
        if number not in self._run:
            last = min(number + _RUN_COUNT - 1, self.snapshot.count)
            ids = self.snapshot.message_ids(number, last)
            numbers = dict(zip(ids, range(number, last + 1), strict=True))
            rows = await self._index.messages(self.maildrop_id, ids)
            self._run = {numbers[row.message_id]: row for row in rows}
        try:
            return self._run[number]
        except KeyError:
            raise ObjectGone("the message is not in the index any more") from None

    async def has_moved(self, number: int) -> bool:
        """Whether the message, still as long as announced, stands under another key or etag than this session knew.

        Raises StoreUnavailable.
        """
        known = self._run.pop(number, None)
        row = await self.message(number)
        return known is not None and row.ref != known.ref and row.octets == self.snapshot.octets(number)

    async def distrust(self, number: int) -> None:
        """The index says another length than the object has: the next sync measures it anew."""
        try:
            await self._index.distrust(self.maildrop_id, self.snapshot.message_id(number))
        except StoreUnavailable as error:
            log.warning("a wrong length could not be noted", extra={"error": str(error)})

    def note_retrieved(self, number: int) -> None:
        """The message was sent whole."""
        self._retrieved.add(number)

    async def last_seen_number(self) -> int:
        """The highest message number that this view ever retrieved (LAST of RFC 1460), 0 for none."""
        seen = await self._index.seen(self.maildrop_id, self._held.lease.view_id)
        ids = self.snapshot.message_ids(1, self.snapshot.count)
        return next((number for number in range(len(ids), 0, -1) if ids[number - 1] in seen), 0)

    async def remove(self, numbers: Sequence[int]) -> RemoveOutcome:
        """UPDATE: decide in one transaction, then clear the objects as far as the budget goes.

        Goes on to its end though the caller is cancelled. Raises LeaseLost and StoreUnavailable: nothing was removed,
        or (OutcomeUnknown) it cannot be known; both are safe, the client had finished with these messages.
        """
        update = asyncio.create_task(self._remove(numbers))
        self._updates.add(update)
        update.add_done_callback(self._updates.discard)
        return await asyncio.shield(update)

    async def _remove(self, numbers: Sequence[int]) -> RemoveOutcome:
        removals = await self._index.remove_messages(
            self._held.lease,
            [self.snapshot.message_id(number) for number in numbers],
            claim_duration_s=self._quit_delete_budget_s + _CLAIM_MARGIN_S,
        )
        report = ClearingReport()
        await self._clear(removals, report)
        return RemoveOutcome(len(removals) - report.refused_count, report.refused_count)

    async def _clear(self, removals: Sequence[Removal], report: ClearingReport) -> None:
        """The decision stands already: whatever fails here, the worker finishes it."""
        try:
            async with asyncio.timeout(self._quit_delete_budget_s):
                await self._worker.clear(removals, report, may_put_back=True)
        except TimeoutError:
            await self._worker.hand_over(removals)
        except StoreUnavailable as error:
            log.warning("removals are left to the worker", extra={"count": len(removals), "error": str(error)})

    async def release(self, *, by_quit: bool) -> None:
        """Keep what was retrieved, give the lease back. Idempotent."""
        if self._retrieved and not self.lost.is_set():
            retrieved, self._retrieved = self._retrieved, set()
            ids = [self.snapshot.message_id(number) for number in sorted(retrieved)]
            try:
                await self._index.note_retrieved(self.maildrop_id, self._held.lease.view_id, ids)
            except StoreUnavailable as error:
                log.warning("what was retrieved could not be kept", extra={"error": str(error)})
        await self._held.release(by_quit=by_quit)


class MaildropService:
    """Opens maildrops for sessions. One per process."""

    def __init__(
        self,
        keeper: LeaseKeeper,
        syncer: Syncer,
        index: MessageIndex,
        worker: RemovalWorker,
        *,
        snapshots: SnapshotCache,
        sync_min_interval_s: float,
        login_sync_budget_s: float,
        quit_delete_budget_s: float,
    ) -> None:
        self._keeper = keeper
        self._syncer = syncer
        self._index = index
        self._worker = worker
        self._snapshots = snapshots
        self._sync_min_interval_s = sync_min_interval_s
        self._login_sync_budget_s = login_sync_budget_s
        self._quit_delete_budget_s = quit_delete_budget_s
        self._updates: set[asyncio.Task[RemoveOutcome]] = set()

    async def close(self) -> None:
        """Wait for removals that outlived their sessions; each part of them is bounded."""
        while updates := [update for update in self._updates if not update.done()]:
            await asyncio.wait(updates)

    @asynccontextmanager
    async def open(
        self, maildrop_id: MaildropId, view_id: ViewId, *, login_delay_s: float
    ) -> AsyncIterator[OpenMaildrop]:
        """Lease, sync within its budget, snapshot; the lease goes back when the context is left, however it is left.

        Raises MaildropInUse, LoginTooSoon, MaildropBeingPrepared, NoSuchMaildrop, StoreUnavailable.
        """
        held = await self._keeper.hold(maildrop_id, view_id, login_delay_s=login_delay_s)
        try:
            snapshot = await self._snapshot(held)
            opened = OpenMaildrop(
                held,
                snapshot,
                self._index,
                self._worker,
                quit_delete_budget_s=self._quit_delete_budget_s,
                updates=self._updates,
            )
            try:
                yield opened
            finally:
                await opened.release(by_quit=False)
        finally:
            await held.release(by_quit=False)

    async def _snapshot(self, held: HeldLease) -> Snapshot:
        maildrop = held.maildrop
        if held.sync_age_s is None or held.sync_age_s >= self._sync_min_interval_s:
            await self._sync(held)
            maildrop = await self._index.maildrop(maildrop.maildrop_id)
        if maildrop.history is History.EXISTING and not maildrop.is_indexed:
            raise MaildropBeingPrepared("the index of a mailbox with a past is not complete yet")
        snapshot = self._snapshots.get(maildrop.maildrop_id, maildrop.index_version)
        if snapshot is None:
            snapshot = await self._index.load_snapshot(maildrop.maildrop_id)
            self._snapshots.put(maildrop.maildrop_id, snapshot)
        if snapshot.count == 0 and not maildrop.is_indexed:
            raise MaildropBeingPrepared("nothing of the mailbox could be indexed yet")
        return snapshot

    async def _sync(self, held: HeldLease) -> None:
        """With S3 away the index serves as it is; but a mailbox that was never listed is not shown as empty."""
        try:
            await self._syncer.sync(held.maildrop.maildrop_id, budget_s=self._login_sync_budget_s)
        except (StoreUnavailable, ObjectUnreadable) as error:
            log.warning("sync at login failed", extra={"maildrop_id": held.maildrop.maildrop_id, "error": str(error)})
            if not held.maildrop.is_indexed:
                raise StoreUnavailable("the maildrop could not be listed yet") from error
