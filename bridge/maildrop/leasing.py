"""Holding leases: taken at login, prolonged all at once, given back on every way out, noticed when lost."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

from bridge.ids import MaildropId, ViewId
from bridge.maildrop.errors import MaildropInUse, StoreUnavailable
from bridge.maildrop.model import Acquired, Lease, LockPolicy, Maildrop
from bridge.maildrop.ports import LeaseStore

log = logging.getLogger(__name__)

_WAIT_STEP_S = (0.25, 0.5)  # policy wait: asks again after a time drawn from here


class HeldLease:
    """One session's lease. `lost` is set once another session holds the view, or an operator broke the lease."""

    def __init__(self, acquired: Acquired, keeper: "LeaseKeeper") -> None:
        self.lease = acquired.lease
        self.maildrop: Maildrop = acquired.maildrop
        self.sync_age_s = acquired.sync_age_s
        self.lost = asyncio.Event()
        self.last_active = asyncio.get_running_loop().time()
        self._keeper = keeper
        self._released = False

    def note_activity(self) -> None:
        """A command came or octets moved: what policy takeover counts the silence from."""
        self.last_active = asyncio.get_running_loop().time()

    async def release(self, *, by_quit: bool) -> None:
        """Give it back, shielded from cancellation and bounded; further calls do nothing."""
        if not self._released:
            self._released = True
            await self._keeper.give_back(self, by_quit=by_quit)


class LeaseKeeper:
    """All leases of this process. `run` must be running while any is held."""

    def __init__(
        self,
        leases: LeaseStore,
        *,
        lease_duration_s: float,
        renew_interval_s: float,
        takeover_idle_s: float,
        wait_s: float,
        release_timeout_s: float,
        on_conflict: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._leases = leases
        self._lease_duration_s = lease_duration_s
        self._renew_interval_s = renew_interval_s
        self._takeover_idle_s = takeover_idle_s
        self._wait_s = wait_s
        self._release_timeout_s = release_timeout_s
        self._on_conflict = on_conflict
        self._on_lost = on_lost
        self._held: dict[UUID, HeldLease] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def hold(self, maildrop_id: MaildropId, view_id: ViewId, *, login_delay_s: float) -> HeldLease:
        """Take the view's lease. Raises MaildropInUse (at once, or by policy after a wait), LoginTooSoon,
        NoSuchMaildrop, StoreUnavailable. A caller that is cancelled meanwhile leaves no lease behind.
        """
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while True:
            try:
                return await self._acquire(maildrop_id, view_id, login_delay_s)
            except MaildropInUse as in_use:
                pause_s = random.uniform(*_WAIT_STEP_S)  # noqa: S311
                is_late = asyncio.get_running_loop().time() + pause_s > deadline
                if in_use.lock_policy is not LockPolicy.WAIT or is_late:
                    self._on_conflict()
                    raise
                await asyncio.sleep(pause_s)

    async def _acquire(self, maildrop_id: MaildropId, view_id: ViewId, login_delay_s: float) -> HeldLease:
        holder = uuid4()
        acquiring = asyncio.create_task(
            self._leases.acquire(
                maildrop_id,
                view_id,
                holder,
                lease_duration_s=self._lease_duration_s,
                login_delay_s=login_delay_s,
                takeover_idle_s=self._takeover_idle_s,
            )
        )
        try:
            acquired = await asyncio.shield(acquiring)
        except (asyncio.CancelledError, StoreUnavailable):
            # The statement may still succeed, or have succeeded: its lease would lock the owner out until it expires.
            self._own(self._abandon(acquiring, maildrop_id, view_id, holder))
            raise
        held = HeldLease(acquired, self)
        self._held[acquired.lease.holder] = held
        return held

    async def _abandon(
        self, acquiring: "asyncio.Task[Acquired]", maildrop_id: MaildropId, view_id: ViewId, holder: UUID
    ) -> None:
        await asyncio.wait([acquiring])
        error = acquiring.exception()
        if error is None or isinstance(error, StoreUnavailable):
            await self._bounded(self._leases.abandon(maildrop_id, view_id, holder), maildrop_id)

    async def give_back(self, held: HeldLease, *, by_quit: bool) -> None:
        """Called by HeldLease.release."""
        self._held.pop(held.lease.holder, None)
        await asyncio.shield(self._own(self._release(held.lease, by_quit=by_quit)))

    def _own(self, release: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(release)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _release(self, lease: Lease, *, by_quit: bool) -> None:
        await self._bounded(self._leases.release(lease, by_quit=by_quit), lease.maildrop_id)

    async def _bounded(self, release: Coroutine[Any, Any, None], maildrop_id: MaildropId) -> None:
        try:
            async with asyncio.timeout(self._release_timeout_s):
                await release
        except (TimeoutError, StoreUnavailable) as error:
            log.warning(
                "a lease could not be given back; it ends by itself",
                extra={"maildrop_id": maildrop_id, "error": str(error) or "time limit"},
            )

    async def run(self) -> None:
        """Prolong all held leases again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._renew_interval_s)
            await self.renew_once()

    async def renew_once(self) -> None:
        """One statement for all. With the database away no session ends: an expired lease nobody took is still ours."""
        held = list(self._held.values())
        if not held:
            return
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._renew_interval_s):
                renewal = await self._leases.renew(
                    [one.lease for one in held],
                    idle_s=[now - one.last_active for one in held],
                    lease_duration_s=self._lease_duration_s,
                )
        except (TimeoutError, StoreUnavailable) as error:
            log.warning("leases could not be renewed", extra={"count": len(held), "error": str(error) or "time limit"})
            return
        for one in held:
            if one.lease.holder in renewal.lost and self._held.pop(one.lease.holder, None) is not None:
                self._on_lost()
                one.lost.set()

    async def close(self) -> None:
        """Wait for what is being given back; each is bounded."""
        while tasks := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(tasks)
