import asyncio
import threading
from collections.abc import Iterator

import pytest

from bridge.accounts.passwords import Argon2Hasher, PasswordVerifier
from bridge.accounts.ports import AccountsUnavailable
from tests.accounts.hashers import CountingHasher, GatedHasher


@pytest.fixture
def gated() -> Iterator[GatedHasher]:
    hasher = GatedHasher()
    yield hasher
    hasher.gate.set()


async def test_a_derived_verifier_matches_its_password_and_no_other() -> None:
    passwords = PasswordVerifier(Argon2Hasher(memory_kib=8_192, iteration_count=1), max_parallel_checks=1)
    verifier = await passwords.derive("pä€ß 🔑")
    assert verifier.startswith("$argon2id$v=19$m=8192,t=1,p=1$")
    assert await passwords.matches("pä€ß 🔑", verifier)
    assert not await passwords.matches("pä€ß  🔑", verifier)
    assert await passwords.derive("pä€ß 🔑") != verifier
    passwords.close()


async def test_no_verifier_costs_the_same_work_and_matches_nothing() -> None:
    hasher = CountingHasher()
    passwords = PasswordVerifier(hasher, max_parallel_checks=1)
    assert not await passwords.matches("x", None)
    assert hasher.work_count == 1
    assert await passwords.matches("x", "hashed:x")
    assert hasher.work_count == 2
    passwords.close()


async def test_hashes_are_made_in_threads_while_the_loop_goes_on(gated: GatedHasher) -> None:
    passwords = PasswordVerifier(gated, max_parallel_checks=2)
    checks = [asyncio.create_task(passwords.matches("x", "hashed:x")) for _ in range(100)]
    for _ in range(1_000):  # the loop turns although no hash can end
        await asyncio.sleep(0)
    assert not any(check.done() for check in checks)
    gated.gate.set()
    assert all(await asyncio.gather(*checks))
    assert gated.work_count == 100
    assert gated.most_inside_count <= 2
    assert threading.get_ident() not in gated.threads
    passwords.close()


async def test_what_cannot_wait_any_more_is_refused_at_once(gated: GatedHasher) -> None:
    passwords = PasswordVerifier(gated, max_parallel_checks=1, max_pending_count=3)
    checks = [asyncio.create_task(passwords.derive("x")) for _ in range(3)]
    await asyncio.to_thread(gated.entered.acquire)
    with pytest.raises(AccountsUnavailable):
        await passwords.matches("x", None)
    gated.gate.set()
    assert await asyncio.gather(*checks) == ["hashed:x"] * 3
    assert await passwords.derive("x") == "hashed:x"
    passwords.close()


async def test_a_check_that_takes_too_long_is_given_up(gated: GatedHasher) -> None:
    passwords = PasswordVerifier(gated, max_parallel_checks=1, max_wait_s=0.01)
    with pytest.raises(AccountsUnavailable):
        await passwords.matches("x", "hashed:x")
    passwords.close()


async def test_a_caller_that_leaves_takes_its_work_out_of_the_queue(gated: GatedHasher) -> None:
    passwords = PasswordVerifier(gated, max_parallel_checks=1)
    running = asyncio.create_task(passwords.derive("x"))
    await asyncio.to_thread(gated.entered.acquire)
    waiting = asyncio.create_task(passwords.derive("y"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gated.gate.set()
    await running
    await passwords.derive("z")
    assert gated.work_count == 2
    passwords.close()
