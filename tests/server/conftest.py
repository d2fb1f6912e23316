import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from prometheus_client import CollectorRegistry

from bridge.server.tls import TlsContexts
from bridge.telemetry.metrics import Metrics
from tests.server.certificates import pair, write_pair


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What runs here runs on both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
async def tls(tmp_path: Path, metrics: Metrics) -> TlsContexts:
    contexts = TlsContexts(*write_pair(tmp_path / "tls", pair()), metrics)
    await contexts.load()
    return contexts
