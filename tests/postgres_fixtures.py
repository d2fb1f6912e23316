"""A real Postgres for the tests: one server for the run, a fresh migrated database for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from bridge.dev.postgres import EmbeddedPostgres
from bridge.postgres.database import Database, DatabaseLimits
from bridge.postgres.migrate import migrate

_TEMPLATE = "migrated"


class PostgresServer:
    """The server of this test run; `url` names its maintenance database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = count(1)
        self._has_template = False

    def url_of(self, database_name: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database_name}"))

    @asynccontextmanager
    async def fresh_database(self, *, is_migrated: bool = True) -> AsyncIterator[str]:
        """A database of its own, by its URL; gone afterwards."""
        name = f"test_{next(self._numbers)}"
        if is_migrated and not self._has_template:
            await self._execute(f"CREATE DATABASE {_TEMPLATE}")
            await migrate(self.url_of(_TEMPLATE))
            self._has_template = True
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if is_migrated else 'template0'}")
        try:
            yield self.url_of(name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url, timeout=10, command_timeout=30)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=5)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The embedded server, in a folder that the user it runs as can reach."""
    with TemporaryDirectory(prefix="pop3-bridge-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", fast=True)
        asyncio.run(server.start())
        try:
            yield PostgresServer(server.url)
        finally:
            asyncio.run(server.stop())


@pytest.fixture
async def empty_database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A database without any table."""
    async with postgres_server.fresh_database(is_migrated=False) as url:
        yield url


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A fresh database with the current schema."""
    async with postgres_server.fresh_database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url, DatabaseLimits(max_connection_count=12)) as database:
        yield database
