"""argon2id in threads: the event loop never waits for a hash, and memory stays bounded."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from bridge.accounts.ports import AccountsUnavailable

_T = TypeVar("_T")

_MAX_PENDING_COUNT = 1_000
_MAX_WAIT_S = 20.0


class Hasher(Protocol):
    """Slow and hungry on purpose; called in threads."""

    def derive(self, password: str) -> str:
        """A new verifier, with a salt of its own."""

    def matches(self, password: str, verifier: str) -> bool: ...


class Argon2Hasher:
    """argon2id (RFC 9106), one lane."""

    def __init__(self, *, memory_kib: int, iteration_count: int) -> None:
        self._hasher = PasswordHasher(time_cost=iteration_count, memory_cost=memory_kib, parallelism=1)

    def derive(self, password: str) -> str:
        return self._hasher.hash(password)

    def matches(self, password: str, verifier: str) -> bool:
        try:
            return self._hasher.verify(verifier, password)
        except VerifyMismatchError:
            return False


class PasswordVerifier:
    """Checks and derives, `max_parallel_checks` at once: that many times the hasher's memory is the most it takes.

    Passwords come normalised. Both methods raise AccountsUnavailable when too many are waiting already, or when it
    takes too long.
    """

    def __init__(
        self,
        hasher: Hasher,
        *,
        max_parallel_checks: int,
        max_pending_count: int = _MAX_PENDING_COUNT,
        max_wait_s: float = _MAX_WAIT_S,
    ) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(max_parallel_checks, thread_name_prefix="password")
        self._max_pending_count = max_pending_count
        self._max_wait_s = max_wait_s
        self._pending_count = 0

    async def matches(self, password: str, verifier: str | None) -> bool:
        """Whether the password is the verifier's. None (no such account) does the same work and says no."""
        if verifier is None:
            await self.derive(password)
            return False
        return await self._in_thread(lambda: self._hasher.matches(password, verifier))

    async def derive(self, password: str) -> str:
        """The verifier to store for a new password."""
        return await self._in_thread(lambda: self._hasher.derive(password))

    def close(self) -> None:
        """What waits is given up; a hash that runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._pending_count >= self._max_pending_count:
            raise AccountsUnavailable("too many password checks are waiting")
        self._pending_count += 1
        try:
            async with asyncio.timeout(self._max_wait_s):
                # A caller that leaves takes its work out of the queue; the pool's size bounds what runs.
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise AccountsUnavailable(f"no password check within {self._max_wait_s:g} s") from None
        finally:
            self._pending_count -= 1
