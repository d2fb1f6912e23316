import pytest

from bridge.accounts.model import AccountChange, AccountStatus
from bridge.accounts.ports import LoginNameTaken, MaildropConflict, NoSuchAccount
from bridge.ids import AccountId
from bridge.maildrop.errors import NoSuchMaildrop
from tests.contract.rig import Rig


async def test_an_account_is_found_by_its_name_as_it_was_made(rig: Rig) -> None:
    made = await rig.make_account("alice", login_delay_s=30, expire_days=0)

    assert await rig.accounts.find_account("alice") == made
    assert made.status is AccountStatus.ACTIVE
    assert made.scram_verifiers == {"sha256": "scram"}
    assert (made.login_delay_s, made.expire_days) == (30, 0)
    assert await rig.accounts.find_account("Alice") is None


async def test_an_account_opens_a_maildrop_of_its_own(rig: Rig) -> None:
    account = await rig.make_account("alice", layout="maildir", history="existing", lock_policy="wait")

    maildrop = await rig.index.maildrop(account.maildrop_id)
    assert (maildrop.bucket, maildrop.key_prefix, maildrop.layout) == ("mail", "alice/", "maildir")
    assert (maildrop.history, maildrop.lock_policy, maildrop.removal_policy) == ("existing", "wait", "delete")
    assert not maildrop.is_indexed
    assert (await rig.acquire(account)).maildrop == maildrop


async def test_a_name_is_given_once_and_the_refusal_leaves_no_maildrop_behind(rig: Rig) -> None:
    await rig.make_account("alice")
    with pytest.raises(LoginNameTaken):
        await rig.make_account("alice", key_prefix="other/")

    assert len(await rig.index.claim_for_sync(older_than_s=0, limit=10)) == 1


async def test_a_second_account_on_exactly_the_same_prefix_shares_the_maildrop_and_its_view(rig: Rig) -> None:
    alice = await rig.make_account("alice")
    bob = await rig.make_account("bob", key_prefix="alice/")

    assert (bob.maildrop_id, bob.view_id) == (alice.maildrop_id, alice.view_id)


@pytest.mark.parametrize("prefix", ["", "a/", "a/b/c/"])
async def test_a_prefix_that_contains_or_lies_within_another_of_the_bucket_is_refused(rig: Rig, prefix: str) -> None:
    await rig.make_account("alice", key_prefix="a/b/")
    with pytest.raises(MaildropConflict):
        await rig.make_account("bob", key_prefix=prefix)
    assert await rig.accounts.find_account("bob") is None


async def test_prefixes_that_only_look_alike_are_no_conflict(rig: Rig) -> None:
    await rig.make_account("alice", key_prefix="a/b/")
    await rig.make_account("bob", key_prefix="a/bc/")
    await rig.make_account("carol", key_prefix="a/B/")
    await rig.make_account("dave", key_prefix="a/", bucket="other")
    await rig.make_account("erin", key_prefix="a/_/")
    await rig.make_account("frank", key_prefix="a/%/")


@pytest.mark.parametrize("settings", [{"layout": "maildir"}, {"lock_policy": "takeover"}, {"removal_policy": "hide"}])
async def test_settings_that_contradict_those_of_the_shared_maildrop_are_refused(
    rig: Rig, settings: dict[str, str]
) -> None:
    await rig.make_account("alice")
    with pytest.raises(MaildropConflict):
        await rig.make_account("bob", key_prefix="alice/", **settings)


async def test_a_change_leaves_what_it_does_not_name(rig: Rig) -> None:
    made = await rig.make_account("alice", login_delay_s=5)
    suspended = await rig.accounts.change_account(made.account_id, AccountChange(status=AccountStatus.SUSPENDED))
    assert suspended.status is AccountStatus.SUSPENDED
    assert (suspended.argon2_verifier, suspended.login_delay_s) == ("argon", 5)

    changed = await rig.accounts.change_account(
        made.account_id, AccountChange(argon2_verifier="new", scram_verifiers={}, login_delay_s=0)
    )
    assert (changed.argon2_verifier, changed.scram_verifiers, changed.login_delay_s) == ("new", {}, 0)
    assert await rig.accounts.find_account("alice") == changed


async def test_what_is_not_there_can_be_neither_changed_nor_deleted(rig: Rig) -> None:
    with pytest.raises(NoSuchAccount):
        await rig.accounts.change_account(AccountId(999), AccountChange())
    with pytest.raises(NoSuchAccount):
        await rig.accounts.delete_account(AccountId(999))


async def test_a_maildrop_goes_with_its_last_account_only(rig: Rig) -> None:
    alice = await rig.make_account("alice")
    bob = await rig.make_account("bob", key_prefix="alice/")

    await rig.accounts.delete_account(alice.account_id)
    await rig.index.maildrop(bob.maildrop_id)
    assert await rig.accounts.find_account("alice") is None

    await rig.accounts.delete_account(bob.account_id)
    with pytest.raises(NoSuchMaildrop):
        await rig.index.maildrop(bob.maildrop_id)


async def test_accounts_are_listed_in_byte_order_page_by_page(rig: Rig) -> None:
    for name in ("b", "a", "Z", "é", "a.b"):
        await rig.make_account(name)

    first = await rig.accounts.list_accounts(after_name="", limit=3)
    rest = await rig.accounts.list_accounts(after_name=first[-1].login_name, limit=3)
    assert [one.login_name for one in [*first, *rest]] == ["Z", "a", "a.b", "b", "é"]
