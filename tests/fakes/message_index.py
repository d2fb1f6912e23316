from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bridge.ids import MaildropId, MessageId, ViewId
from bridge.maildrop.errors import LeaseLost, StoreUnavailable
from bridge.maildrop.model import (
    AddMessage,
    ChangeReport,
    Difference,
    IndexChange,
    IndexedMessage,
    KnownMessage,
    Lease,
    ListedMessage,
    ListingComparison,
    Maildrop,
    NewMessage,
    RefreshMessage,
    Removal,
    RemovalPolicy,
    ReplaceMessage,
    RequeueRemoval,
    RowState,
    VanishMessage,
)
from bridge.maildrop.snapshot import Snapshot
from tests.fakes.tables import FakeTables, MessageRow, RemovalRow


class FakeMessageIndex:
    """A MessageIndex in memory. `is_away`: every call raises StoreUnavailable."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.is_away = False

    async def maildrop(self, maildrop_id: MaildropId) -> Maildrop:
        self._reach()
        return self.tables.maildrop(maildrop_id)

    async def claim_for_sync(self, *, older_than_s: float, limit: int) -> Sequence[MaildropId]:
        self._reach()
        now = self.tables.clock.now()
        latest, tried = now - timedelta(seconds=older_than_s), self.tables.sync_tried_at
        never = [one for one in self.tables.maildrops if one not in tried]
        old = sorted((at, one) for one, at in tried.items() if at <= latest)
        claimed = [*never, *(one for _, one in old)][:limit]
        tried.update(dict.fromkeys(claimed, now))
        return claimed

    async def begin_sync(self, maildrop_id: MaildropId) -> datetime:
        self._reach()
        self.tables.maildrop(maildrop_id)
        return self.tables.clock.now()

    async def compare_listing(
        self, maildrop_id: MaildropId, listed: Sequence[ListedMessage], *, whole_since: datetime | None
    ) -> ListingComparison:
        self._reach()
        rows = self._rows(maildrop_id)
        differences = []
        for one in listed:
            known = self._known_rows(maildrop_id, one.identity)
            is_as_listed = [
                (row.message.ref.key, row.message.ref.etag) == (one.object.ref.key, one.object.ref.etag)
                for row in known
            ]
            is_settled = {row.state for row in known} <= {RowState.LIVE, RowState.REMOVED, RowState.HIDDEN}
            if not known or not all(is_as_listed) or not is_settled:
                differences.append(Difference(one, tuple(self._known(maildrop_id, row) for row in known)))
        identities = {one.identity for one in listed}
        missing = [
            self._known(maildrop_id, row)
            for row in rows
            if row.is_live
            and whole_since is not None
            and row.indexed_at < whole_since
            and row.message.identity not in identities
        ]
        live_count = 0 if whole_since is None else sum(row.is_live for row in rows)
        return ListingComparison(tuple(differences), tuple(missing), live_count)

    async def apply_changes(self, maildrop_id: MaildropId, changes: Sequence[IndexChange]) -> ChangeReport:
        self._reach()
        self.tables.maildrop(maildrop_id)
        added_count = refreshed_count = vanished_count = requeued_count = 0
        taken: list[NewMessage] = []
        for change in changes:
            match change:
                case VanishMessage() | ReplaceMessage():
                    vanished_count += self._vanish(maildrop_id, change)
                case RefreshMessage():
                    refreshed_count += self._refresh(maildrop_id, change)
                case RequeueRemoval():
                    requeued_count += self._requeue(maildrop_id, change)
                case AddMessage():
                    pass
        for change in changes:
            if isinstance(change, AddMessage | ReplaceMessage):
                new = change.message
                if self._may_add(maildrop_id, new):
                    if any(row.uidl == new.uidl for row in self._rows(maildrop_id)):
                        taken.append(new)
                    else:
                        self._add(maildrop_id, new)
                        added_count += 1
        if added_count or refreshed_count or vanished_count:
            self.tables.grow_index_version(maildrop_id)
        return ChangeReport(added_count, refreshed_count, vanished_count, requeued_count, tuple(taken))

    async def end_sync(self, maildrop_id: MaildropId, began_at: datetime) -> None:
        self._reach()
        if maildrop_id in self.tables.maildrops:
            kept = self.tables.synced_at.get(maildrop_id, began_at)
            self.tables.synced_at[maildrop_id] = max(kept, began_at)
            tried = self.tables.sync_tried_at.get(maildrop_id, began_at)
            self.tables.sync_tried_at[maildrop_id] = max(tried, began_at)

    async def load_snapshot(self, maildrop_id: MaildropId) -> Snapshot:
        self._reach()
        index_version = self.tables.maildrop(maildrop_id).index_version
        live = sorted(
            (row for row in self._rows(maildrop_id) if row.is_live),
            key=lambda row: (row.message.arrived_at, row.message.identity.encode(), row.message.part),
        )
        return Snapshot(
            index_version=index_version,
            message_ids=b"".join(row.message_id.to_bytes(8, "big") for row in live),
            octets=b"".join(row.message.measure.octets.to_bytes(8, "big") for row in live),
            uidls=b"\n".join(row.uidl.encode() for row in live),
        )

    async def messages(self, maildrop_id: MaildropId, message_ids: Sequence[MessageId]) -> Sequence[IndexedMessage]:
        self._reach()
        rows = self.tables.messages.get(maildrop_id, {})
        return [_indexed(rows[message_id]) for message_id in message_ids if message_id in rows]

    async def distrust(self, maildrop_id: MaildropId, message_id: MessageId) -> None:
        self._reach()
        row = self.tables.messages[maildrop_id].get(message_id)
        if row is not None and row.is_live:
            row.message = replace(row.message, ref=replace(row.message.ref, etag=""))

    async def note_retrieved(self, maildrop_id: MaildropId, view_id: ViewId, message_ids: Sequence[MessageId]) -> None:
        self._reach()
        view = self.tables.views.get((maildrop_id, view_id))
        if view is not None:
            view.seen.update(one for one in message_ids if one in self.tables.messages[maildrop_id])

    async def seen(self, maildrop_id: MaildropId, view_id: ViewId) -> frozenset[MessageId]:
        self._reach()
        view = self.tables.views.get((maildrop_id, view_id))
        rows = self.tables.messages.get(maildrop_id, {})
        return frozenset(one for one in view.seen if rows[one].is_live) if view else frozenset()

    async def remove_messages(
        self, lease: Lease, message_ids: Sequence[MessageId], *, claim_duration_s: float
    ) -> Sequence[Removal]:
        self._reach()
        view = self.tables.views.get((lease.maildrop_id, lease.view_id))
        if view is None or (view.lease_holder, view.fencing_token) != (lease.holder, lease.fencing_token):
            raise LeaseLost("another session holds the lease; nothing was removed")
        policy = self.tables.maildrops[lease.maildrop_id].removal_policy
        is_hidden = policy is RemovalPolicy.HIDE
        now = self.tables.clock.now()
        removals = []
        for message_id in dict.fromkeys(message_ids):
            row = self.tables.messages[lease.maildrop_id].get(message_id)
            if row is None or not row.is_live:
                continue
            row.removal = RemovalRow(
                policy=policy,
                ref=row.message.ref,
                stored_octets=row.message.stored_octets,
                removed_at=now,
                due_at=None if is_hidden else now,
                claimed_until=None if is_hidden else now + timedelta(seconds=claim_duration_s),
            )
            removals.append(
                Removal(lease.maildrop_id, message_id, policy, row.message.ref, row.message.stored_octets, 0)
            )
        if removals:
            self.tables.grow_index_version(lease.maildrop_id)
        return [] if is_hidden else removals

    def _reach(self) -> None:
        if self.is_away:
            raise StoreUnavailable("the fake is away")

    def _rows(self, maildrop_id: MaildropId) -> list[MessageRow]:
        return list(self.tables.messages.get(maildrop_id, {}).values())

    def _known_rows(self, maildrop_id: MaildropId, identity: str) -> list[MessageRow]:
        """The live rows, else the newest."""
        rows = [row for row in self._rows(maildrop_id) if row.message.identity == identity]
        return [row for row in rows if row.is_live] or rows[-1:]

    def _known(self, maildrop_id: MaildropId, row: MessageRow) -> KnownMessage:
        return KnownMessage(
            message_id=row.message_id,
            identity=row.message.identity,
            part=row.message.part,
            state=row.state,
            key=row.message.ref.key,
            etag=row.message.ref.etag,
            uidl=row.uidl,
            digest=row.message.measure.digest,
        )

    def _vanish(self, maildrop_id: MaildropId, change: VanishMessage | ReplaceMessage) -> bool:
        row = self.tables.messages[maildrop_id].get(change.message_id)
        if row is None or not row.is_live or row.message.ref.etag != change.known_etag:
            return False
        row.is_vanished = True
        return True

    def _refresh(self, maildrop_id: MaildropId, change: RefreshMessage) -> bool:
        row = self.tables.messages[maildrop_id].get(change.message_id)
        if row is None or row.removal is not None or row.message.ref.etag != change.known_etag:
            return False
        if row.is_vanished:
            if self._has_live(maildrop_id, row.message):
                return False
            row.is_vanished = False
            row.indexed_at = self.tables.clock.now()
        kept = row.message
        row.message = replace(
            change.message, identity=kept.identity, part=kept.part, uidl=kept.uidl, arrived_at=kept.arrived_at
        )
        return True

    def _requeue(self, maildrop_id: MaildropId, change: RequeueRemoval) -> bool:
        row = self.tables.messages[maildrop_id].get(change.message_id)
        if row is None or row.removal is None or row.state is not RowState.REMOVED:
            return False
        removal = row.removal
        if (removal.ref.key, removal.ref.etag) == (change.ref.key, change.ref.etag):
            return False
        removal.ref = change.ref
        removal.due_at = self.tables.clock.now()
        removal.claimed_until = None
        removal.attempt_count = 0
        row.message = replace(row.message, ref=change.ref)
        return True

    def _has_live(self, maildrop_id: MaildropId, new: NewMessage) -> bool:
        return any(
            row.is_live and (row.message.identity, row.message.part) == (new.identity, new.part)
            for row in self._rows(maildrop_id)
        )

    def _may_add(self, maildrop_id: MaildropId, new: NewMessage) -> bool:
        is_removed = any(
            (row.message.identity, row.message.part) == (new.identity, new.part) and _forbids(row, new)
            for row in self._rows(maildrop_id)
        )
        return not is_removed and not self._has_live(maildrop_id, new)

    def _add(self, maildrop_id: MaildropId, new: NewMessage) -> None:
        message_id = MessageId(self.tables.next_number())
        self.tables.messages[maildrop_id][message_id] = MessageRow(message_id, new, self.tables.clock.now())


def _forbids(row: MessageRow, new: NewMessage) -> bool:
    """Whether the removed row keeps its identity from a new row."""
    if row.removal is None:
        return False
    if row.state is RowState.CONFIRMED:
        return new.listed_at is not None and row.removal.confirmed_at >= new.listed_at
    return row.state is RowState.REMOVED or row.message.measure.digest == new.measure.digest


def _indexed(row: MessageRow) -> IndexedMessage:
    measure = row.message.measure
    return IndexedMessage(
        message_id=row.message_id,
        uidl=row.uidl,
        octets=measure.octets,
        header_octets=measure.header_octets,
        text_octets=measure.text_octets,
        text_header_octets=measure.text_header_octets,
        is_canonical=measure.is_canonical,
        has_dot_lines=measure.has_dot_lines,
        has_utf8_headers=measure.has_utf8_headers,
        ref=row.message.ref,
        stored_octets=row.message.stored_octets,
        extent=row.message.extent,
        encoding=row.message.encoding,
    )
