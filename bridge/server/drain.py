"""Letting go of all sessions before the process ends, with as little harm as can be."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

_CUT_LIMIT_S = 45.0  # an UPDATE that runs, and giving back a lease, have their own limits, which add up to less


class LiveConnection(Protocol):
    def interrupt(self) -> None:
        """Look at the drain now, if waiting for the client."""

    def cut(self) -> None:
        """Reset the connection; an UPDATE that runs goes on to its end."""


@dataclass(frozen=True, slots=True)
class DrainReport:
    ended_count: int  # at a good moment
    cut_count: int


class Drain:
    """All live connections of the process. One per process."""

    def __init__(self) -> None:
        self.is_draining = False  # readiness says no from here on
        self.idle_limit_s: float | None = None  # set: sessions end, before login at once, after it when so long silent
        self._connections: set[LiveConnection] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @contextlib.contextmanager
    def joined(self, connection: LiveConnection) -> Iterator[None]:
        """The connection is live while the context is open."""
        self._connections.add(connection)
        self._is_empty.clear()
        try:
            yield
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._is_empty.set()

    async def all_ended(self) -> None:
        """Wait until no connection is live."""
        await self._is_empty.wait()

    async def drain(
        self, stop_accepting: Callable[[], None], *, accept_grace_s: float, idle_s: float, timeout_s: float
    ) -> DrainReport:
        """Serve on for `accept_grace_s`, because load balancers are slow to notice; then stop accepting, end sessions
        between two commands, and cut, `timeout_s` after the call, what still runs.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        self.is_draining = True
        await asyncio.sleep(accept_grace_s)
        stop_accepting()
        self.idle_limit_s = idle_s
        count = len(self._connections)
        log.info("draining", extra={"connection_count": count})
        for connection in self._connections:
            connection.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self.all_ended()
        left = list(self._connections)
        for connection in left:
            connection.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CUT_LIMIT_S):
                await self.all_ended()
        report = DrainReport(count - len(left), len(left))
        log.info("drained", extra={"ended_count": report.ended_count, "cut_count": report.cut_count})
        return report
