"""One pool of connections, and the one way to use it: time limits, repeats, errors in our own words."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from itertools import count
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from bridge.accounts.ports import AccountError, AccountsUnavailable
from bridge.maildrop.errors import MaildropError, StoreUnavailable

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
_T = TypeVar("_T")

_MAX_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.05

_LOST_SQLSTATES = frozenset({"57P01", "57P02", "57P04", "25P03", "25P04"})  # the server ended the session
_UNDONE_SQLSTATES = frozenset({"40001", "40P01", "25006", "57P03", "53300"})
_LATE_SQLSTATES = frozenset({"57014", "55P03"})  # statement_timeout or a cancel, lock_timeout
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")  # connection, resources, operator intervention, system
_READ_ONLY_SQLSTATE = "25006"


class DatabaseUnavailable(StoreUnavailable, AccountsUnavailable):
    """Postgres does not answer as it should; a retry may cure it. What both rooms understand."""


@dataclass(frozen=True, slots=True)
class DatabaseLimits:
    """Sizes and time limits of a pool."""

    max_connection_count: int = 10
    statement_cache_count: int = 100  # 0 behind a transaction-pooling PgBouncer without prepared statements
    connect_timeout_s: float = 3.0
    acquire_timeout_s: float = 4.0  # waiting for a free connection, and connecting where none is
    command_timeout_s: float = 5.0
    lock_timeout_s: float = 3.0
    release_timeout_s: float = 1.0
    total_timeout_s: float = 10.0  # an operation with all its repeats
    bulk_timeout_s: float = 120.0  # the same for what grows with a whole mailbox


class _Trouble(Enum):
    UNDONE = "undone"  # certainly without effect: may be repeated
    LOST = "lost"  # the answer is lost: may be repeated only if doing it twice is doing it once
    LATE = "late"  # no time is left for another try


def _ignore(operation: str, outcome: str, seconds: float) -> None: ...


class Database:
    """Use as an async context manager. Opening it connects to nothing yet: a process may start without Postgres.

    Lives behind a transaction-pooling PgBouncer: no session state, so nothing to reset between uses. `observe` is told
    each operation's name, outcome (ok, repeated, unavailable, refused, failed) and duration.
    """

    def __init__(
        self,
        dsn: str,
        limits: DatabaseLimits | None = None,
        *,
        observe: Callable[[str, str, float], None] = _ignore,
    ) -> None:
        self.limits = limits or DatabaseLimits()
        self._observe = observe
        self._dsn = dsn
        self._opened: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._opened = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.limits.max_connection_count,
            statement_cache_size=self.limits.statement_cache_count,
            timeout=self.limits.connect_timeout_s,
            command_timeout=self.limits.command_timeout_s,
            reset=_leave_as_is,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._opened = self._pool, None
        try:
            async with asyncio.timeout(self.limits.command_timeout_s):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @property
    def _pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._opened is None:
            raise RuntimeError("the database is not open")
        return self._opened

    @property
    def connection_count(self) -> int:
        return self._pool.get_size()

    @property
    def idle_connection_count(self) -> int:
        return self._pool.get_idle_size()

    async def run(
        self,
        operation: str,
        work: Callable[[Connection], Awaitable[_T]],
        *,
        is_repeatable: bool,
        is_bulk: bool = False,
    ) -> _T:
        """Do `work`, which is one statement or one `transaction`, on a connection of the pool.

        What certainly had no effect (a deadlock, a refused connection, a server that became read-only) is repeated a
        few times within the one time limit; what may have had one only if `is_repeatable`, because doing it twice is
        doing it once. Raises DatabaseUnavailable, and what `work` raises of our own.
        """
        timeout_s = self.limits.bulk_timeout_s if is_bulk else self.limits.total_timeout_s
        began = asyncio.get_running_loop().time()
        outcome = "failed"
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._run_repeatedly(operation, work, is_repeatable=is_repeatable)
            outcome = "ok"
            return result
        except TimeoutError:
            outcome = "unavailable"
            raise DatabaseUnavailable(f"{operation}: no answer within {timeout_s:g} s") from None
        except DatabaseUnavailable:
            outcome = "unavailable"
            raise
        except (MaildropError, AccountError):
            outcome = "refused"
            raise
        finally:
            self._observe(operation, outcome, asyncio.get_running_loop().time() - began)

    async def _run_repeatedly(
        self, operation: str, work: Callable[[Connection], Awaitable[_T]], *, is_repeatable: bool
    ) -> _T:
        for attempt in count(1):
            began = asyncio.get_running_loop().time()
            try:
                return await self._run_once(work)
            except _Troubled as troubled:
                may_repeat = troubled.trouble is _Trouble.UNDONE or (
                    troubled.trouble is _Trouble.LOST and is_repeatable
                )
                if attempt >= _MAX_ATTEMPTS or not may_repeat:
                    raise DatabaseUnavailable(f"{operation}: {_in_words(troubled.error)}") from troubled.error
                self._observe(operation, "repeated", asyncio.get_running_loop().time() - began)
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311
        raise AssertionError("unreachable")

    async def _run_once(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        try:
            async with asyncio.timeout(self.limits.acquire_timeout_s):
                connection = await self._pool.acquire()
        except TimeoutError as error:
            raise _Troubled(_Trouble.LATE, error) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _Troubled(_Trouble.UNDONE, error) from error
        try:
            return await work(connection)
        except Exception as error:
            trouble = _trouble_of(error, is_gone=_is_gone(connection))
            if trouble is None:
                raise
            if isinstance(error, asyncpg.InternalClientError):
                _give_up(connection)  # whatever state it is in, nobody is to meet it again
            if getattr(error, "sqlstate", None) == _READ_ONLY_SQLSTATE:
                # After a failover: all connections may lead to the old primary.
                await self._pool.expire_connections()
            raise _Troubled(trouble, error) from error
        finally:
            await self._release(connection)

    async def _release(self, connection: Connection) -> None:
        # asyncpg drops a connection that will not be released; the work's own result or error is what counts.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._pool.release(connection, timeout=self.limits.release_timeout_s)

    @asynccontextmanager
    async def transaction(self, connection: Connection, *, is_bulk: bool = False) -> AsyncIterator[None]:
        """A transaction (read committed) that cannot wait for locks, run, or stand idle for long.

        A process that is paused inside one must not keep rows locked: the server ends it.
        """
        statement_timeout_s = self.limits.bulk_timeout_s if is_bulk else self.limits.command_timeout_s
        # Bulk statements get custom plans: a plan for arrays of any length is bad for long ones.
        await connection.execute(
            "BEGIN ISOLATION LEVEL READ COMMITTED;"
            f"SET LOCAL lock_timeout = {_milliseconds(self.limits.lock_timeout_s)};"
            f"SET LOCAL statement_timeout = {_milliseconds(statement_timeout_s)};"
            f"SET LOCAL idle_in_transaction_session_timeout = {_milliseconds(self.limits.total_timeout_s)};"
            + ("SET LOCAL plan_cache_mode = force_custom_plan" if is_bulk else "")
        )
        try:
            yield
        except BaseException:
            await self._roll_back(connection)
            raise
        if await connection.execute("COMMIT") != "COMMIT":
            raise DatabaseUnavailable("the transaction was rolled back instead of committed")

    async def _roll_back(self, connection: Connection) -> None:
        """Bounded; a connection that does not answer is given up, which rolls back as well."""
        try:
            async with asyncio.timeout(self.limits.release_timeout_s):
                await connection.execute("ROLLBACK")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _give_up(connection)
        except BaseException:
            _give_up(connection)
            raise


class _Troubled(Exception):
    def __init__(self, trouble: _Trouble, error: Exception) -> None:
        super().__init__(trouble, error)
        self.trouble = trouble
        self.error = error


def _trouble_of(error: Exception, *, is_gone: bool) -> _Trouble | None:
    """None: no trouble of the database's, but a refusal or a bug of ours."""
    match error:
        case asyncpg.InvalidCachedStatementError():  # a migration went by; the statement is prepared anew
            return _Trouble.UNDONE
        case asyncpg.PostgresError(sqlstate=str(sqlstate)):
            if sqlstate in _UNDONE_SQLSTATES:
                return _Trouble.UNDONE
            if sqlstate in _LOST_SQLSTATES or sqlstate.startswith("08"):
                return _Trouble.LOST
            if sqlstate in _LATE_SQLSTATES or sqlstate.startswith(_UNAVAILABLE_CLASSES):
                return _Trouble.LATE
            return None
        case OSError():  # TimeoutError too
            return _Trouble.LOST
        case asyncpg.InternalClientError():  # the server's goodbye came in just as the statement was begun
            return _Trouble.LOST
        case asyncpg.InterfaceError() if is_gone:
            return _Trouble.LOST
        case _:
            return None


def _is_gone(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # asyncpg took it out of the pool already
        return True


def _give_up(connection: Connection) -> None:
    if not _is_gone(connection):
        connection.terminate()


def _in_words(error: Exception) -> str:
    """Without Postgres' DETAIL, which may hold values of rows."""
    words = str(error.args[-1]) if error.args else "no answer in time"
    sqlstate = getattr(error, "sqlstate", None)
    return f"{words} ({sqlstate})" if sqlstate else words


def _milliseconds(duration_s: float) -> int:
    return max(1, round(duration_s * 1000))


async def _leave_as_is(connection: object) -> None:
    """Nothing we do outlives a transaction, and asyncpg's own reset costs a round trip at each use."""
