"""A listing against the index, in one statement that answers with the differences only."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from bridge.ids import MaildropId, MessageId, Uidl
from bridge.maildrop.model import Difference, KnownMessage, ListedMessage, ListingComparison, RowState
from bridge.postgres.database import Connection

# A row that is removed under the very key and etag that are listed is no difference: its object is on its way out, or
# hidden. One that is confirmed gone is: its object stands again.
_COMPARE = """
WITH listed AS MATERIALIZED (
    SELECT ordinal, identity, object_key, etag
    FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS listed (identity, object_key, etag, ordinal)
), live AS (
    SELECT listed.ordinal,
           bool_and(message.object_key = listed.object_key AND message.etag = listed.etag) AS is_as_listed
    FROM listed JOIN message ON message.maildrop_id = $1 AND message.identity = listed.identity
    WHERE message.removed_at IS NULL AND message.vanished_at IS NULL
    GROUP BY listed.ordinal
), differing AS MATERIALIZED (
    SELECT listed.*, live.ordinal IS NOT NULL AS is_live
    FROM listed LEFT JOIN live USING (ordinal)
    WHERE live.is_as_listed IS NOT TRUE
), known AS (
    SELECT differing.ordinal, message.message_id
    FROM differing JOIN message ON message.maildrop_id = $1 AND message.identity = differing.identity
    WHERE differing.is_live AND message.removed_at IS NULL AND message.vanished_at IS NULL
    UNION ALL
    SELECT differing.ordinal, max(message.message_id)
    FROM differing JOIN message ON message.maildrop_id = $1 AND message.identity = differing.identity
    WHERE NOT differing.is_live
    GROUP BY differing.ordinal
), missing AS (
    SELECT message.message_id
    FROM message
    WHERE message.maildrop_id = $1 AND message.removed_at IS NULL AND message.vanished_at IS NULL
    AND message.indexed_at < $5
    AND NOT EXISTS (SELECT FROM listed WHERE listed.identity = message.identity)
), found AS (
    SELECT differing.ordinal, differing.object_key AS listed_key, differing.etag AS listed_etag, known.message_id
    FROM differing LEFT JOIN known USING (ordinal)
    UNION ALL
    SELECT NULL, NULL, NULL, missing.message_id FROM missing
)
SELECT found.ordinal, message.message_id, message.identity, message.part, message.object_key, message.etag,
       message.uidl, message.digest, NULL::bigint AS live_count,
       CASE WHEN message.removed_at IS NULL AND message.vanished_at IS NULL THEN 'live'
            WHEN message.removed_at IS NULL THEN 'vanished'
            WHEN removal.policy = 'hide' THEN 'hidden'
            WHEN removal.confirmed_at IS NOT NULL THEN 'confirmed'
            ELSE 'removed' END AS state
FROM found
LEFT JOIN message ON message.maildrop_id = $1 AND message.message_id = found.message_id
LEFT JOIN removal ON removal.maildrop_id = $1 AND removal.message_id = found.message_id
WHERE NOT (found.ordinal IS NOT NULL AND message.removed_at IS NOT NULL AND removal.confirmed_at IS NULL
           AND message.object_key = found.listed_key AND message.etag = found.listed_etag)
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL
FROM message WHERE maildrop_id = $1 AND removed_at IS NULL AND vanished_at IS NULL AND $5 IS NOT NULL
"""


async def compare(
    connection: Connection,
    maildrop_id: MaildropId,
    listed: Sequence[ListedMessage],
    *,
    whole_since: datetime | None,
    timeout_s: float,
) -> ListingComparison:
    """As `MessageIndex.compare_listing` says."""
    rows = await connection.fetch(
        _COMPARE,
        maildrop_id,
        [one.identity for one in listed],
        [one.object.ref.key for one in listed],
        [one.object.ref.etag for one in listed],
        whole_since,
        timeout=timeout_s,
    )
    known_of: dict[int, list[KnownMessage]] = {}
    missing = []
    live_count = 0
    for row in rows:
        if row["live_count"] is not None:
            live_count = row["live_count"]
        elif row["ordinal"] is None:
            missing.append(_known(row))
        else:
            known = known_of.setdefault(row["ordinal"], [])
            if row["message_id"] is not None:
                known.append(_known(row))
    differences = [Difference(listed[ordinal - 1], tuple(known)) for ordinal, known in sorted(known_of.items())]
    return ListingComparison(tuple(differences), tuple(missing), live_count)


def _known(row: asyncpg.Record) -> KnownMessage:
    return KnownMessage(
        message_id=MessageId(row["message_id"]),
        identity=row["identity"],
        part=row["part"],
        state=RowState(row["state"]),
        key=row["object_key"],
        etag=row["etag"],
        uidl=Uidl(row["uidl"]),
        digest=row["digest"],
    )
