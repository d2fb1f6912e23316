"""Decided removals until their objects are gone, in Postgres. Satisfies `bridge.maildrop.ports.RemovalOutbox`."""

from collections.abc import Sequence

from bridge.maildrop.model import Removal, RemovalBacklog
from bridge.postgres.changing import GROW_INDEX_VERSION, LOCK_MAILDROP
from bridge.postgres.database import Connection, Database
from bridge.postgres.rows import REMOVAL_COLUMNS, removal_of

# The time as a subquery is looked at once, so that the index on due_at can be used.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT maildrop_id, message_id FROM removal
    WHERE confirmed_at IS NULL AND due_at <= (SELECT clock_timestamp())
    AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY due_at LIMIT $1
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE removal SET claimed_until = clock_timestamp() + make_interval(secs => $2)
    FROM due WHERE removal.maildrop_id = due.maildrop_id AND removal.message_id = due.message_id
    RETURNING removal.due_at, {REMOVAL_COLUMNS}
)
SELECT * FROM claimed ORDER BY due_at, message_id
"""  # noqa: S608

# Which removals are meant: the very objects, not what was queued under the same row since.
_MEANT = """
unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS meant (maildrop_id, message_id, object_key, etag)
"""
_IS_MEANT = """
removal.maildrop_id = meant.maildrop_id AND removal.message_id = meant.message_id
AND removal.object_key = meant.object_key AND removal.etag = meant.etag AND removal.confirmed_at IS NULL
"""
_COMPLETE = f"""
UPDATE removal SET confirmed_at = clock_timestamp(), claimed_until = NULL FROM {_MEANT} WHERE {_IS_MEANT}
"""  # noqa: S608
_POSTPONE = f"""
UPDATE removal SET
    claimed_until = NULL,
    due_at = CASE WHEN $5 > 0 THEN clock_timestamp() + make_interval(secs => $5) ELSE due_at END,
    attempt_count = attempt_count + CASE WHEN $5 > 0 THEN 1 ELSE 0 END,
    last_error = coalesce(nullif($6, ''), last_error)
FROM {_MEANT} WHERE {_IS_MEANT}
"""  # noqa: S608
_PUT_BACK = f"""
WITH refused AS (
    DELETE FROM removal USING {_MEANT} WHERE {_IS_MEANT} RETURNING removal.maildrop_id, removal.message_id
)
UPDATE message SET removed_at = NULL FROM refused
WHERE message.maildrop_id = refused.maildrop_id AND message.message_id = refused.message_id
RETURNING 1
"""  # noqa: S608
_LIVE_COUNT = """
SELECT count(*) FROM message
WHERE maildrop_id = $1 AND message_id = ANY($2::bigint[]) AND removed_at IS NULL AND vanished_at IS NULL
"""
# The age counts from the decision, so that one which is postponed again and again grows old.
_BACKLOG = """
SELECT count(*) AS due_count,
       coalesce(extract(epoch FROM clock_timestamp() - min(message.removed_at)), 0)::float8 AS oldest_age_s
FROM removal JOIN message USING (maildrop_id, message_id)
WHERE removal.confirmed_at IS NULL AND removal.due_at <= (SELECT clock_timestamp())
"""


class PostgresRemovalOutbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, *, limit: int, claim_duration_s: float) -> Sequence[Removal]:
        """Due removals that nobody works on, oldest first, claimed for this long."""
        rows = await self._database.run(
            "claim removals", lambda c: c.fetch(_CLAIM, limit, float(claim_duration_s)), is_repeatable=True
        )
        return [removal_of(row) for row in rows]

    async def complete(self, removals: Sequence[Removal]) -> None:
        """Their objects are gone. No effect on one that was queued again for another object."""
        await self._database.run(
            "complete removals", lambda c: c.execute(_COMPLETE, *_meant(removals)), is_repeatable=True
        )

    async def postpone(self, removals: Sequence[Removal], *, retry_delay_s: float, error: str) -> None:
        """Give the claims back; due again after the delay. `retry_delay_s` 0: due at once, not counted as a try."""
        await self._database.run(
            "postpone removals",
            lambda c: c.execute(_POSTPONE, *_meant(removals), float(retry_delay_s), error),
            is_repeatable=True,
        )

    async def put_back(self, removals: Sequence[Removal], *, error: str) -> int:
        """The store refuses for good: the messages are live again, same row, same UIDL; how many are."""

        async def put_back(connection: Connection) -> int:
            live_count = 0
            async with self._database.transaction(connection):
                for maildrop_id in sorted({one.maildrop_id for one in removals}):
                    of_maildrop = [one for one in removals if one.maildrop_id == maildrop_id]
                    await connection.execute(LOCK_MAILDROP, maildrop_id)
                    if await connection.fetch(_PUT_BACK, *_meant(of_maildrop)):
                        await connection.execute(GROW_INDEX_VERSION, maildrop_id)
                    live_count += await connection.fetchval(
                        _LIVE_COUNT, maildrop_id, [one.message_id for one in of_maildrop]
                    )
            return live_count

        return await self._database.run("put removals back", put_back, is_repeatable=True)

    async def backlog(self) -> RemovalBacklog:
        """What is due now, claimed or not, and how long ago the oldest of it was decided."""
        row = await self._database.run("read removal backlog", lambda c: c.fetchrow(_BACKLOG), is_repeatable=True)
        assert row is not None  # noqa: S101 - an aggregate always answers
        return RemovalBacklog(row["due_count"], row["oldest_age_s"])


def _meant(removals: Sequence[Removal]) -> tuple[list[object], list[object], list[object], list[object]]:
    return (
        [one.maildrop_id for one in removals],
        [one.message_id for one in removals],
        [one.ref.key for one in removals],
        [one.ref.etag for one in removals],
    )
