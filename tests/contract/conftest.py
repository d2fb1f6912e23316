from collections.abc import AsyncIterator

import pytest

from tests.contract.rig import Rig, fake_rig, postgres_rig
from tests.postgres_fixtures import PostgresServer


@pytest.fixture(params=["fakes", "postgres"])
async def rig(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> AsyncIterator[Rig]:
    """The stores of one world, once in memory and once in Postgres: what holds for one holds for the other."""
    if request.param == "fakes":
        yield fake_rig()
    else:
        async with postgres_rig(postgres_server) as rig:
            yield rig
