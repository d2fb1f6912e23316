"""Keeping a maildrop's index in step with its bucket: list, compare, measure, add, mark vanished."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from bridge.ids import MaildropId
from bridge.maildrop.errors import ObjectDamaged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.layouts import NotAMessage, classify
from bridge.maildrop.measuring import measure_object
from bridge.maildrop.model import (
    AddMessage,
    ChangeReport,
    Difference,
    History,
    IndexChange,
    KnownMessage,
    ListedMessage,
    Maildrop,
    NewMessage,
    ObjectRef,
    RefreshMessage,
    Removal,
    ReplaceMessage,
    RequeueRemoval,
    RowState,
    VanishMessage,
)
from bridge.maildrop.ports import MessageIndex, ObjectStore
from bridge.maildrop.uidl import give_uidl

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_BATCH_COUNT = 200  # measured messages that are written, and so become visible, together
_ASIDE_S = 600.0  # an object that may not be read is not asked for again at every login
_MAX_ASIDE_COUNT = 10_000
_MASS_LOSS_COUNT = 20
_MASS_LOSS_SHARE = 0.2  # of what is live; more than both at once are not believed


@dataclass(slots=True)
class SyncReport:
    """What one listing found and did."""

    listed_count: int = 0
    skipped: dict[NotAMessage, int] = field(default_factory=dict)
    added_count: int = 0
    refreshed_count: int = 0
    vanished_count: int = 0
    unreadable_count: int = 0  # the store will not let them be read, or they hold no mail that can be served
    denied_count: int = 0  # of these, the ones that a permission may cure
    held_count: int = 0  # would have vanished or been replaced at once: too many to believe; nothing was done
    is_complete: bool = False  # listed whole, and all that was listed is indexed or unreadable
    duration_s: float = 0.0

    def count(self, changes: ChangeReport) -> None:
        self.added_count += changes.added_count
        self.refreshed_count += changes.refreshed_count
        self.vanished_count += changes.vanished_count


@dataclass(frozen=True, slots=True)
class _Work:
    """One sync, for those who do parts of it."""

    maildrop: Maildrop
    listed_at: datetime  # when the listing began, by the database's clock
    live_count: int
    report: SyncReport
    accept_loss: bool


class _Running:
    """One sync under way, which several logins may wait for."""

    def __init__(self, task: "asyncio.Task[SyncReport]") -> None:
        self.task = task
        self.waiter_count = 0
        self.goes_on_alone = False  # a login's budget ran out: the rest is done in the background


class Syncer:
    """Brings indexes up to date. One per process; one sync per maildrop at a time, others join it."""

    def __init__(
        self,
        store: ObjectStore,
        index: MessageIndex,
        *,
        parallel_measure_count: int,
        max_text_octets: int,
        sync_timeout_s: float,
        on_report: Callable[[SyncReport], None] = lambda report: None,
        on_indexed: Callable[[NewMessage], None] = lambda message: None,
    ) -> None:
        self._store = store
        self._index = index
        self._measuring = asyncio.Semaphore(parallel_measure_count)  # over all maildrops of the process
        self._parallel_measure_count = parallel_measure_count
        self._max_text_octets = max_text_octets
        self._sync_timeout_s = sync_timeout_s
        self._on_report = on_report
        self._on_indexed = on_indexed
        self._running: dict[MaildropId, _Running] = {}
        self._stopping: set[asyncio.Task[SyncReport]] = set()
        self._set_aside: dict[tuple[str, str, str], tuple[float, _Aside]] = {}  # bucket, key, etag -> until when, why

    async def sync(self, maildrop_id: MaildropId, *, budget_s: float) -> SyncReport | None:
        """Start or join a sync and wait for its end; None when the budget ran out first, and it goes on alone.

        A sync that nobody waits for any more, because its clients left, is stopped. Raises what the sync raises:
        StoreUnavailable, ObjectUnreadable (the bucket), NoSuchMaildrop.
        """
        deadline = asyncio.get_running_loop().time() + budget_s
        # The listing of one that runs began before this call, and may have missed what came just before.
        if maildrop_id in self._running and await self._join(maildrop_id, deadline) is None:
            return None
        return await self._join(maildrop_id, deadline)

    async def _join(self, maildrop_id: MaildropId, deadline: float) -> SyncReport | None:
        running = self._running.get(maildrop_id)
        if running is None:
            running = self._start(maildrop_id)
        running.waiter_count += 1
        try:
            left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            done, _ = await asyncio.wait([running.task], timeout=left_s)
            if not done:
                running.goes_on_alone = True
                return None
            return running.task.result()
        finally:
            running.waiter_count -= 1
            if running.waiter_count == 0 and not running.goes_on_alone and not running.task.done():
                del self._running[maildrop_id]  # nobody is to join what is being stopped
                self._stopping.add(running.task)
                running.task.add_done_callback(self._stopping.discard)
                running.task.cancel()

    def _start(self, maildrop_id: MaildropId) -> _Running:
        task = asyncio.create_task(self._guarded(maildrop_id), name=f"sync of maildrop {maildrop_id}")
        running = self._running[maildrop_id] = _Running(task)
        task.add_done_callback(lambda task: self._ended(maildrop_id, running))
        return running

    async def close(self) -> None:
        """Stop what goes on in the background."""
        tasks = [*(running.task for running in self._running.values()), *self._stopping]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept_loss(self, maildrop_id: MaildropId) -> SyncReport:
        """An operator's word that messages really are gone: sync without the guard against mass loss."""
        return await self._sync(maildrop_id, accept_loss=True)

    async def resolve_changed(self, removal: Removal) -> bool:
        """Another object stands under the key of a removal. True: the same text again, queued for its new etag.

        False: it is no longer the removed message; that one is gone.
        """
        maildrop = await self._index.maildrop(removal.maildrop_id)
        identity = classify(maildrop, removal.ref.key)
        stored = await self._store.describe_object(removal.ref.bucket, removal.ref.key)
        if stored is None or isinstance(identity, NotAMessage):
            return False
        listed = ListedMessage(identity, stored)
        comparison = await self._index.compare_listing(removal.maildrop_id, [listed], whole_since=None)
        for difference in comparison.differences:
            for known in difference.known:
                if known.message_id == removal.message_id:
                    change = await self._decide(difference, await self._index.begin_sync(removal.maildrop_id))
                    if isinstance(change, RequeueRemoval):
                        await self._index.apply_changes(removal.maildrop_id, [change])
                        return True
        return False

    def _ended(self, maildrop_id: MaildropId, running: _Running) -> None:
        if self._running.get(maildrop_id) is running:
            del self._running[maildrop_id]
        task = running.task
        if not task.cancelled() and (error := task.exception()) is not None and running.goes_on_alone:
            log.warning("background sync failed", extra={"maildrop_id": maildrop_id, "error": str(error)})

    async def _guarded(self, maildrop_id: MaildropId) -> SyncReport:
        try:
            async with asyncio.timeout(self._sync_timeout_s):
                return await self._sync(maildrop_id, accept_loss=False)
        except TimeoutError:
            raise StoreUnavailable(f"the sync did not end within {self._sync_timeout_s:g} s") from None

    async def _sync(self, maildrop_id: MaildropId, *, accept_loss: bool) -> SyncReport:
        maildrop = await self._index.maildrop(maildrop_id)
        report = SyncReport()
        began_s = asyncio.get_running_loop().time()
        began_at = await self._index.begin_sync(maildrop_id)
        listed = await self._list(maildrop, report)
        comparison = await self._index.compare_listing(maildrop_id, listed, whole_since=began_at)
        is_settled = await self._index_differences(
            _Work(maildrop, began_at, comparison.live_count, report, accept_loss), comparison.differences
        )
        await self._vanish(maildrop, comparison.missing, comparison.live_count, report, accept_loss=accept_loss)
        if is_settled and not self._is_shut_out(maildrop, comparison.live_count, report):
            await self._index.end_sync(maildrop_id, began_at)
            report.is_complete = True
        report.duration_s = asyncio.get_running_loop().time() - began_s
        self._on_report(report)
        return report

    async def _list(self, maildrop: Maildrop, report: SyncReport) -> list[ListedMessage]:
        listed = []
        is_whole = False
        async for page in self._store.list_objects(maildrop.bucket, maildrop.key_prefix):
            for stored in page.objects:
                identity = classify(maildrop, stored.ref.key)
                if isinstance(identity, NotAMessage):
                    report.skipped[identity] = report.skipped.get(identity, 0) + 1
                else:
                    listed.append(ListedMessage(identity, stored))
            is_whole = page.is_last
            await asyncio.sleep(0)
        if not is_whole:
            raise StoreUnavailable("the listing did not end")
        report.listed_count = len(listed)
        return listed

    @staticmethod
    def _is_shut_out(maildrop: Maildrop, live_count: int, report: SyncReport) -> bool:
        """Whether what may not be read is so much that the drop must not count as indexed: clients would take the
        mailbox for emptied, and forget their UIDLs.
        """
        if not report.denied_count:
            return False
        log.warning(
            "objects may not be read: look at the role's permissions (GetObject, Decrypt) and the storage class",
            extra={"maildrop_id": maildrop.maildrop_id, "count": report.denied_count},
        )
        has_nothing = live_count + report.added_count == 0
        return has_nothing or (maildrop.history is History.EXISTING and not maildrop.is_indexed)

    async def _index_differences(self, work: "_Work", differences: Sequence[Difference]) -> bool:
        """True when every difference was settled; what failed for the moment is looked at again by the next sync."""
        oldest_first = sorted(differences, key=lambda d: (d.listed.object.modified_at, d.listed.identity))
        is_settled = True
        batch: list[IndexChange] = []
        replaced: list[ReplaceMessage] = []
        async with _in_parallel(
            (self._settle(work, difference) for difference in oldest_first),
            self._parallel_measure_count,
        ) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, StoreUnavailable):
                    is_settled = False
                elif isinstance(outcome, ReplaceMessage):
                    replaced.append(outcome)
                elif outcome is not None:
                    batch.append(outcome)
                if len(batch) >= _BATCH_COUNT:
                    await self._apply(work.maildrop, batch, work.report)
                    batch = []
        await self._apply(work.maildrop, batch, work.report)
        held_count = work.report.held_count + len(replaced)
        if _is_mass_loss(held_count, work.live_count) and not work.accept_loss:
            for change in replaced:
                self._keep_aside(change.message.ref, _Aside.REPLACED)
            self._hold(work.maildrop, held_count, work.live_count, work.report)
            return False
        for start in range(0, len(replaced), _BATCH_COUNT):
            await self._apply(work.maildrop, replaced[start : start + _BATCH_COUNT], work.report)
        return is_settled

    async def _settle(self, work: "_Work", difference: Difference) -> IndexChange | StoreUnavailable | None:
        stored, report = difference.listed.object, work.report
        match self._why_aside(stored.ref):
            case _Aside.DENIED:
                report.unreadable_count += 1
                report.denied_count += 1
                return None
            case _Aside.DAMAGED:
                report.unreadable_count += 1
                return None
            case _Aside.HIDDEN:
                return None
            case _Aside.REPLACED if not work.accept_loss:
                report.held_count += 1
                return None
        try:
            async with self._measuring:
                return await self._decide(difference, work.listed_at)
        except ObjectGone:
            return None
        except ObjectUnreadable as error:
            is_denied = not isinstance(error, ObjectDamaged)
            report.unreadable_count += 1
            report.denied_count += is_denied
            self._keep_aside(stored.ref, _Aside.DENIED if is_denied else _Aside.DAMAGED)
            log.info("object cannot be read", extra={"maildrop_id": work.maildrop.maildrop_id, "error": str(error)})
            return None
        except StoreUnavailable as error:
            return error

    async def _decide(self, difference: Difference, listed_at: datetime) -> IndexChange | None:
        """What becomes of a listed message that is not simply live as listed."""
        known = max(difference.known, key=lambda k: (k.state is RowState.LIVE, k.message_id), default=None)
        if known is not None:
            is_same_object = (
                known.etag == difference.listed.object.ref.etag and known.key == difference.listed.object.ref.key
            )
            if known.state in (RowState.HIDDEN, RowState.REMOVED) and is_same_object:
                return None
        measured = await measure_object(self._store, difference.listed, max_text_octets=self._max_text_octets)
        message = replace(
            measured,
            uidl=give_uidl(measured.identity, measured.measure.digest, part=measured.part, try_count=0),
            listed_at=listed_at,
        )
        if known is None:
            return AddMessage(message)
        is_same_text = known.digest == measured.measure.digest
        match known.state:
            case RowState.LIVE if is_same_text:
                return RefreshMessage(known.message_id, known.etag, message)
            case RowState.LIVE:
                return ReplaceMessage(known.message_id, known.etag, message)
            case RowState.VANISHED if is_same_text:
                return RefreshMessage(known.message_id, known.etag, message)
            case RowState.HIDDEN if is_same_text:
                self._keep_aside(measured.ref, _Aside.HIDDEN)
                return None
            case RowState.REMOVED:
                # Other text: the worker will find its object replaced, and confirm; then this one is new.
                return RequeueRemoval(known.message_id, measured.ref) if is_same_text else None
            case _:  # other text than what vanished or is hidden, or an object that stands again after it was gone
                return AddMessage(message)

    async def _apply(self, maildrop: Maildrop, changes: Sequence[IndexChange], report: SyncReport) -> None:
        try_count = 0
        while changes:
            done = await self._index.apply_changes(maildrop.maildrop_id, changes)
            report.count(done)
            taken = {(message.identity, message.part) for message in done.uidl_taken}
            for change in changes:
                if isinstance(change, AddMessage | ReplaceMessage) and (
                    (change.message.identity, change.message.part) not in taken
                ):
                    self._on_indexed(change.message)
            try_count += 1
            changes = [_with_next_uidl(change, try_count) for change in changes if _is_taken(change, taken)]

    async def _vanish(
        self,
        maildrop: Maildrop,
        missing: Sequence[KnownMessage],
        live_count: int,
        report: SyncReport,
        *,
        accept_loss: bool,
    ) -> None:
        """A wrong prefix, an emptied replica or foreign credentials must not empty a mailbox."""
        if _is_mass_loss(len(missing), live_count) and not accept_loss:
            self._hold(maildrop, report.held_count + len(missing), live_count, report)
            return

        async def look(known: KnownMessage) -> IndexChange | None:
            async with self._measuring:
                if await self._store.describe_object(maildrop.bucket, known.key) is None:
                    return VanishMessage(known.message_id, known.etag)
            return None

        batch: list[IndexChange] = []
        async with _in_parallel((look(known) for known in missing), self._parallel_measure_count) as changes:
            async for change in changes:
                if change is not None:
                    batch.append(change)
        for start in range(0, len(batch), _BATCH_COUNT):
            await self._apply(maildrop, batch[start : start + _BATCH_COUNT], report)

    def _hold(self, maildrop: Maildrop, held_count: int, live_count: int, report: SyncReport) -> None:
        report.held_count = held_count
        log.error(
            "too many messages would vanish or change at once, so none did: `maildrop sync --accept-loss` confirms it",
            extra={"maildrop_id": maildrop.maildrop_id, "count": held_count, "live_count": live_count},
        )

    def _why_aside(self, ref: ObjectRef) -> "_Aside | None":
        """Why this very object was set aside a while ago; it is not read again at every login."""
        until, why = self._set_aside.get((ref.bucket, ref.key, ref.etag), (0.0, None))
        return why if asyncio.get_running_loop().time() < until else None

    def _keep_aside(self, ref: ObjectRef, why: "_Aside") -> None:
        if len(self._set_aside) >= _MAX_ASIDE_COUNT:
            self._set_aside.pop(next(iter(self._set_aside)))
        until = asyncio.get_running_loop().time() + _ASIDE_S
        self._set_aside[(ref.bucket, ref.key, ref.etag)] = (until, why)


class _Aside(Enum):
    DENIED = "denied"
    DAMAGED = "damaged"
    REPLACED = "replaced"  # held back with many others
    HIDDEN = "hidden"  # the text of a hidden message under another etag


def _is_mass_loss(count: int, live_count: int) -> bool:
    return count > _MASS_LOSS_COUNT and count > _MASS_LOSS_SHARE * live_count


def _is_taken(change: IndexChange, taken: set[tuple[str, int]]) -> bool:
    return isinstance(change, AddMessage | ReplaceMessage) and (change.message.identity, change.message.part) in taken


def _with_next_uidl(change: IndexChange, try_count: int) -> IndexChange:
    if not isinstance(change, AddMessage | ReplaceMessage):
        return change
    old = change.message
    uidl = give_uidl(old.identity, old.measure.digest, part=old.part, try_count=try_count)
    return replace(change, message=replace(old, uidl=uidl))


@asynccontextmanager
async def _in_parallel(
    coroutines: Iterable[Coroutine[Any, Any, _T]], limit_count: int
) -> AsyncIterator[AsyncIterator[_T]]:
    """Run at most so many at once; yields results in the order given, so that what is indexed first is oldest."""
    waiting: deque[asyncio.Task[_T]] = deque()

    async def results() -> AsyncGenerator[_T, None]:
        for coroutine in coroutines:
            waiting.append(asyncio.create_task(coroutine))
            if len(waiting) >= limit_count:
                yield await waiting[0]
                waiting.popleft()
        while waiting:
            yield await waiting[0]
            waiting.popleft()

    try:
        async with aclosing(results()) as stream:
            yield stream
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
