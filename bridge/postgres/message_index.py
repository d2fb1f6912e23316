"""The index of messages in Postgres. Satisfies `bridge.maildrop.ports.MessageIndex`."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from bridge.ids import MaildropId, MessageId, Uidl, ViewId
from bridge.mail.compression import ContentEncoding
from bridge.mail.mbox import Extent
from bridge.maildrop.errors import NoSuchMaildrop
from bridge.maildrop.model import (
    ChangeReport,
    IndexChange,
    IndexedMessage,
    Lease,
    ListedMessage,
    ListingComparison,
    Maildrop,
    ObjectRef,
    Removal,
    RemovalPolicy,
)
from bridge.maildrop.snapshot import Snapshot
from bridge.postgres.changing import apply
from bridge.postgres.comparing import compare
from bridge.postgres.database import Connection, Database
from bridge.postgres.removing import remove
from bridge.postgres.rows import MAILDROP_COLUMNS, maildrop_of

_MAILDROP = f"SELECT {MAILDROP_COLUMNS} FROM maildrop WHERE maildrop_id = $1"  # noqa: S608
_CLAIM_FOR_SYNC = """
WITH due AS MATERIALIZED (
    SELECT maildrop_id FROM maildrop
    WHERE sync_tried_at IS NULL OR sync_tried_at <= (SELECT clock_timestamp()) - make_interval(secs => $1)
    ORDER BY sync_tried_at NULLS FIRST LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE maildrop SET sync_tried_at = clock_timestamp() FROM due WHERE maildrop.maildrop_id = due.maildrop_id
RETURNING maildrop.maildrop_id
"""
_BEGIN_SYNC = "SELECT clock_timestamp() FROM maildrop WHERE maildrop_id = $1"
_END_SYNC = """
UPDATE maildrop SET synced_at = $2, sync_tried_at = greatest(sync_tried_at, $2)
WHERE maildrop_id = $1 AND (synced_at IS NULL OR synced_at < $2)
"""
# Version and rows are of one moment, as one statement sees one.
_SNAPSHOT = """
SELECT maildrop.index_version, snapshot.message_ids, snapshot.octets, snapshot.uidls
FROM maildrop CROSS JOIN (
    SELECT coalesce(string_agg(int8send(message_id), ''), '') AS message_ids,
           coalesce(string_agg(int8send(octets), ''), '') AS octets,
           coalesce(string_agg(convert_to(uidl, 'UTF8'), '\\x0a'), '') AS uidls
    FROM (
        SELECT message_id, octets, uidl FROM message
        WHERE maildrop_id = $1 AND removed_at IS NULL AND vanished_at IS NULL
        ORDER BY arrived_at, identity, part
    ) AS ordered
) AS snapshot
WHERE maildrop.maildrop_id = $1
"""
_MESSAGES = """
SELECT message_id, uidl, octets, header_octets, text_octets, text_header_octets, is_canonical, has_dot_lines,
       has_utf8_headers, bucket, object_key, etag, version_id, stored_octets, first_octet, slice_octets, encoding
FROM message JOIN maildrop USING (maildrop_id)
WHERE maildrop_id = $1 AND message_id = ANY($2::bigint[])
"""
_DISTRUST = """
UPDATE message SET etag = ''
WHERE maildrop_id = $1 AND message_id = $2 AND removed_at IS NULL AND vanished_at IS NULL
"""
_NOTE_RETRIEVED = """
WITH first_time AS (
    UPDATE message SET retrieved_at = clock_timestamp()
    WHERE maildrop_id = $1 AND message_id = ANY($3::bigint[]) AND retrieved_at IS NULL
)
INSERT INTO seen (maildrop_id, view_id, message_id)
SELECT view.maildrop_id, view.view_id, message_id
FROM view JOIN message USING (maildrop_id)
WHERE maildrop_id = $1 AND view_id = $2 AND message_id = ANY($3::bigint[])
ON CONFLICT DO NOTHING
"""
_SEEN = """
SELECT message_id FROM seen JOIN message USING (maildrop_id, message_id)
WHERE maildrop_id = $1 AND view_id = $2 AND removed_at IS NULL AND vanished_at IS NULL
"""


class PostgresMessageIndex:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def maildrop(self, maildrop_id: MaildropId) -> Maildrop:
        """Raises NoSuchMaildrop."""
        row = await self._database.run(
            "read maildrop", lambda c: c.fetchrow(_MAILDROP, maildrop_id), is_repeatable=True
        )
        if row is None:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}")
        return maildrop_of(row)

    async def claim_for_sync(self, *, older_than_s: float, limit: int) -> Sequence[MaildropId]:
        """Those that were neither listed nor claimed for longest (never comes first); no other worker gets them."""
        rows = await self._database.run(
            "claim for sync",
            lambda c: c.fetch(_CLAIM_FOR_SYNC, float(older_than_s), limit),
            is_repeatable=True,
        )
        return [MaildropId(row["maildrop_id"]) for row in rows]

    async def begin_sync(self, maildrop_id: MaildropId) -> datetime:
        """The database's time now. Raises NoSuchMaildrop."""
        began_at: datetime | None = await self._database.run(
            "begin sync", lambda c: c.fetchval(_BEGIN_SYNC, maildrop_id), is_repeatable=True
        )
        if began_at is None:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}")
        return began_at

    async def compare_listing(
        self, maildrop_id: MaildropId, listed: Sequence[ListedMessage], *, whole_since: datetime | None
    ) -> ListingComparison:
        """What of `listed` is not simply live (or removed and on its way out) under the same key and etag."""

        async def work(connection: Connection) -> ListingComparison:
            async with self._database.transaction(connection, is_bulk=True):
                return await compare(
                    connection,
                    maildrop_id,
                    listed,
                    whole_since=whole_since,
                    timeout_s=self._database.limits.bulk_timeout_s,
                )

        return await self._database.run("compare listing", work, is_repeatable=True, is_bulk=True)

    async def apply_changes(self, maildrop_id: MaildropId, changes: Sequence[IndexChange]) -> ChangeReport:
        """Make the changes in one transaction, serialised per maildrop; idempotent. Raises NoSuchMaildrop."""

        async def work(connection: Connection) -> ChangeReport:
            async with self._database.transaction(connection):
                return await apply(connection, maildrop_id, changes)

        return await self._database.run("apply changes", work, is_repeatable=True)

    async def end_sync(self, maildrop_id: MaildropId, began_at: datetime) -> None:
        """A whole listing that began then is indexed to its end."""
        await self._database.run("end sync", lambda c: c.execute(_END_SYNC, maildrop_id, began_at), is_repeatable=True)

    async def load_snapshot(self, maildrop_id: MaildropId) -> Snapshot:
        """All live messages, oldest first. Raises NoSuchMaildrop."""
        row = await self._database.run(
            "load snapshot",
            lambda c: c.fetchrow(_SNAPSHOT, maildrop_id),
            is_repeatable=True,
        )
        if row is None:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}")
        return Snapshot(
            index_version=row["index_version"],
            message_ids=row["message_ids"],
            octets=row["octets"],
            uidls=row["uidls"],
        )

    async def messages(self, maildrop_id: MaildropId, message_ids: Sequence[MessageId]) -> Sequence[IndexedMessage]:
        """By id, in the order asked, also removed and vanished ones; ids that are not there are left out."""
        rows = await self._database.run(
            "read messages", lambda c: c.fetch(_MESSAGES, maildrop_id, message_ids), is_repeatable=True
        )
        found = {row["message_id"]: _indexed(row) for row in rows}
        return [found[message_id] for message_id in message_ids if message_id in found]

    async def distrust(self, maildrop_id: MaildropId, message_id: MessageId) -> None:
        """Forget the etag of a live message, so that the next sync reads and measures it anew."""
        await self._database.run(
            "distrust", lambda c: c.execute(_DISTRUST, maildrop_id, message_id), is_repeatable=True
        )

    async def note_retrieved(self, maildrop_id: MaildropId, view_id: ViewId, message_ids: Sequence[MessageId]) -> None:
        """These were sent whole by RETR in a session of the view: the first time is kept."""
        await self._database.run(
            "note retrieved",
            lambda c: c.execute(_NOTE_RETRIEVED, maildrop_id, view_id, message_ids),
            is_repeatable=True,
        )

    async def seen(self, maildrop_id: MaildropId, view_id: ViewId) -> frozenset[MessageId]:
        """Ids of live messages that `note_retrieved` had for this view."""
        rows = await self._database.run("read seen", lambda c: c.fetch(_SEEN, maildrop_id, view_id), is_repeatable=True)
        return frozenset(MessageId(row["message_id"]) for row in rows)

    async def remove_messages(
        self, lease: Lease, message_ids: Sequence[MessageId], *, claim_duration_s: float
    ) -> Sequence[Removal]:
        """The one transaction of QUIT. Under policy hide there is nothing left to do, and the answer is empty.

        Raises LeaseLost (nothing was changed), OutcomeUnknown.
        """
        removals = await remove(self._database, lease, message_ids, claim_duration_s=claim_duration_s)
        by_id = {one.message_id: one for one in removals if one.policy is not RemovalPolicy.HIDE}
        return [by_id[message_id] for message_id in message_ids if message_id in by_id]


def _indexed(row: asyncpg.Record) -> IndexedMessage:
    is_slice = row["first_octet"] is not None
    return IndexedMessage(
        message_id=MessageId(row["message_id"]),
        uidl=Uidl(row["uidl"]),
        octets=row["octets"],
        header_octets=row["header_octets"],
        text_octets=row["text_octets"],
        text_header_octets=row["text_header_octets"],
        is_canonical=row["is_canonical"],
        has_dot_lines=row["has_dot_lines"],
        has_utf8_headers=row["has_utf8_headers"],
        ref=ObjectRef(row["bucket"], row["object_key"], row["etag"], row["version_id"]),
        stored_octets=row["stored_octets"],
        extent=Extent(row["first_octet"], row["slice_octets"]) if is_slice else None,
        encoding=ContentEncoding(row["encoding"]),
    )
