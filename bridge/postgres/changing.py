"""What a sync decided, made true in one transaction. Serialised per maildrop by its row."""

from collections.abc import Sequence

from bridge.ids import MaildropId
from bridge.maildrop.errors import NoSuchMaildrop
from bridge.maildrop.model import (
    AddMessage,
    ChangeReport,
    IndexChange,
    NewMessage,
    RefreshMessage,
    ReplaceMessage,
    RequeueRemoval,
    VanishMessage,
)
from bridge.postgres.database import Connection

# Inserts of messages only need the row's key, so they do not wait for this.
LOCK_MAILDROP = "SELECT bucket, removal_policy FROM maildrop WHERE maildrop_id = $1 FOR NO KEY UPDATE"
GROW_INDEX_VERSION = "UPDATE maildrop SET index_version = index_version + 1 WHERE maildrop_id = $1"

_COPIED = (
    "object_key, etag, version_id, stored_octets, first_octet, slice_octets, encoding, octets, header_octets, "
    "text_octets, text_header_octets, is_canonical, has_dot_lines, has_utf8_headers, digest"
)
_PROPOSED = f"""
unnest($2::text[], $3::integer[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::text[], $9::bigint[],
       $10::bigint[], $11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
       $17::boolean[], $18::boolean[], $19::boolean[], $20::bytea[])
    WITH ORDINALITY AS proposed (identity, part, uidl, arrived_at, {_COPIED}, ordinal)
"""

_VANISH = """
UPDATE message SET vanished_at = clock_timestamp()
FROM unnest($2::bigint[], $3::text[]) AS lost (message_id, known_etag)
WHERE message.maildrop_id = $1 AND message.message_id = lost.message_id AND message.etag = lost.known_etag
AND message.removed_at IS NULL AND message.vanished_at IS NULL
RETURNING 1
"""
# A vanished row comes back only where no live row of its identity stands.
_REFRESH = f"""
WITH proposed AS (
    SELECT DISTINCT ON (proposed.identity, proposed.part) proposed.*, target.message_id, target.known_etag
    FROM {_PROPOSED}
    JOIN unnest($21::bigint[], $22::text[]) WITH ORDINALITY AS target (message_id, known_etag, ordinal) USING (ordinal)
)
UPDATE message SET ({_COPIED}) = ROW ({", ".join("proposed." + name for name in _COPIED.split(", "))}),
    indexed_at = CASE WHEN message.vanished_at IS NULL THEN message.indexed_at ELSE clock_timestamp() END,
    vanished_at = NULL
FROM proposed
WHERE message.maildrop_id = $1 AND message.message_id = proposed.message_id AND message.etag = proposed.known_etag
AND message.removed_at IS NULL
AND (message.vanished_at IS NULL OR NOT EXISTS (
    SELECT FROM message AS other
    WHERE other.maildrop_id = $1 AND other.identity = message.identity AND other.part = message.part
    AND other.removed_at IS NULL AND other.vanished_at IS NULL))
RETURNING 1
"""  # noqa: S608
# A confirmed removal is not woken: what stands under its key is a new message.
_REQUEUE = """
WITH requeued AS (
    UPDATE removal SET object_key = again.object_key, etag = again.etag, version_id = again.version_id,
        due_at = clock_timestamp(), claimed_until = NULL, attempt_count = 0
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS again (message_id, object_key, etag, version_id)
    WHERE removal.maildrop_id = $1 AND removal.message_id = again.message_id
    AND removal.confirmed_at IS NULL AND removal.policy <> 'hide'
    AND (removal.object_key, removal.etag) IS DISTINCT FROM (again.object_key, again.etag)
    RETURNING removal.message_id, removal.object_key, removal.etag, removal.version_id
)
UPDATE message SET object_key = requeued.object_key, etag = requeued.etag, version_id = requeued.version_id
FROM requeued WHERE message.maildrop_id = $1 AND message.message_id = requeued.message_id
RETURNING 1
"""
# A removed message never comes back: while its removal is not confirmed its identity gets no new row, under policy hide
# no other row of the same text, and what was listed before the object was seen gone is too old to be believed. The UIDL
# of another row, dead or alive, is not given again. OFFSET 0 has each proposal looked up by index, where a planner
# without fresh statistics might compare all with all.
_ADD = f"""
WITH proposed AS MATERIALIZED (
    SELECT DISTINCT ON (identity, part) * FROM {_PROPOSED}
    JOIN unnest($21::timestamptz[]) WITH ORDINALITY AS listing (listed_at, ordinal) USING (ordinal)
    WHERE NOT EXISTS (
        SELECT FROM message JOIN removal USING (maildrop_id, message_id)
        WHERE message.maildrop_id = $1 AND message.identity = proposed.identity AND message.part = proposed.part
        AND (removal.confirmed_at IS NULL AND (removal.policy <> 'hide' OR message.digest = proposed.digest)
             OR removal.confirmed_at >= listing.listed_at) OFFSET 0)
    AND NOT EXISTS (
        SELECT FROM message
        WHERE message.maildrop_id = $1 AND message.identity = proposed.identity AND message.part = proposed.part
        AND message.removed_at IS NULL AND message.vanished_at IS NULL OFFSET 0)
    ORDER BY identity, part, ordinal
), added AS (
    INSERT INTO message (maildrop_id, identity, part, uidl, arrived_at, {_COPIED})
    SELECT $1, identity, part, uidl, arrived_at, {_COPIED} FROM proposed ORDER BY ordinal
    ON CONFLICT DO NOTHING
    RETURNING identity, part
)
SELECT proposed.ordinal, added.identity IS NOT NULL AS is_added
FROM proposed LEFT JOIN added USING (identity, part)
"""  # noqa: S608


async def apply(connection: Connection, maildrop_id: MaildropId, changes: Sequence[IndexChange]) -> ChangeReport:
    """As `MessageIndex.apply_changes` says; within a transaction of the caller's."""
    if await connection.fetchrow(LOCK_MAILDROP, maildrop_id) is None:
        raise NoSuchMaildrop(f"maildrop {maildrop_id}")
    lost = [change for change in changes if isinstance(change, VanishMessage | ReplaceMessage)]
    same = [change for change in changes if isinstance(change, RefreshMessage)]
    again = [change for change in changes if isinstance(change, RequeueRemoval)]
    new = [change.message for change in changes if isinstance(change, AddMessage | ReplaceMessage)]

    vanished_count = refreshed_count = requeued_count = added_count = 0
    uidl_taken: tuple[NewMessage, ...] = ()
    if lost:
        vanished_count = len(
            await connection.fetch(
                _VANISH, maildrop_id, [one.message_id for one in lost], [one.known_etag for one in lost]
            )
        )
    if same:
        refreshed_count = len(
            await connection.fetch(
                _REFRESH,
                maildrop_id,
                *_columns([one.message for one in same]),
                [one.message_id for one in same],
                [one.known_etag for one in same],
            )
        )
    if again:
        requeued_count = len(
            await connection.fetch(
                _REQUEUE,
                maildrop_id,
                [one.message_id for one in again],
                [one.ref.key for one in again],
                [one.ref.etag for one in again],
                [one.ref.version_id for one in again],
            )
        )
    if new:
        rows = await connection.fetch(_ADD, maildrop_id, *_columns(new), [one.listed_at for one in new])
        added_count = sum(row["is_added"] for row in rows)
        uidl_taken = tuple(new[row["ordinal"] - 1] for row in rows if not row["is_added"])
    if vanished_count or refreshed_count or added_count:
        await connection.execute(GROW_INDEX_VERSION, maildrop_id)
    return ChangeReport(added_count, refreshed_count, vanished_count, requeued_count, uidl_taken)


def _columns(messages: Sequence[NewMessage]) -> tuple[list[object], ...]:
    """One array for each column of `_PROPOSED`."""
    return (
        [one.identity for one in messages],
        [one.part for one in messages],
        [one.uidl for one in messages],
        [one.arrived_at for one in messages],
        [one.ref.key for one in messages],
        [one.ref.etag for one in messages],
        [one.ref.version_id for one in messages],
        [one.stored_octets for one in messages],
        [None if one.extent is None else one.extent.first_octet for one in messages],
        [None if one.extent is None else one.extent.stored_octets for one in messages],
        [one.encoding for one in messages],
        [one.measure.octets for one in messages],
        [one.measure.header_octets for one in messages],
        [one.measure.text_octets for one in messages],
        [one.measure.text_header_octets for one in messages],
        [one.measure.is_canonical for one in messages],
        [one.measure.has_dot_lines for one in messages],
        [one.measure.has_utf8_headers for one in messages],
        [one.measure.digest for one in messages],
    )
