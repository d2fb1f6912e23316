import asyncio

from bridge.admin.health import Health


async def fine() -> None: ...


async def broken() -> None:
    raise ConnectionError("refused")


async def silent() -> None:
    await asyncio.Event().wait()


async def test_all_probes_that_fail_are_named() -> None:
    health = Health(
        {"postgres": broken, "certificate": fine, "listener": silent}, is_draining=lambda: False, timeout_s=0.01
    )
    assert await health.faults() == {"postgres": "ConnectionError: refused", "listener": "no answer in time"}


async def test_a_process_whose_probes_are_fine_is_ready() -> None:
    assert await Health({"postgres": fine}, is_draining=lambda: False, timeout_s=1).faults() == {}


async def test_a_draining_process_is_not_ready_whatever_its_probes_say() -> None:
    assert list(await Health({"postgres": fine}, is_draining=lambda: True, timeout_s=1).faults()) == ["draining"]
