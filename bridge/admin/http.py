"""The HTTP door for machines: /livez, /readyz, /metrics."""

import errno
import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from bridge.admin.health import Health

log = logging.getLogger(__name__)

_SHUTDOWN_TIMEOUT_S = 1.0  # a scrape that runs may end


class PortInUse(Exception):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use by another program")
        self.host = host
        self.port = port


class AdminServer:
    """Use as an async context manager; entering raises PortInUse."""

    def __init__(self, health: Health, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self._health = health
        self._registry = registry
        self._host = host
        self._port = port
        self._faults: Mapping[str, str] = {}  # as last logged
        application = web.Application()
        application.add_routes(
            [web.get("/livez", self._live), web.get("/readyz", self._ready), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)

    @property
    def port(self) -> int:
        """The bound port."""
        port: int = self._runner.addresses[0][1]
        return port

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(self._host, self._port) from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _ready(self, request: web.Request) -> web.Response:
        faults = await self._health.faults()
        if faults != self._faults:  # not at every look of an orchestrator
            self._faults = faults
            what = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
            log.log(logging.WARNING if faults else logging.INFO, "readiness changed", extra={"faults": what})
        # The names only: what a fault says is for the log, not for whoever can reach this port.
        return web.json_response({"ready": not faults, "failing": list(faults)}, status=503 if faults else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
