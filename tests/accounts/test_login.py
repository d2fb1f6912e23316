import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest

from bridge.accounts.login import AccountChecker, LoginService
from bridge.accounts.model import ClientAddress, Identity, IpNetwork, RefusalReason
from bridge.accounts.passwords import PasswordVerifier
from bridge.accounts.ports import AccountsUnavailable, Admit, LoginRefused, RefuseFor
from bridge.accounts.provisioning import MaildropWish, Provisioning
from bridge.accounts.verified import VerifiedPasswords
from bridge.sasl.credentials import PasswordCredentials
from tests.accounts.hashers import CountingHasher, GatedHasher
from tests.fakes.account_store import FakeAccountStore

CLIENT = ClientAddress(ip_address("192.0.2.1"), 40_000)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class House:
    """The accounts room with one account in it, alice@example.com, and what it counts."""

    def __init__(self, hasher: CountingHasher) -> None:
        self.hasher = hasher
        self.clock = Clock()
        self.store = FakeAccountStore()
        self.passwords = PasswordVerifier(hasher, max_parallel_checks=2)
        self.provisioning = Provisioning(self.store, self.passwords)
        verified = VerifiedPasswords(lifetime_s=300, clock=self.clock)
        self.checker = AccountChecker(self.store, self.passwords, verified)
        self.service = LoginService(self.checker)

    async def add(self, name: str = "alice@example.com", password: str = "right") -> None:
        await self.provisioning.add(name, password, MaildropWish(bucket="mail"))
        self.hasher.work_count = 0

    async def login(self, name: str, password: str, authorization_name: str = "") -> Identity:
        return await self.service.login(PasswordCredentials(name, password, authorization_name), CLIENT)

    async def refusal(self, name: str, password: str, authorization_name: str = "") -> RefusalReason:
        with pytest.raises(LoginRefused) as caught:
            await self.login(name, password, authorization_name)
        return caught.value.reason


@pytest.fixture
def house() -> Iterator[House]:
    house = House(CountingHasher())
    yield house
    house.passwords.close()


@pytest.fixture
def gated() -> Iterator[House]:
    hasher = GatedHasher()
    house = House(hasher)
    yield house
    hasher.gate.set()
    house.passwords.close()


async def test_the_right_password_proves_who_one_is(house: House) -> None:
    await house.add()
    identity = await house.login("Alice@EXAMPLE.com", "right")
    account = await house.provisioning.find("alice@example.com")
    assert identity.account_id == account.account_id
    assert identity.login_name == "alice@example.com"
    assert (identity.maildrop_id, identity.view_id) == (account.maildrop_id, account.view_id)


@pytest.mark.parametrize("password", ["a b", " a", "a ", "a  b", "  ", "pä€ß🔑"])
async def test_blanks_and_other_letters_belong_to_the_password(house: House, password: str) -> None:
    await house.add(password=password)
    await house.login("alice@example.com", password)
    for other in {password.strip(), password.replace(" ", ""), password.replace("  ", " "), password + " "} - {
        password
    }:
        assert await house.refusal("alice@example.com", other) is RefusalReason.BAD_CREDENTIALS


async def test_an_empty_password_is_refused_whatever_is_stored(house: House) -> None:
    await house.add()
    account = await house.provisioning.find("alice@example.com")
    house.store.tables.accounts[account.account_id] = replace(account, argon2_verifier="hashed:")
    assert await house.refusal("alice@example.com", "") is RefusalReason.BAD_CREDENTIALS
    assert house.hasher.work_count == 0


@pytest.mark.parametrize(
    "name",
    [
        "alice@example.com",
        "nobody@example.com",
        "suspended",
        "no-password",
        "../bob",
        "a/../b",
        "bob%2f",
        "",
        "x" * 5_000,
        "b\udcff",
        "alice@example.com\x00",
    ],
)
async def test_unknown_impossible_suspended_and_wrong_hear_the_same_after_the_same_work(
    house: House, name: str
) -> None:
    await house.add()
    await house.add("suspended")
    await house.provisioning.suspend("suspended")
    await house.add("no-password")
    account = await house.provisioning.find("no-password")
    house.store.tables.accounts[account.account_id] = replace(account, argon2_verifier=None)
    assert await house.refusal(name, "wrong") is RefusalReason.BAD_CREDENTIALS
    assert house.hasher.work_count == 1


async def test_only_the_right_password_learns_of_a_suspension(house: House) -> None:
    await house.add()
    await house.login("alice@example.com", "right")
    await house.provisioning.suspend("alice@example.com")
    assert await house.refusal("alice@example.com", "right") is RefusalReason.SUSPENDED
    assert await house.refusal("alice@example.com", "wrong") is RefusalReason.BAD_CREDENTIALS
    await house.provisioning.resume("alice@example.com")
    await house.login("alice@example.com", "right")


async def test_nobody_acts_as_somebody_else(house: House) -> None:
    await house.add()
    await house.add("bob")
    await house.login("alice@example.com", "right", "ALICE@example.com")
    for other in ("bob", "nobody", "../bob"):
        house.hasher.work_count = 0
        assert await house.refusal("alice@example.com", "right", other) is RefusalReason.BAD_CREDENTIALS
        assert house.hasher.work_count == 1


async def test_a_poller_costs_one_hash_until_its_proof_is_old(house: House) -> None:
    await house.add()
    for _ in range(10):
        await house.login("alice@example.com", "right")
    assert house.hasher.work_count == 1
    house.clock.now += 300
    await house.login("alice@example.com", "right")
    assert house.hasher.work_count == 2


async def test_a_wrong_password_is_never_remembered_as_anything(house: House) -> None:
    await house.add()
    for _ in range(3):
        assert await house.refusal("alice@example.com", "wrong") is RefusalReason.BAD_CREDENTIALS
    assert house.hasher.work_count == 3


async def test_a_changed_password_is_felt_at_once(house: House) -> None:
    await house.add()
    await house.login("alice@example.com", "right")
    await house.provisioning.set_password("alice@example.com", "new")
    assert await house.refusal("alice@example.com", "right") is RefusalReason.BAD_CREDENTIALS
    await house.login("alice@example.com", "new")


@pytest.mark.parametrize(("name", "is_known"), [("alice@example.com", True), ("nobody", False)])
async def test_a_hundred_equal_tries_at_once_cost_one_hash(gated: House, name: str, is_known: bool) -> None:
    gated.hasher.gate.set()
    await gated.add()
    gated.hasher.gate.clear()
    tries = [asyncio.create_task(gated.login(name, "right")) for _ in range(100)]
    for _ in range(10):
        await asyncio.sleep(0)
    gated.hasher.gate.set()
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert gated.hasher.work_count == 1
    assert all(isinstance(result, Identity if is_known else LoginRefused) for result in results)


async def test_a_client_that_leaves_does_not_take_the_check_from_the_others(gated: House) -> None:
    gated.hasher.gate.set()
    await gated.add()
    gated.hasher.gate.clear()
    first, second = (asyncio.create_task(gated.login("alice@example.com", "right")) for _ in range(2))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gated.hasher.gate.set()
    assert (await second).login_name == "alice@example.com"


async def test_accounts_that_cannot_be_asked_are_no_reason_to_call_a_password_wrong(house: House) -> None:
    await house.add()
    house.store.is_away = True
    with pytest.raises(AccountsUnavailable):
        await house.login("alice@example.com", "right")


async def test_no_password_is_in_a_refusal_a_repr_or_a_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await house.add(password="s3cret")
    await house.login("alice@example.com", "s3cret")
    credentials = PasswordCredentials("alice@example.com", "s3cret-wrong")
    with pytest.raises(LoginRefused) as caught:
        await house.service.login(credentials, CLIENT)
    account = await house.provisioning.find("alice@example.com")
    assert "s3cret" not in repr(caught.value) + repr(credentials) + repr(account) + caplog.text


@dataclass
class FakeThrottle:
    verdict: Admit | RefuseFor

    def __post_init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    async def admit(self, login_name: str, network: IpNetwork) -> Admit | RefuseFor:
        self.seen.append(("admit", login_name, str(network)))
        return self.verdict

    async def record_failure(self, login_name: str, network: IpNetwork, password: str) -> None:
        self.seen.append(("failure", login_name, str(network)))

    async def record_success(self, login_name: str, network: IpNetwork) -> None:
        self.seen.append(("success", login_name, str(network)))


def throttled(house: House, throttle: FakeThrottle) -> list[float]:
    """Puts the throttle in; what it makes clients wait is collected, not waited."""
    pauses_s: list[float] = []

    async def sleep(duration_s: float) -> None:
        pauses_s.append(duration_s)

    house.service = LoginService(house.checker, throttle, sleep=sleep)
    return pauses_s


async def test_a_failure_is_counted_and_answered_after_the_delay_that_the_throttle_says(house: House) -> None:
    await house.add()
    throttle = FakeThrottle(Admit(failure_delay_s=2.0))
    pauses_s = throttled(house, throttle)
    assert await house.refusal("ALICE@example.com", "wrong") is RefusalReason.BAD_CREDENTIALS
    assert pauses_s == [2.0]
    assert [what for what, _, _ in throttle.seen] == ["admit", "failure"]
    assert throttle.seen[1][1:] == ("alice@example.com", str(ip_network("192.0.2.1/32")))


async def test_a_success_is_told_to_the_throttle_and_not_delayed(house: House) -> None:
    await house.add()
    throttle = FakeThrottle(Admit(failure_delay_s=2.0))
    pauses_s = throttled(house, throttle)
    await house.login("alice@example.com", "right")
    assert pauses_s == []
    assert [what for what, _, _ in throttle.seen] == ["admit", "success"]


async def test_who_is_throttled_costs_no_hash(house: House) -> None:
    await house.add()
    throttled(house, FakeThrottle(RefuseFor(delay_s=30.0)))
    assert await house.refusal("alice@example.com", "right") is RefusalReason.THROTTLED
    assert house.hasher.work_count == 0


async def test_impossible_names_count_together(house: House) -> None:
    throttle = FakeThrottle(Admit())
    throttled(house, throttle)
    await house.refusal("../bob", "wrong")
    await house.refusal("a/b", "wrong")
    assert {name for _, name, _ in throttle.seen} == {""}
