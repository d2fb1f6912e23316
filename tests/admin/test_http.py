import json
import logging
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from bridge.admin.health import Health
from bridge.admin.http import AdminServer, PortInUse


class World:
    def __init__(self) -> None:
        self.postgres_is_away = False
        self.is_draining = False

    async def postgres(self) -> None:
        if self.postgres_is_away:
            raise ConnectionError("refused by 192.0.2.1")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[AdminServer]:
    registry = CollectorRegistry()
    Counter("example", "An example", registry=registry).inc()
    health = Health({"postgres": world.postgres}, is_draining=lambda: world.is_draining, timeout_s=10)
    async with AdminServer(health, registry, host="127.0.0.1", port=0) as running:
        yield running


async def get(server: AdminServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def ready(server: AdminServer) -> tuple[int, object]:
    status, text = await get(server, "/readyz")
    return status, json.loads(text)


async def test_a_process_that_answers_is_alive_though_its_dependencies_are_away(
    server: AdminServer, world: World
) -> None:
    world.postgres_is_away = world.is_draining = True
    assert (await get(server, "/livez"))[0] == 200


async def test_readiness_names_what_fails_and_comes_back_by_itself(server: AdminServer, world: World) -> None:
    assert await ready(server) == (200, {"ready": True, "failing": []})
    world.postgres_is_away = True
    assert await ready(server) == (503, {"ready": False, "failing": ["postgres"]})
    world.postgres_is_away = False
    assert await ready(server) == (200, {"ready": True, "failing": []})


async def test_a_change_of_readiness_is_logged_once_with_its_cause(
    server: AdminServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bridge.admin")
    await ready(server)
    world.postgres_is_away = True
    await ready(server)
    await ready(server)
    world.postgres_is_away = False
    await ready(server)
    assert [(entry.levelno, entry.__dict__["faults"]) for entry in caplog.records] == [
        (logging.WARNING, "postgres: ConnectionError: refused by 192.0.2.1"),
        (logging.INFO, ""),
    ]


async def test_a_draining_process_is_not_ready(server: AdminServer, world: World) -> None:
    world.is_draining = True
    assert await ready(server) == (503, {"ready": False, "failing": ["draining"]})


async def test_metrics_are_shown(server: AdminServer) -> None:
    status, text = await get(server, "/metrics")
    assert status == 200 and "example_total 1.0" in text


async def test_other_paths_are_not_there(server: AdminServer) -> None:
    assert (await get(server, "/"))[0] == 404


async def test_a_busy_port_is_said_by_name() -> None:
    health = Health({}, is_draining=lambda: False, timeout_s=1)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1"):
            async with AdminServer(health, CollectorRegistry(), host="127.0.0.1", port=port):
                pass
