"""Whether this process lives, and whether it should be given new connections."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

Probe = Callable[[], Awaitable[object]]


class Health:
    """Readiness is the process' own: what it cannot work without, asked by `probes`. A probe that raises has failed.

    Liveness is not asked here: a process that answers lives. A dependency that is away must not restart it.
    """

    def __init__(self, probes: Mapping[str, Probe], *, is_draining: Callable[[], bool], timeout_s: float) -> None:
        self._probes = probes
        self._is_draining = is_draining
        self._timeout_s = timeout_s

    async def faults(self) -> Mapping[str, str]:
        """What is wrong, by name; empty: ready. All probes are asked at once, each at most `timeout_s`."""
        if self._is_draining():
            return {"draining": "this process is being stopped"}
        answers = await asyncio.gather(*(self._fault(probe) for probe in self._probes.values()))
        return {name: fault for name, fault in zip(self._probes, answers, strict=True) if fault is not None}

    async def _fault(self, probe: Probe) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await probe()
        except TimeoutError:
            return "no answer in time"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None
