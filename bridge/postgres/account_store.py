"""Accounts in Postgres. Satisfies `bridge.accounts.ports.AccountStore`."""

import json
from collections.abc import Mapping, Sequence

import asyncpg

from bridge.accounts.model import Account, AccountChange, AccountStatus, NewAccount
from bridge.accounts.ports import LoginNameTaken, MaildropConflict, NoSuchAccount
from bridge.ids import AccountId, MaildropId, ViewId
from bridge.postgres.database import Connection, Database

_COLUMNS = """
    account_id, login_name, status, maildrop_id, view_id, argon2_verifier, scram_verifiers::text AS scram_verifiers,
    login_delay_s, expire_days, created_at
"""
_FIND = f"SELECT {_COLUMNS} FROM account WHERE login_name = $1"  # noqa: S608
_LIST = f"SELECT {_COLUMNS} FROM account WHERE login_name > $1 ORDER BY login_name LIMIT $2"  # noqa: S608

# Whoever makes or deletes a maildrop of a bucket is alone in it: overlaps are judged without races.
_LOCK_BUCKET = "SELECT pg_advisory_xact_lock(hashtextextended('bucket:' || $1, 0))"
_NEIGHBOURS = """
SELECT maildrop_id, key_prefix, layout, lock_policy, removal_policy FROM maildrop
WHERE bucket = $1 AND (starts_with(key_prefix, $2) OR starts_with($2, key_prefix)
                       OR starts_with(trash_prefix, $2) OR starts_with($2, trash_prefix))
"""
_MAKE_MAILDROP = """
INSERT INTO maildrop (bucket, key_prefix, layout, history, lock_policy, removal_policy) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING maildrop_id
"""
_OWN_VIEW = "SELECT view_id FROM view WHERE maildrop_id = $1 AND name = ''"
_MAKE_OWN_VIEW = "INSERT INTO view (maildrop_id) VALUES ($1) RETURNING view_id"
_MAKE_ACCOUNT = f"""
INSERT INTO account (login_name, maildrop_id, view_id, argon2_verifier, scram_verifiers, login_delay_s, expire_days)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7)
ON CONFLICT (login_name) DO NOTHING
RETURNING {_COLUMNS}
"""  # noqa: S608
_CHANGE = f"""
UPDATE account SET
    status = coalesce($2, status),
    argon2_verifier = coalesce($3, argon2_verifier),
    scram_verifiers = coalesce($4::text::jsonb, scram_verifiers),
    login_delay_s = coalesce($5, login_delay_s),
    changed_at = clock_timestamp()
WHERE account_id = $1
RETURNING {_COLUMNS}
"""  # noqa: S608
_BUCKET_OF_ACCOUNT = "SELECT bucket FROM account JOIN maildrop USING (maildrop_id) WHERE account_id = $1"
_DELETE_ACCOUNT = "DELETE FROM account WHERE account_id = $1 RETURNING maildrop_id"
_DELETE_MAILDROP_WITHOUT_ACCOUNT = """
DELETE FROM maildrop WHERE maildrop_id = $1 AND NOT EXISTS (SELECT FROM account WHERE maildrop_id = $1)
"""


class PostgresAccountStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_account(self, login_name: str) -> Account | None:
        """By its normalised login name."""
        row = await self._database.run("find account", lambda c: c.fetchrow(_FIND, login_name), is_repeatable=True)
        return None if row is None else _account(row)

    async def create_account(self, new: NewAccount) -> Account:
        """The account, and its maildrop with the view '' unless there is exactly that maildrop already.

        Raises LoginNameTaken, MaildropConflict.
        """

        async def create(connection: Connection) -> Account:
            async with self._database.transaction(connection):
                await connection.execute(_LOCK_BUCKET, new.bucket)
                maildrop_id = await _maildrop_for(connection, new)
                view_id = await connection.fetchval(_OWN_VIEW, maildrop_id)
                if view_id is None:
                    view_id = await connection.fetchval(_MAKE_OWN_VIEW, maildrop_id)
                row = await connection.fetchrow(
                    _MAKE_ACCOUNT,
                    new.login_name,
                    maildrop_id,
                    view_id,
                    new.argon2_verifier,
                    _json(new.scram_verifiers),
                    new.login_delay_s,
                    new.expire_days,
                )
                if row is None:
                    raise LoginNameTaken(new.login_name)
                return _account(row)

        return await self._database.run("create account", create, is_repeatable=False)

    async def change_account(self, account_id: AccountId, change: AccountChange) -> Account:
        """Raises NoSuchAccount."""
        row = await self._database.run(
            "change account",
            lambda c: c.fetchrow(
                _CHANGE,
                account_id,
                change.status,
                change.argon2_verifier,
                None if change.scram_verifiers is None else _json(change.scram_verifiers),
                change.login_delay_s,
            ),
            is_repeatable=True,
        )
        if row is None:
            raise NoSuchAccount(f"account {account_id}")
        return _account(row)

    async def delete_account(self, account_id: AccountId) -> None:
        """The account goes; its maildrop's index goes with its last account, its mail in S3 stays.

        Raises NoSuchAccount.
        """

        async def delete(connection: Connection) -> None:
            async with self._database.transaction(connection, is_bulk=True):
                bucket = await connection.fetchval(_BUCKET_OF_ACCOUNT, account_id)
                await connection.execute(_LOCK_BUCKET, bucket or "")
                maildrop_id = await connection.fetchval(_DELETE_ACCOUNT, account_id)
                if maildrop_id is None:
                    raise NoSuchAccount(f"account {account_id}")
                await connection.execute(
                    _DELETE_MAILDROP_WITHOUT_ACCOUNT, maildrop_id, timeout=self._database.limits.bulk_timeout_s
                )

        await self._database.run("delete account", delete, is_repeatable=False, is_bulk=True)

    async def list_accounts(self, *, after_name: str, limit: int) -> Sequence[Account]:
        """In byte order of the login name."""
        rows = await self._database.run(
            "list accounts", lambda c: c.fetch(_LIST, after_name, limit), is_repeatable=True
        )
        return [_account(row) for row in rows]


async def _maildrop_for(connection: Connection, new: NewAccount) -> MaildropId:
    for row in await connection.fetch(_NEIGHBOURS, new.bucket, new.key_prefix):
        if row["key_prefix"] != new.key_prefix:
            raise MaildropConflict(
                f"the prefix {new.key_prefix!r} and another maildrop or its trash of the bucket contain one another"
            )
        wanted = {"layout": new.layout, "lock_policy": new.lock_policy, "removal_policy": new.removal_policy}
        for setting, value in wanted.items():
            if row[setting] != value:
                raise MaildropConflict(f"the maildrop is there already, with {setting} {row[setting]}, not {value}")
        return MaildropId(row["maildrop_id"])
    return MaildropId(
        await connection.fetchval(
            _MAKE_MAILDROP,
            new.bucket,
            new.key_prefix,
            new.layout,
            new.history,
            new.lock_policy,
            new.removal_policy,
        )
    )


def _json(verifiers: Mapping[str, str]) -> str:
    return json.dumps(dict(verifiers))


def _account(row: asyncpg.Record) -> Account:
    return Account(
        account_id=AccountId(row["account_id"]),
        login_name=row["login_name"],
        status=AccountStatus(row["status"]),
        maildrop_id=MaildropId(row["maildrop_id"]),
        view_id=ViewId(row["view_id"]),
        argon2_verifier=row["argon2_verifier"],
        scram_verifiers=json.loads(row["scram_verifiers"]),
        login_delay_s=row["login_delay_s"],
        expire_days=row["expire_days"],
        created_at=row["created_at"],
    )
