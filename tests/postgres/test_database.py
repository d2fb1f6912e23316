import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from bridge.accounts.ports import AccountsUnavailable
from bridge.maildrop.errors import LeaseLost, StoreUnavailable
from bridge.postgres.database import Connection, Database, DatabaseLimits, DatabaseUnavailable
from tests.postgres.proxy import faulty_proxy

QUICK = DatabaseLimits(
    max_connection_count=3,
    connect_timeout_s=0.3,
    acquire_timeout_s=0.3,
    command_timeout_s=0.2,
    lock_timeout_s=0.1,
    release_timeout_s=0.1,
    total_timeout_s=0.6,
)
ONE = "SELECT 1"


def fetch(sql: str) -> Callable[[Connection], Awaitable[object]]:
    return lambda connection: connection.fetchval(sql)


class Failing:
    """Work that raises these errors first, one each time, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.run_count = 0

    async def __call__(self, connection: Connection) -> int:
        self.run_count += 1
        if self.errors:
            raise self.errors.pop(0)
        return await connection.fetchval(ONE)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.SerializationError("x"),
        asyncpg.DeadlockDetectedError("x"),
        asyncpg.ReadOnlySQLTransactionError("x"),
        asyncpg.TooManyConnectionsError("x"),
        asyncpg.CannotConnectNowError("x"),
        asyncpg.InvalidCachedStatementError("x"),
    ],
)
async def test_what_had_no_effect_for_certain_is_repeated(database: Database, error: Exception) -> None:
    work = Failing(error)
    assert await database.run("test", work, is_repeatable=False) == 1
    assert work.run_count == 2


@pytest.mark.parametrize(
    "error", [asyncpg.ConnectionDoesNotExistError("x"), ConnectionResetError(), asyncpg.AdminShutdownError("x")]
)
async def test_what_may_have_had_an_effect_is_repeated_only_where_that_is_safe(
    database: Database, error: Exception
) -> None:
    with pytest.raises(DatabaseUnavailable):
        await database.run("test", Failing(error), is_repeatable=False)
    assert await database.run("test", Failing(error), is_repeatable=True) == 1


@pytest.mark.parametrize("error", [asyncpg.QueryCanceledError("x"), asyncpg.LockNotAvailableError("x")])
async def test_what_took_all_its_time_is_not_repeated(database: Database, error: Exception) -> None:
    work = Failing(error)
    with pytest.raises(DatabaseUnavailable):
        await database.run("test", work, is_repeatable=True)
    assert work.run_count == 1


async def test_repeats_end(database: Database) -> None:
    work = Failing(*[asyncpg.DeadlockDetectedError("x")] * 100)
    with pytest.raises(DatabaseUnavailable, match="40P01"):
        await database.run("test", work, is_repeatable=True)
    assert work.run_count == 4


async def test_both_rooms_understand_that_the_database_is_away(unused_tcp_port: int) -> None:
    async with Database(f"postgresql://postgres@127.0.0.1:{unused_tcp_port}/x", QUICK) as database:
        with pytest.raises(DatabaseUnavailable) as away:
            await database.run("test", fetch(ONE), is_repeatable=True)
    assert isinstance(away.value, StoreUnavailable) and isinstance(away.value, AccountsUnavailable)


async def test_a_bug_of_ours_stays_loud(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.run("test", fetch("SELECT * FROM nonsense"), is_repeatable=True)
    with pytest.raises(asyncpg.InterfaceError):
        await database.run("test", lambda c: c.fetchval(ONE, "surplus"), is_repeatable=True)


async def test_outcomes_are_told_to_the_observer(database_url: str) -> None:
    seen: list[tuple[str, str]] = []

    async def refuse(connection: Connection) -> None:
        raise LeaseLost("x")

    async with Database(database_url, observe=lambda name, outcome, _: seen.append((name, outcome))) as database:
        await database.run("good", fetch(ONE), is_repeatable=True)
        await database.run("twice", Failing(asyncpg.DeadlockDetectedError("x")), is_repeatable=True)
        with pytest.raises(LeaseLost):
            await database.run("refuse", refuse, is_repeatable=True)
        with pytest.raises(DatabaseUnavailable):
            await database.run("away", Failing(asyncpg.QueryCanceledError("x")), is_repeatable=True)
        with pytest.raises(ZeroDivisionError):
            await database.run("bug", Failing(ZeroDivisionError()), is_repeatable=True)
    assert seen == [
        ("good", "ok"),
        ("twice", "repeated"),
        ("twice", "ok"),
        ("refuse", "refused"),
        ("away", "unavailable"),
        ("bug", "failed"),
    ]


async def test_a_statement_that_takes_too_long_is_given_up_and_its_connection_can_be_used_again(
    database_url: str,
) -> None:
    async with Database(database_url, QUICK) as database:
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable):
                await database.run("test", fetch("SELECT pg_sleep(30)"), is_repeatable=False)
        assert await database.run("test", fetch(ONE), is_repeatable=False) == 1
        assert database.connection_count == database.idle_connection_count


async def test_waiting_for_a_lock_ends(database_url: str) -> None:
    async with Database(database_url, QUICK) as database:

        async def lock(connection: Connection) -> None:
            async with database.transaction(connection):
                await connection.execute("SELECT pg_advisory_xact_lock(7)")

        other = await asyncpg.connect(database_url)
        try:
            await other.execute("SELECT pg_advisory_lock(7)")
            with pytest.raises(DatabaseUnavailable, match="55P03"):
                await database.run("test", lock, is_repeatable=True)
        finally:
            await other.close()
        await database.run("test", lock, is_repeatable=True)


async def test_an_error_rolls_the_transaction_back(database: Database) -> None:
    async def write(connection: Connection) -> None:
        async with database.transaction(connection):
            await connection.execute("CREATE TABLE half (n integer)")
            raise LeaseLost("x")

    with pytest.raises(LeaseLost):
        await database.run("test", write, is_repeatable=True)
    assert await database.run("test", fetch("SELECT to_regclass('half')::text"), is_repeatable=True) is None


async def test_settings_of_a_transaction_do_not_outlive_it(database: Database) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "plan_cache_mode")

    async def read(connection: Connection) -> list[str]:
        before = [await connection.fetchval(f"SHOW {name}") for name in names]
        async with database.transaction(connection, is_bulk=True):
            within = [await connection.fetchval(f"SHOW {name}") for name in names]
        assert all(old != new for old, new in zip(before, within, strict=True))
        after = [await connection.fetchval(f"SHOW {name}") for name in names]
        assert before == after
        return after

    await database.run("test", read, is_repeatable=False)


async def test_cancelled_tasks_leak_no_connection_and_leave_no_transaction_open(database_url: str) -> None:
    limits = DatabaseLimits(max_connection_count=3)
    async with Database(database_url, limits) as database:

        async def work(connection: Connection) -> None:
            async with database.transaction(connection):
                await connection.fetchval("SELECT pg_advisory_xact_lock(1)")
                await connection.fetchval(ONE)

        for hop_count in range(60):
            tasks = [asyncio.create_task(database.run("test", work, is_repeatable=True)) for _ in range(6)]
            for _ in range(hop_count):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        async with asyncio.timeout(10):
            await asyncio.gather(*(database.run("test", work, is_repeatable=True) for _ in range(3)))
        assert database.connection_count == database.idle_connection_count
        in_transaction = (
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            " AND datname = current_database()"
        )
        assert await database.run("test", fetch(in_transaction), is_repeatable=True) == 0


async def test_a_full_pool_makes_others_wait_only_so_long(database_url: str) -> None:
    limits = DatabaseLimits(max_connection_count=3, acquire_timeout_s=0.3)
    async with Database(database_url, limits) as database:
        held = asyncio.Event()
        enough = asyncio.Event()

        async def hold(connection: Connection) -> None:
            held.set()
            await enough.wait()

        holders = [asyncio.create_task(database.run("hold", hold, is_repeatable=False)) for _ in range(3)]
        await held.wait()
        with pytest.raises(DatabaseUnavailable):
            await database.run("test", fetch(ONE), is_repeatable=True)
        enough.set()
        await asyncio.gather(*holders)
        assert await database.run("test", fetch(ONE), is_repeatable=True) == 1


async def test_a_server_that_falls_silent_is_given_up_and_found_again(database_url: str) -> None:
    async with faulty_proxy(database_url) as (proxy, url), Database(url, QUICK) as database:
        assert await database.run("test", fetch(ONE), is_repeatable=True) == 1
        proxy.is_silent = True
        with pytest.raises(DatabaseUnavailable):
            await database.run("test", fetch(ONE), is_repeatable=True)
        proxy.is_silent = False
        assert await database.run("test", fetch(ONE), is_repeatable=True) == 1


async def test_a_server_that_was_restarted_between_two_uses_is_not_noticed(database_url: str) -> None:
    async with Database(database_url) as database:
        pid = await database.run("test", fetch("SELECT pg_backend_pid()"), is_repeatable=True)
        operator = await asyncpg.connect(database_url)
        await operator.execute("SELECT pg_terminate_backend($1)", pid)
        await operator.close()
        assert await database.run("test", fetch(ONE), is_repeatable=True) == 1


async def test_a_connection_whose_end_crossed_a_statement_is_given_up_and_the_statement_repeated(
    database_url: str,
) -> None:
    async with faulty_proxy(database_url) as (proxy, url), Database(url) as database:
        await database.run("test", fetch(ONE), is_repeatable=True)
        work = Failing(asyncpg.InternalClientError("cannot switch to state 11"))
        assert await database.run("test", work, is_repeatable=True) == 1
        assert proxy.connection_count == 2
        with pytest.raises(DatabaseUnavailable):
            await database.run("test", Failing(asyncpg.InternalClientError("x")), is_repeatable=False)


async def test_a_server_that_became_read_only_is_left_for_a_new_connection(database_url: str) -> None:
    async with faulty_proxy(database_url) as (proxy, url), Database(url) as database:
        await database.run("test", fetch(ONE), is_repeatable=True)
        assert proxy.connection_count == 1
        work = Failing(asyncpg.ReadOnlySQLTransactionError("x"))
        assert await database.run("test", work, is_repeatable=False) == 1
        assert proxy.connection_count == 2


async def test_no_message_of_an_error_holds_the_password(unused_tcp_port: int) -> None:
    async with Database(f"postgresql://bridge:geheim@127.0.0.1:{unused_tcp_port}/x", QUICK) as database:
        with pytest.raises(DatabaseUnavailable) as away:
            await database.run("test", fetch(ONE), is_repeatable=True)
    assert "geheim" not in str(away.value)


async def test_a_database_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError):
        await Database("postgresql://127.0.0.1/x").run("test", fetch(ONE), is_repeatable=True)
