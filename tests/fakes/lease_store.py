from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from bridge.ids import FencingToken, MaildropId, ViewId
from bridge.maildrop.errors import LoginTooSoon, MaildropInUse, NoSuchMaildrop, StoreUnavailable
from bridge.maildrop.model import Acquired, Lease, LockPolicy, OpenLease, Renewal
from tests.fakes.tables import FakeTables, ViewRow


class FakeLeaseStore:
    """A LeaseStore in memory. `is_away`: every call raises StoreUnavailable. Renewals skip views in `busy`."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.is_away = False
        self.busy: set[ViewId] = set()

    async def acquire(
        self,
        maildrop_id: MaildropId,
        view_id: ViewId,
        holder: UUID,
        *,
        lease_duration_s: float,
        login_delay_s: float,
        takeover_idle_s: float,
    ) -> Acquired:
        self._reach()
        view = self.tables.views.get((maildrop_id, view_id))
        if view is None:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}, view {view_id}")
        maildrop = self.tables.maildrop(maildrop_id)
        now = self.tables.clock.now()
        if view.lease_holder not in (None, holder):
            assert view.lease_expires_at is not None and view.last_active_at is not None
            may_take_over = maildrop.lock_policy is LockPolicy.TAKEOVER and view.last_active_at <= now - timedelta(
                seconds=takeover_idle_s
            )
            if view.lease_expires_at > now and not may_take_over:
                raise MaildropInUse(maildrop.lock_policy)
        if view.last_quit_at is not None and view.last_quit_at > now - timedelta(seconds=login_delay_s):
            raise LoginTooSoon("the login delay has not passed yet")
        view.fencing_token = FencingToken(view.fencing_token + 1)
        view.lease_holder = holder
        view.lease_expires_at = now + timedelta(seconds=lease_duration_s)
        view.last_active_at = view.last_login_at = now
        synced_at = self.tables.synced_at.get(maildrop_id)
        return Acquired(
            Lease(maildrop_id, view_id, holder, view.fencing_token),
            maildrop,
            None if synced_at is None else (now - synced_at).total_seconds(),
        )

    async def renew(self, leases: Sequence[Lease], *, idle_s: Sequence[float], lease_duration_s: float) -> Renewal:
        self._reach()
        now = self.tables.clock.now()
        kept, lost = set(), set()
        for lease, one_idle_s in zip(leases, idle_s, strict=True):
            view = self._held(lease)
            if view is None:
                lost.add(lease.holder)
            elif lease.view_id not in self.busy:
                kept.add(lease.holder)
                view.lease_expires_at = now + timedelta(seconds=lease_duration_s)
                view.last_active_at = now - timedelta(seconds=one_idle_s)
        return Renewal(frozenset(kept), frozenset(lost))

    async def release(self, lease: Lease, *, by_quit: bool) -> None:
        self._reach()
        view = self._held(lease)
        if view is not None:
            view.lease_holder = view.lease_expires_at = None
            if by_quit:
                view.last_quit_at = self.tables.clock.now()

    async def abandon(self, maildrop_id: MaildropId, view_id: ViewId, holder: UUID) -> None:
        self._reach()
        view = self.tables.views.get((maildrop_id, view_id))
        if view is not None and view.lease_holder == holder:
            view.lease_holder = view.lease_expires_at = None

    async def break_lease(self, maildrop_id: MaildropId, view_id: ViewId) -> bool:
        self._reach()
        view = self.tables.views.get((maildrop_id, view_id))
        if view is None or view.lease_holder is None:
            return False
        view.lease_holder = view.lease_expires_at = None
        view.fencing_token = FencingToken(view.fencing_token + 1)
        return True

    async def open_leases(self, *, limit: int) -> Sequence[OpenLease]:
        self._reach()
        now = self.tables.clock.now()
        found = []
        for view in self.tables.views.values():
            if view.lease_holder is None:
                continue
            assert view.last_login_at and view.last_active_at and view.lease_expires_at
            names = (one.login_name for one in self.tables.accounts.values() if one.view_id == view.view_id)
            found.append(
                OpenLease(
                    maildrop_id=view.maildrop_id,
                    view_id=view.view_id,
                    view_name=view.name,
                    login_names=tuple(sorted(names)),
                    holder=view.lease_holder,
                    fencing_token=view.fencing_token,
                    held_s=(now - view.last_login_at).total_seconds(),
                    idle_s=(now - view.last_active_at).total_seconds(),
                    expires_in_s=(view.lease_expires_at - now).total_seconds(),
                )
            )
        return sorted(found, key=lambda one: (-one.held_s, one.view_id))[:limit]

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the fake is away")

    def _held(self, lease: Lease) -> ViewRow | None:
        view = self.tables.views.get((lease.maildrop_id, lease.view_id))
        if view is None or (view.lease_holder, view.fencing_token) != (lease.holder, lease.fencing_token):
            return None
        return view
