"""The one transaction of QUIT: fence, mark, outbox."""

from collections.abc import Sequence

from bridge.ids import MessageId
from bridge.maildrop.errors import LeaseLost, OutcomeUnknown
from bridge.maildrop.model import Lease, Removal
from bridge.postgres.changing import GROW_INDEX_VERSION, LOCK_MAILDROP
from bridge.postgres.database import Connection, Database, DatabaseUnavailable
from bridge.postgres.rows import REMOVAL_COLUMNS, removal_of

# NO KEY: a stronger lock would hold up inserts that refer to the row.
_FENCE = """
SELECT 1 FROM view WHERE maildrop_id = $1 AND view_id = $2 AND lease_holder = $3 AND fencing_token = $4
FOR NO KEY UPDATE
"""
_REMOVE = f"""
WITH removed AS (
    UPDATE message SET removed_at = clock_timestamp()
    WHERE maildrop_id = $1 AND message_id = ANY($2::bigint[]) AND removed_at IS NULL AND vanished_at IS NULL
    RETURNING message_id, object_key, etag, version_id, stored_octets
)
INSERT INTO removal (maildrop_id, message_id, policy, bucket, object_key, etag, version_id, stored_octets, removed_by,
                     due_at, claimed_until)
SELECT $1, message_id, $4, $5, object_key, etag, version_id, stored_octets, $3,
       CASE WHEN $4 = 'hide' THEN 'infinity' ELSE clock_timestamp() END,
       CASE WHEN $4 = 'hide' THEN NULL ELSE clock_timestamp() + make_interval(secs => $6) END
FROM removed
RETURNING {REMOVAL_COLUMNS}
"""  # noqa: S608
_REMOVED_BY_HOLDER = f"""
SELECT {REMOVAL_COLUMNS} FROM removal WHERE maildrop_id = $1 AND message_id = ANY($2::bigint[]) AND removed_by = $3
"""  # noqa: S608


async def remove(
    database: Database, lease: Lease, message_ids: Sequence[MessageId], *, claim_duration_s: float
) -> Sequence[Removal]:
    """As `MessageIndex.remove_messages` says.

    When the answer to the commit is lost, it is asked for on another connection: the row lock of the view first waits
    for the end of the transaction in doubt, and then the outbox tells whether this holder wrote it.
    """
    is_in_doubt = False

    async def work(connection: Connection) -> Sequence[Removal]:
        nonlocal is_in_doubt
        async with database.transaction(connection):
            fence = await connection.fetchval(
                _FENCE, lease.maildrop_id, lease.view_id, lease.holder, lease.fencing_token
            )
            if is_in_doubt:
                done = await connection.fetch(_REMOVED_BY_HOLDER, lease.maildrop_id, message_ids, lease.holder)
                if done:
                    return [removal_of(row) for row in done]
                is_in_doubt = False
            if fence is None:
                raise LeaseLost("another session holds the lease; nothing was removed")
            maildrop = await connection.fetchrow(LOCK_MAILDROP, lease.maildrop_id)
            assert maildrop is not None  # noqa: S101 - its view's row is locked
            rows = await connection.fetch(
                _REMOVE,
                lease.maildrop_id,
                message_ids,
                lease.holder,
                maildrop["removal_policy"],
                maildrop["bucket"],
                float(claim_duration_s),
            )
            if rows:
                await connection.execute(GROW_INDEX_VERSION, lease.maildrop_id)
            is_in_doubt = bool(rows)
        return [removal_of(row) for row in rows]

    try:
        return await database.run("remove messages", work, is_repeatable=True)
    except DatabaseUnavailable as error:
        if is_in_doubt:
            raise OutcomeUnknown(str(error)) from error
        raise
