import asyncio
import logging

import pytest

from bridge.background import run_again_and_again


async def test_work_is_done_again_until_it_is_stopped() -> None:
    stop = asyncio.Event()
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        if count == 3:
            stop.set()

    async with asyncio.timeout(10):
        await run_again_and_again("listing", work, interval_s=0.001, stop=stop)
    assert count == 3


async def test_a_failure_is_logged_and_counted_and_the_work_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()
    errors: list[int] = []
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise ValueError("away")
        stop.set()

    async with asyncio.timeout(10):
        await run_again_and_again("listing", work, interval_s=0.001, stop=stop, on_error=lambda: errors.append(1))
    assert (count, errors) == (2, [1])
    assert [(entry.levelno, entry.work) for entry in caplog.records] == [(logging.ERROR, "listing")]  # type: ignore[attr-defined]


async def test_a_long_wait_ends_at_once_when_it_is_stopped() -> None:
    stop = asyncio.Event()
    worked = asyncio.Event()

    async def work() -> None:
        worked.set()

    task = asyncio.create_task(run_again_and_again("listing", work, interval_s=3_600, stop=stop))
    async with asyncio.timeout(10):
        await worked.wait()
        stop.set()
        await task


async def test_cancellation_is_not_swallowed() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_again_and_again("listing", work, interval_s=1, stop=asyncio.Event()))
    async with asyncio.timeout(10):
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
