"""Leases in Postgres: one row per view, judged by the database's clock alone. Satisfies `LeaseStore`.

The holder's UUID and the fencing token are both in every check: after a failover that lost the last seconds, two
sessions might have been given the same token.
"""

from collections.abc import Sequence
from uuid import UUID

from bridge.ids import FencingToken, MaildropId, ViewId
from bridge.maildrop.errors import LoginTooSoon, MaildropInUse, NoSuchMaildrop
from bridge.maildrop.model import Acquired, Lease, OpenLease, Renewal
from bridge.postgres.database import Connection, Database
from bridge.postgres.rows import MAILDROP_COLUMNS, maildrop_of

# The row is locked first and judged then: what is compared is as it stands after any wait for the lock, and so is the
# time (clock_timestamp() goes on where now() stands still). A holder that asks again, because its answer was lost, gets
# its lease again.
_ACQUIRE = f"""
WITH locked AS MATERIALIZED (
    SELECT * FROM view WHERE maildrop_id = $1 AND view_id = $2 FOR NO KEY UPDATE
), judged AS MATERIALIZED (
    SELECT locked.view_id, locked.fencing_token, {MAILDROP_COLUMNS},
           extract(epoch FROM clock_timestamp() - maildrop.synced_at)::float8 AS sync_age_s,
           locked.lease_holder IS NOT NULL AND locked.lease_holder <> $3
               AND locked.lease_expires_at > clock_timestamp()
               AND NOT (maildrop.lock_policy = 'takeover'
                        AND locked.last_active_at <= clock_timestamp() - make_interval(secs => $6)) AS is_in_use,
           coalesce(locked.last_quit_at > clock_timestamp() - make_interval(secs => $5), false) AS is_too_soon
    FROM locked JOIN maildrop USING (maildrop_id)
), taken AS (
    UPDATE view SET
        fencing_token = judged.fencing_token + 1,
        lease_holder = $3,
        lease_expires_at = clock_timestamp() + make_interval(secs => $4),
        last_active_at = clock_timestamp(),
        last_login_at = clock_timestamp()
    FROM judged
    WHERE view.maildrop_id = $1 AND view.view_id = $2 AND NOT judged.is_in_use AND NOT judged.is_too_soon
    RETURNING view.fencing_token
)
SELECT judged.*, taken.fencing_token AS given_token FROM judged LEFT JOIN taken ON true
"""  # noqa: S608

_RENEW = """
WITH locked AS MATERIALIZED (
    SELECT view.maildrop_id, view.view_id, asked.idle_s
    FROM view JOIN unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[], $5::float8[])
         AS asked (maildrop_id, view_id, holder, fencing_token, idle_s)
         ON asked.maildrop_id = view.maildrop_id AND asked.view_id = view.view_id
         AND asked.holder = view.lease_holder AND asked.fencing_token = view.fencing_token
    FOR NO KEY UPDATE OF view SKIP LOCKED
)
UPDATE view SET
    lease_expires_at = clock_timestamp() + make_interval(secs => $6),
    last_active_at = clock_timestamp() - make_interval(secs => locked.idle_s)
FROM locked WHERE view.maildrop_id = locked.maildrop_id AND view.view_id = locked.view_id
RETURNING view.lease_holder
"""
# A plain read waits for nobody, and sees whose the row is even while it is locked.
_LOST = """
SELECT asked.holder
FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[]) AS asked (maildrop_id, view_id, holder, fencing_token)
WHERE NOT EXISTS (
    SELECT FROM view
    WHERE view.maildrop_id = asked.maildrop_id AND view.view_id = asked.view_id
    AND view.lease_holder = asked.holder AND view.fencing_token = asked.fencing_token
)
"""

_RELEASE = """
UPDATE view SET lease_holder = NULL, lease_expires_at = NULL,
    last_quit_at = CASE WHEN $5 THEN clock_timestamp() ELSE last_quit_at END
WHERE maildrop_id = $1 AND view_id = $2 AND lease_holder = $3 AND fencing_token = $4
"""
_ABANDON = """
UPDATE view SET lease_holder = NULL, lease_expires_at = NULL
WHERE maildrop_id = $1 AND view_id = $2 AND lease_holder = $3
"""
_BREAK = """
UPDATE view SET lease_holder = NULL, lease_expires_at = NULL, fencing_token = fencing_token + 1
WHERE maildrop_id = $1 AND view_id = $2 AND lease_holder IS NOT NULL
RETURNING true
"""
_OPEN_LEASES = """
SELECT maildrop_id, view_id, name, lease_holder, fencing_token,
       ARRAY(SELECT login_name FROM account
             WHERE account.maildrop_id = view.maildrop_id AND account.view_id = view.view_id
             ORDER BY login_name) AS login_names,
       extract(epoch FROM clock_timestamp() - last_login_at)::float8 AS held_s,
       extract(epoch FROM clock_timestamp() - last_active_at)::float8 AS idle_s,
       extract(epoch FROM lease_expires_at - clock_timestamp())::float8 AS expires_in_s
FROM view WHERE lease_holder IS NOT NULL
ORDER BY last_login_at, view_id LIMIT $1
"""


class PostgresLeaseStore:
    def __init__(self, database: Database) -> None:
        self._database = database

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
        """Take the view's lease if it is free, expired, or (policy takeover) its holder silent for `takeover_idle_s`.

        Raises MaildropInUse, LoginTooSoon, NoSuchMaildrop.
        """
        row = await self._database.run(
            "acquire lease",
            lambda c: c.fetchrow(
                _ACQUIRE,
                maildrop_id,
                view_id,
                holder,
                float(lease_duration_s),
                float(login_delay_s),
                float(takeover_idle_s),
            ),
            is_repeatable=True,
        )
        if row is None:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}, view {view_id}")
        maildrop = maildrop_of(row)
        if row["is_in_use"]:
            raise MaildropInUse(maildrop.lock_policy)
        if row["is_too_soon"]:
            raise LoginTooSoon("the login delay has not passed yet")
        return Acquired(
            Lease(maildrop_id, view_id, holder, FencingToken(row["given_token"])), maildrop, row["sync_age_s"]
        )

    async def renew(self, leases: Sequence[Lease], *, idle_s: Sequence[float], lease_duration_s: float) -> Renewal:
        """Prolong all these in one statement, skipping busy rows. An expired lease that nobody took is kept."""

        async def renew(connection: Connection) -> frozenset[UUID]:
            rows = await connection.fetch(
                _RENEW, *_columns(leases), [float(one_s) for one_s in idle_s], float(lease_duration_s)
            )
            return frozenset(row["lease_holder"] for row in rows)

        async def find_lost(connection: Connection) -> frozenset[UUID]:
            rows = await connection.fetch(_LOST, *_columns([one for one in leases if one.holder not in kept]))
            return frozenset(row["holder"] for row in rows)

        kept = await self._database.run("renew leases", renew, is_repeatable=True)
        if len(kept) == len(leases):
            return Renewal(kept, frozenset())
        return Renewal(kept, await self._database.run("find lost leases", find_lost, is_repeatable=True))

    async def release(self, lease: Lease, *, by_quit: bool) -> None:
        """Give it back; no effect with an old token. `by_quit`: the login delay counts from now."""
        await self._database.run(
            "release lease",
            lambda c: c.execute(_RELEASE, lease.maildrop_id, lease.view_id, lease.holder, lease.fencing_token, by_quit),
            is_repeatable=True,
        )

    async def abandon(self, maildrop_id: MaildropId, view_id: ViewId, holder: UUID) -> None:
        """Free the view if this holder has it: for an acquire whose answer was lost."""
        await self._database.run(
            "abandon lease", lambda c: c.execute(_ABANDON, maildrop_id, view_id, holder), is_repeatable=True
        )

    async def break_lease(self, maildrop_id: MaildropId, view_id: ViewId) -> bool:
        """Free the view and raise the token, so that the old holder can remove nothing. False: nobody held it."""
        broken = await self._database.run(
            "break lease", lambda c: c.fetchval(_BREAK, maildrop_id, view_id), is_repeatable=False
        )
        return broken is not None

    async def open_leases(self, *, limit: int) -> Sequence[OpenLease]:
        """Oldest login first; expired ones that nobody took are among them."""
        rows = await self._database.run("list leases", lambda c: c.fetch(_OPEN_LEASES, limit), is_repeatable=True)
        return [
            OpenLease(
                maildrop_id=MaildropId(row["maildrop_id"]),
                view_id=ViewId(row["view_id"]),
                view_name=row["name"],
                login_names=tuple(row["login_names"]),
                holder=row["lease_holder"],
                fencing_token=FencingToken(row["fencing_token"]),
                held_s=row["held_s"],
                idle_s=row["idle_s"],
                expires_in_s=row["expires_in_s"],
            )
            for row in rows
        ]


def _columns(leases: Sequence[Lease]) -> tuple[list[MaildropId], list[ViewId], list[UUID], list[FencingToken]]:
    return (
        [lease.maildrop_id for lease in leases],
        [lease.view_id for lease in leases],
        [lease.holder for lease in leases],
        [lease.fencing_token for lease in leases],
    )
