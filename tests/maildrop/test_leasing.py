import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import pytest

from bridge.ids import FencingToken, MaildropId, ViewId
from bridge.maildrop.errors import MaildropInUse, StoreUnavailable
from bridge.maildrop.leasing import LeaseKeeper
from bridge.maildrop.model import (
    Acquired,
    History,
    Layout,
    Lease,
    LockPolicy,
    Maildrop,
    OpenLease,
    RemovalPolicy,
    Renewal,
)

MAILDROP = Maildrop(
    maildrop_id=MaildropId(1),
    bucket="mail",
    key_prefix="alice/",
    layout=Layout.OBJECTS,
    history=History.NEW,
    lock_policy=LockPolicy.REFUSE,
    removal_policy=RemovalPolicy.DELETE,
    trash_prefix=None,
    is_indexed=True,
    index_version=1,
)


class ScriptedLeases:
    """A LeaseStore whose answers a test writes down, and which keeps what it was asked."""

    def __init__(self) -> None:
        self.acquire_answers: list[Exception | asyncio.Event] = []
        self.renewal: Renewal | Exception = Renewal(frozenset(), frozenset())
        self.renewed: list[list[Lease]] = []
        self.idle_s: list[float] = []
        self.released: list[tuple[UUID, bool]] = []
        self.abandoned: list[UUID] = []
        self.release_answer: Exception | None = None
        self.release_reached = asyncio.Event()
        self.acquire_reached = asyncio.Event()
        self._token = 0

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
        self.acquire_reached.set()
        if self.acquire_answers:
            answer = self.acquire_answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            await answer.wait()
        self._token += 1
        return Acquired(Lease(maildrop_id, view_id, holder, FencingToken(self._token)), MAILDROP, None)

    async def renew(self, leases: Sequence[Lease], *, idle_s: Sequence[float], lease_duration_s: float) -> Renewal:
        self.renewed.append(list(leases))
        self.idle_s = list(idle_s)
        if isinstance(self.renewal, Exception):
            raise self.renewal
        return self.renewal

    async def release(self, lease: Lease, *, by_quit: bool) -> None:
        self.released.append((lease.holder, by_quit))
        self.release_reached.set()
        if self.release_answer:
            raise self.release_answer

    async def abandon(self, maildrop_id: MaildropId, view_id: ViewId, holder: UUID) -> None:
        self.abandoned.append(holder)
        self.release_reached.set()

    async def break_lease(self, maildrop_id: MaildropId, view_id: ViewId) -> bool:
        raise AssertionError("a keeper breaks no lease")

    async def open_leases(self, *, limit: int) -> Sequence[OpenLease]:
        raise AssertionError("a keeper lists no leases")


def keeper(
    leases: ScriptedLeases,
    *,
    wait_s: float = 0.0,
    on_conflict: Callable[[], None] = lambda: None,
    on_lost: Callable[[], None] = lambda: None,
) -> LeaseKeeper:
    return LeaseKeeper(
        leases,
        lease_duration_s=60,
        renew_interval_s=15,
        takeover_idle_s=120,
        wait_s=wait_s,
        release_timeout_s=5,
        on_conflict=on_conflict,
        on_lost=on_lost,
    )


async def hold(one: LeaseKeeper):
    return await one.hold(MaildropId(1), ViewId(2), login_delay_s=0)


async def test_one_renewal_asks_for_all_held_leases() -> None:
    leases = ScriptedLeases()
    one = keeper(leases)
    held = [await hold(one) for _ in range(3)]
    await one.renew_once()
    assert leases.renewed == [[each.lease for each in held]]
    assert all(0 <= idle < 5 for idle in leases.idle_s)


async def test_nothing_held_asks_nothing() -> None:
    leases = ScriptedLeases()
    await keeper(leases).renew_once()
    assert leases.renewed == []


async def test_a_lost_lease_is_told_once_and_not_renewed_again() -> None:
    leases = ScriptedLeases()
    losses: list[None] = []
    one = keeper(leases, on_lost=lambda: losses.append(None))
    lost, kept, unknown = [await hold(one) for _ in range(3)]
    leases.renewal = Renewal(frozenset({kept.lease.holder}), frozenset({lost.lease.holder}))
    await one.renew_once()
    assert lost.lost.is_set()
    assert not kept.lost.is_set()
    assert not unknown.lost.is_set()
    await one.renew_once()
    assert leases.renewed[1] == [kept.lease, unknown.lease]
    assert len(losses) == 1


async def test_a_database_that_is_away_costs_no_session() -> None:
    leases = ScriptedLeases()
    one = keeper(leases)
    held = await hold(one)
    leases.renewal = StoreUnavailable("away")
    await one.renew_once()
    assert not held.lost.is_set()
    leases.renewal = Renewal(frozenset({held.lease.holder}), frozenset())
    await one.renew_once()
    assert leases.renewed[1] == [held.lease]


async def test_a_lease_is_given_back_once() -> None:
    leases = ScriptedLeases()
    one = keeper(leases)
    held = await hold(one)
    await held.release(by_quit=True)
    await held.release(by_quit=False)
    assert leases.released == [(held.lease.holder, True)]
    await one.renew_once()
    assert leases.renewed == []


async def test_a_release_that_fails_is_left_to_expiry() -> None:
    leases = ScriptedLeases()
    leases.release_answer = StoreUnavailable("away")
    held = await hold(keeper(leases))
    await held.release(by_quit=True)
    assert leases.released == [(held.lease.holder, True)]


async def test_a_client_that_leaves_while_the_lease_is_taken_leaves_no_lease_behind() -> None:
    leases = ScriptedLeases()
    gate = asyncio.Event()
    leases.acquire_answers = [gate]
    one = keeper(leases)
    login = asyncio.create_task(hold(one))
    await leases.acquire_reached.wait()
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    assert leases.abandoned == []
    gate.set()
    await leases.release_reached.wait()
    await one.close()
    assert len(leases.abandoned) == 1
    await one.renew_once()
    assert leases.renewed == []


async def test_a_client_that_leaves_while_the_lease_is_refused_leaves_no_unseen_exception() -> None:
    leases = ScriptedLeases()
    one = keeper(leases)

    class Refused(asyncio.Event):
        async def wait(self):
            await super().wait()
            raise MaildropInUse(LockPolicy.REFUSE)

    gate = Refused()
    leases.acquire_answers = [gate]
    login = asyncio.create_task(hold(one))
    await leases.acquire_reached.wait()
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    gate.set()
    await one.close()
    assert leases.abandoned == []


async def test_a_lease_whose_answer_was_lost_is_freed_for_the_next_try() -> None:
    leases = ScriptedLeases()
    leases.acquire_answers = [StoreUnavailable("no answer")]
    one = keeper(leases)
    with pytest.raises(StoreUnavailable):
        await hold(one)
    await one.close()
    assert len(leases.abandoned) == 1


async def test_policy_refuse_is_told_at_once() -> None:
    leases = ScriptedLeases()
    conflicts: list[None] = []
    leases.acquire_answers = [MaildropInUse(LockPolicy.REFUSE)]
    with pytest.raises(MaildropInUse):
        await hold(keeper(leases, wait_s=60, on_conflict=lambda: conflicts.append(None)))
    assert len(conflicts) == 1


async def test_policy_wait_asks_again_until_the_lease_is_free() -> None:
    leases = ScriptedLeases()
    leases.acquire_answers = [MaildropInUse(LockPolicy.WAIT), MaildropInUse(LockPolicy.WAIT)]
    held = await hold(keeper(leases, wait_s=5))
    assert held.lease.fencing_token == 1


async def test_policy_wait_gives_up_at_its_limit() -> None:
    leases = ScriptedLeases()
    leases.acquire_answers = [MaildropInUse(LockPolicy.WAIT)] * 9
    with pytest.raises(MaildropInUse):
        await hold(keeper(leases, wait_s=0.6))
    assert len(leases.acquire_answers) > 0
