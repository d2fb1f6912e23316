"""What only a real database can show of accounts: races between provisioners."""

import asyncio

from bridge.accounts.model import Account
from bridge.accounts.ports import LoginNameTaken, MaildropConflict, NoSuchAccount
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Database
from tests.contract.rig import new_account


async def test_of_prefixes_that_contain_one_another_one_is_made_however_they_race(database: Database) -> None:
    store = PostgresAccountStore(database)
    for number in range(10):
        root = f"r{number}/"
        racers = await asyncio.gather(
            *(
                store.create_account(new_account(f"{number}-{depth}", key_prefix=root + "x/" * depth))
                for depth in range(6)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(one, Account) for one in racers) == 1
        assert sum(isinstance(one, MaildropConflict) for one in racers) == 5


async def test_of_equal_names_one_is_made_however_they_race(database: Database) -> None:
    store = PostgresAccountStore(database)
    racers = await asyncio.gather(
        *(store.create_account(new_account("alice", key_prefix=f"{number}/")) for number in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Account) for one in racers) == 1
    assert sum(isinstance(one, LoginNameTaken) for one in racers) == 5


async def test_a_maildrop_shared_while_its_last_account_goes_is_never_left_half(database: Database) -> None:
    store = PostgresAccountStore(database)
    for number in range(10):
        prefix = f"p{number}/"
        first = await store.create_account(new_account(f"first{number}", key_prefix=prefix))
        second, _ = await asyncio.gather(
            store.create_account(new_account(f"second{number}", key_prefix=prefix)),
            store.delete_account(first.account_id),
        )
        found = await store.find_account(f"second{number}")
        assert found == second


async def test_an_account_is_deleted_once_however_often_that_is_asked_at_once(database: Database) -> None:
    store = PostgresAccountStore(database)
    account = await store.create_account(new_account("alice"))
    outcomes = await asyncio.gather(
        *(store.delete_account(account.account_id) for _ in range(4)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, NoSuchAccount) for one in outcomes) == 3


async def test_a_login_finds_its_account_by_an_index(database: Database) -> None:
    store = PostgresAccountStore(database)
    await store.create_account(new_account("alice"))
    plan = await database.run(
        "test",
        lambda c: c.fetch("EXPLAIN SELECT * FROM account WHERE login_name = 'alice'"),
        is_repeatable=True,
    )
    assert any("account_login_name_key" in row[0] for row in plan)
