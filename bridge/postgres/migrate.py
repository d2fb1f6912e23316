"""Bringing the schema up to date: numbered SQL files, each applied once."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import asyncpg

from bridge.postgres.database import Connection, Database, DatabaseUnavailable

# A lock of the transaction, so that it also holds through a transaction-pooling PgBouncer.
_LOCK_KEY = 0x706F7033_62726467
_FILE_NAME = re.compile(r"(\d{4})_(\w+)\.sql")

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_version (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_APPLIED = "SELECT version, checksum FROM schema_version"
_NOTE = "INSERT INTO schema_version (version, name, checksum) VALUES ($1, $2, $3)"


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationReport:
    applied: tuple[str, ...]  # names of those applied now, in order
    version: int  # of the schema afterwards


def packaged_migrations() -> Sequence[Migration]:
    """Those of this release, in order."""
    found = []
    for file in files("bridge.postgres").joinpath("migrations").iterdir():
        if match := _FILE_NAME.fullmatch(file.name):
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


async def migrate(
    dsn: str,
    *,
    connect_timeout_s: float = 10.0,
    timeout_s: float = 600.0,
    lock_timeout_s: float = 10.0,
    migrations: Sequence[Migration] | None = None,
) -> MigrationReport:
    """Apply what is missing, all of it or nothing. Several may run at once: one works, the others wait, all succeed.

    `timeout_s` bounds the whole, waiting included; `lock_timeout_s` a wait for a table that sessions use, since new
    sessions queue behind that wait. Raises MigrationError, DatabaseUnavailable.
    """
    wanted = packaged_migrations() if migrations is None else migrations
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(
                dsn, timeout=connect_timeout_s, command_timeout=timeout_s, statement_cache_size=0
            )
            try:
                return await _apply_missing(connection, wanted, lock_timeout_s)
            finally:
                connection.terminate()  # no polite close that could wait; nothing is open any more
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError) as error:
        raise DatabaseUnavailable(f"migrate: {error or 'no answer in time'}") from error
    except asyncpg.LockNotAvailableError as error:
        raise MigrationError(f"a table was in use for {lock_timeout_s:g} s; nothing was changed: try again") from error


async def _apply_missing(
    connection: "asyncpg.Connection[asyncpg.Record]", wanted: Sequence[Migration], lock_timeout_s: float
) -> MigrationReport:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        await connection.execute(f"SET LOCAL lock_timeout = {round(lock_timeout_s * 1000)}")
        await connection.execute(_CREATE_TABLE)
        applied = {row["version"]: row["checksum"] for row in await connection.fetch(_APPLIED)}
        missing = _missing(wanted, applied)
        for migration in missing:
            try:
                await connection.execute(migration.sql)
            except (asyncpg.SyntaxOrAccessError, asyncpg.IntegrityConstraintViolationError) as error:
                raise MigrationError(f"migration {migration.version} {migration.name}: {error.args[0]}") from error
            await connection.execute(_NOTE, migration.version, migration.name, migration.checksum)
    versions = [*applied, *(migration.version for migration in missing)]
    return MigrationReport(tuple(migration.name for migration in missing), max(versions, default=0))


def _missing(wanted: Iterable[Migration], applied: Mapping[int, str]) -> Sequence[Migration]:
    missing = []
    for migration in wanted:
        checksum = applied.get(migration.version)
        if checksum is None:
            missing.append(migration)
        elif checksum != migration.checksum:
            raise MigrationError(
                f"migration {migration.version} {migration.name} was applied in another form than this release has: "
                "run the release that the database was made with, or restore the file"
            )
    return missing


async def schema_is_current(database: Database) -> bool:
    """Whether all migrations of this release are applied; later ones do no harm. Raises DatabaseUnavailable,
    MigrationError.
    """

    async def read(connection: Connection) -> dict[int, str]:
        try:
            return {row["version"]: row["checksum"] for row in await connection.fetch(_APPLIED)}
        except asyncpg.UndefinedTableError:
            return {}

    applied = await database.run("read schema version", read, is_repeatable=True)
    return not _missing(packaged_migrations(), applied)
