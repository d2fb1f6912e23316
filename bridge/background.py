"""Work that is done again and again for as long as the process runs: listings, removals, watching."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_JITTER = 0.2  # of the interval, so that replicas started together do not come together
_LONGEST_BACKOFF = 16  # intervals


async def run_again_and_again(
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    interval_s: float,
    stop: asyncio.Event,
    on_error: Callable[[], None] = lambda: None,
) -> None:
    """Do `work` now and about every `interval_s` until `stop` is set; what runs then is done to its end first.

    A failure is logged with its traceback and told to `on_error`, and the waits grow to at most 16 intervals until it
    works again: a background task must not take the sessions down with it. `work` has its own deadlines. To stop at
    once, cancel the task instead.
    """
    failure_count = 0
    while not stop.is_set():
        try:
            await work()
            failure_count = 0
        except Exception:
            failure_count += 1
            log.exception("background work failed, it will be tried again", extra={"work": name})
            on_error()
        wait_s = interval_s * min(2 ** min(failure_count, 10), _LONGEST_BACKOFF)
        try:
            async with asyncio.timeout(wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)):  # noqa: S311
                await stop.wait()
        except TimeoutError:
            continue
