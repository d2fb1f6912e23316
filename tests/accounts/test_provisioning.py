from collections.abc import Iterator

import pytest

from bridge.accounts.model import AccountStatus
from bridge.accounts.names import InvalidName, InvalidPassword, normalise_password
from bridge.accounts.passwords import PasswordVerifier
from bridge.accounts.ports import LoginNameTaken, MaildropConflict, NoSuchAccount
from bridge.accounts.provisioning import InvalidMaildrop, MaildropWish, Provisioning, generate_password
from tests.accounts.hashers import CountingHasher
from tests.fakes.account_store import FakeAccountStore

WISH = MaildropWish(bucket="mail")


@pytest.fixture
def store() -> FakeAccountStore:
    return FakeAccountStore()


@pytest.fixture
def provisioning(store: FakeAccountStore) -> Iterator[Provisioning]:
    passwords = PasswordVerifier(CountingHasher(), max_parallel_checks=1)
    yield Provisioning(store, passwords)
    passwords.close()


async def test_an_account_opens_the_folder_of_its_name(provisioning: Provisioning, store: FakeAccountStore) -> None:
    account = await provisioning.add("Alice@Example.com", "pässword", WISH)
    assert account.login_name == "alice@example.com"
    assert account.argon2_verifier == "hashed:pässword"
    maildrop = store.tables.maildrops[account.maildrop_id]
    assert (maildrop.bucket, maildrop.key_prefix) == ("mail", "alice@example.com/")


async def test_a_prefix_may_be_named_or_be_the_whole_bucket(
    provisioning: Provisioning, store: FakeAccountStore
) -> None:
    named = await provisioning.add("a", "p", MaildropWish(bucket="one", key_prefix="inbound/a/"))
    whole = await provisioning.add("b", "p", MaildropWish(bucket="two", key_prefix=""))
    assert store.tables.maildrops[named.maildrop_id].key_prefix == "inbound/a/"
    assert store.tables.maildrops[whole.maildrop_id].key_prefix == ""


async def test_two_accounts_on_the_same_prefix_share_the_maildrop(provisioning: Provisioning) -> None:
    wish = MaildropWish(bucket="mail", key_prefix="shared/")
    one = await provisioning.add("a", "p", wish)
    assert (await provisioning.add("b", "p", wish)).maildrop_id == one.maildrop_id


async def test_what_is_taken_is_refused(provisioning: Provisioning) -> None:
    await provisioning.add("a", "p", WISH)
    with pytest.raises(LoginNameTaken):
        await provisioning.add("A", "p", WISH)
    with pytest.raises(MaildropConflict):
        await provisioning.add("b", "p", MaildropWish(bucket="mail", key_prefix="a/b/"))


async def test_a_bad_name_or_password_makes_no_account(provisioning: Provisioning, store: FakeAccountStore) -> None:
    with pytest.raises(InvalidName):
        await provisioning.add("../a", "p", WISH)
    with pytest.raises(InvalidPassword):
        await provisioning.add("a", "", WISH)
    assert not store.tables.accounts


@pytest.mark.parametrize(
    "wish",
    [
        MaildropWish(bucket=""),
        MaildropWish(bucket="a/b"),
        MaildropWish(bucket="mail", key_prefix="a"),
        MaildropWish(bucket="mail", key_prefix="/a/"),
        MaildropWish(bucket="mail", key_prefix="a\x00/"),
        MaildropWish(bucket="mail", key_prefix="a" * 700 + "/"),
        MaildropWish(bucket="mail", login_delay_s=-1),
    ],
)
async def test_what_can_be_no_maildrop_is_refused(
    provisioning: Provisioning, store: FakeAccountStore, wish: MaildropWish
) -> None:
    with pytest.raises(InvalidMaildrop):
        await provisioning.add("a", "p", wish)
    assert not store.tables.accounts


async def test_an_account_is_changed_and_removed_by_any_form_of_its_name(provisioning: Provisioning) -> None:
    await provisioning.add("alice@example.com", "old", WISH)
    assert (await provisioning.set_password("ALICE@example.com", "new")).argon2_verifier == "hashed:new"
    assert (await provisioning.suspend("ALICE@example.com")).status is AccountStatus.SUSPENDED
    assert (await provisioning.resume("ALICE@example.com")).status is AccountStatus.ACTIVE
    assert (await provisioning.remove("ALICE@example.com")).login_name == "alice@example.com"
    with pytest.raises(NoSuchAccount, match=r"there is no account alice@example\.com"):
        await provisioning.find("ALICE@example.com")


async def test_accounts_that_are_not_there_are_named(provisioning: Provisioning) -> None:
    for change in (provisioning.suspend, provisioning.resume, provisioning.remove, provisioning.find):
        with pytest.raises(NoSuchAccount, match="there is no account bob"):
            await change("Bob")
    with pytest.raises(NoSuchAccount):
        await provisioning.set_password("Bob", "p")


async def test_all_accounts_are_listed_in_order_over_all_pages(provisioning: Provisioning) -> None:
    names = [f"user{number:04}" for number in range(1_001)]
    for name in reversed(names):
        await provisioning.add(name, "p", WISH)
    assert [account.login_name async for account in provisioning.accounts()] == names


def test_generated_passwords_are_long_different_and_allowed() -> None:
    passwords = {generate_password() for _ in range(100)}
    assert len(passwords) == 100
    for password in passwords:
        assert len(password) == 24
        assert normalise_password(password) == password
