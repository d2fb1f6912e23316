import asyncio

import asyncpg
import pytest

from bridge.postgres.database import Database, DatabaseUnavailable
from bridge.postgres.migrate import Migration, MigrationError, migrate, packaged_migrations, schema_is_current

FIRST = Migration(1, "first", "CREATE TABLE one (n integer); INSERT INTO one VALUES (1);")
SECOND = Migration(2, "second", "CREATE TABLE two (n integer);")


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


def test_the_packaged_migrations_are_numbered_without_gap_or_double() -> None:
    versions = [migration.version for migration in packaged_migrations()]
    assert versions == list(range(1, len(versions) + 1))
    assert versions


async def test_each_migration_is_applied_once(empty_database_url: str) -> None:
    first = await migrate(empty_database_url, migrations=[FIRST])
    assert (first.applied, first.version) == (("first",), 1)
    both = await migrate(empty_database_url, migrations=[FIRST, SECOND])
    assert (both.applied, both.version) == (("second",), 2)
    none = await migrate(empty_database_url, migrations=[FIRST, SECOND])
    assert (none.applied, none.version) == ((), 2)


async def test_several_at_once_all_succeed_and_one_works(empty_database_url: str) -> None:
    reports = await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))
    wanted = tuple(migration.name for migration in packaged_migrations())
    assert sorted(report.applied for report in reports) == [(), (), (), (), wanted]
    assert {report.version for report in reports} == {len(wanted)}


async def test_a_migration_that_fails_leaves_nothing_of_all(empty_database_url: str) -> None:
    broken = Migration(2, "broken", "CREATE TABLE two (n integer); CREATE TABEL three ();")
    with pytest.raises(MigrationError, match="2 broken"):
        await migrate(empty_database_url, migrations=[FIRST, broken])
    assert await tables(empty_database_url) == set()


async def test_an_applied_migration_that_was_edited_is_refused_with_its_name(empty_database_url: str) -> None:
    await migrate(empty_database_url, migrations=[FIRST])
    edited = Migration(1, "first", FIRST.sql + "\n")
    with pytest.raises(MigrationError, match="1 first"):
        await migrate(empty_database_url, migrations=[edited, SECOND])
    assert "two" not in await tables(empty_database_url)


async def test_a_newer_schema_does_an_older_release_no_harm(empty_database_url: str) -> None:
    await migrate(empty_database_url, migrations=[FIRST, SECOND])
    report = await migrate(empty_database_url, migrations=[FIRST])
    assert (report.applied, report.version) == ((), 2)


async def test_a_table_in_use_ends_the_try_instead_of_holding_up_sessions(empty_database_url: str) -> None:
    await migrate(empty_database_url, migrations=[FIRST])
    session = await asyncpg.connect(empty_database_url)
    try:
        async with session.transaction():
            await session.execute("SELECT * FROM one")
            change = Migration(2, "change", "ALTER TABLE one ADD COLUMN m integer;")
            with pytest.raises(MigrationError, match="try again"):
                await migrate(empty_database_url, migrations=[FIRST, change], lock_timeout_s=0.05)
    finally:
        await session.close()


async def test_readiness_sees_whether_the_schema_is_that_of_this_release(empty_database_url: str) -> None:
    async with Database(empty_database_url) as database:
        assert not await schema_is_current(database)
        await migrate(empty_database_url, migrations=packaged_migrations()[:1])
        assert not await schema_is_current(database)
        await migrate(empty_database_url)
        assert await schema_is_current(database)


async def test_a_database_that_is_away_is_said_to_be_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate(f"postgresql://postgres@127.0.0.1:{unused_tcp_port}/postgres")
