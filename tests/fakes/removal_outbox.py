from collections.abc import Iterator, Sequence
from datetime import timedelta

from bridge.ids import MaildropId
from bridge.maildrop.errors import StoreUnavailable
from bridge.maildrop.model import Removal, RemovalBacklog
from tests.fakes.tables import FakeTables, MessageRow, RemovalRow


class FakeRemovalOutbox:
    """A RemovalOutbox in memory. `is_away`: every call raises StoreUnavailable."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.is_away = False

    async def claim(self, *, limit: int, claim_duration_s: float) -> Sequence[Removal]:
        self._reach()
        now = self.tables.clock.now()
        free = [
            (removal.due_at, row.message_id, maildrop_id, row, removal)
            for maildrop_id, row, removal in self._due()
            if removal.due_at is not None and (removal.claimed_until is None or removal.claimed_until <= now)
        ]
        claimed = []
        for _, message_id, maildrop_id, _, removal in sorted(free, key=lambda one: one[:2])[:limit]:
            removal.claimed_until = now + timedelta(seconds=claim_duration_s)
            claimed.append(
                Removal(
                    maildrop_id,
                    message_id,
                    removal.policy,
                    removal.ref,
                    removal.stored_octets,
                    removal.attempt_count,
                )
            )
        return claimed

    async def complete(self, removals: Sequence[Removal]) -> None:
        self._reach()
        for _, _, removal in self._meant(removals):
            removal.confirmed_at = self.tables.clock.now()
            removal.claimed_until = None

    async def postpone(self, removals: Sequence[Removal], *, retry_delay_s: float, error: str) -> None:
        self._reach()
        for _, _, removal in self._meant(removals):
            removal.claimed_until = None
            removal.last_error = error or removal.last_error
            if retry_delay_s > 0:
                removal.due_at = self.tables.clock.now() + timedelta(seconds=retry_delay_s)
                removal.attempt_count += 1

    async def put_back(self, removals: Sequence[Removal], *, error: str) -> int:
        self._reach()
        changed = set()
        for maildrop_id, row, _ in list(self._meant(removals)):
            row.removal = None
            changed.add(maildrop_id)
        for maildrop_id in changed:
            self.tables.grow_index_version(maildrop_id)
        rows = (self.tables.messages.get(one.maildrop_id, {}).get(one.message_id) for one in removals)
        return sum(row is not None and row.is_live for row in rows)

    async def backlog(self) -> RemovalBacklog:
        self._reach()
        ages_s = [(self.tables.clock.now() - removal.removed_at).total_seconds() for _, _, removal in self._due()]
        return RemovalBacklog(len(ages_s), max(ages_s, default=0.0))

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the fake is away")

    def _due(self) -> Iterator[tuple[MaildropId, MessageRow, RemovalRow]]:
        now = self.tables.clock.now()
        for maildrop_id, rows in self.tables.messages.items():
            for row in rows.values():
                removal = row.removal
                if removal and removal.confirmed_at is None and removal.due_at is not None and removal.due_at <= now:
                    yield maildrop_id, row, removal

    def _meant(self, removals: Sequence[Removal]) -> Iterator[tuple[MaildropId, MessageRow, RemovalRow]]:
        for one in removals:
            row = self.tables.messages.get(one.maildrop_id, {}).get(one.message_id)
            if row is None or row.removal is None or row.removal.confirmed_at is not None:
                continue
            if (row.removal.ref.key, row.removal.ref.etag) == (one.ref.key, one.ref.etag):
                yield one.maildrop_id, row, row.removal
