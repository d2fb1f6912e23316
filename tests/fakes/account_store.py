from collections.abc import Sequence
from dataclasses import replace

from bridge.accounts.model import Account, AccountChange, AccountStatus, NewAccount
from bridge.accounts.ports import AccountsUnavailable, LoginNameTaken, MaildropConflict, NoSuchAccount
from bridge.ids import AccountId, MaildropId
from bridge.maildrop.model import History, Layout, LockPolicy, Maildrop, RemovalPolicy
from tests.fakes.tables import FakeTables, ViewRow


class FakeAccountStore:
    """An AccountStore in memory. `is_away`: every call raises AccountsUnavailable."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.is_away = False

    async def find_account(self, login_name: str) -> Account | None:
        self._reach()
        return next((one for one in self.tables.accounts.values() if one.login_name == login_name), None)

    async def create_account(self, new: NewAccount) -> Account:
        self._reach()
        shared = self._shared_maildrop(new)
        if await self.find_account(new.login_name) is not None:
            raise LoginNameTaken(new.login_name)
        view = self._own_view(shared) if shared else self._make_maildrop(new)
        account = Account(
            account_id=AccountId(self.tables.next_number()),
            login_name=new.login_name,
            status=AccountStatus.ACTIVE,
            maildrop_id=view.maildrop_id,
            view_id=view.view_id,
            argon2_verifier=new.argon2_verifier,
            scram_verifiers=dict(new.scram_verifiers),
            login_delay_s=new.login_delay_s,
            expire_days=new.expire_days,
            created_at=self.tables.clock.now(),
        )
        self.tables.accounts[account.account_id] = account
        return account

    async def change_account(self, account_id: AccountId, change: AccountChange) -> Account:
        self._reach()
        account = self._account(account_id)
        if change.status is not None:
            account = replace(account, status=change.status)
        if change.argon2_verifier is not None:
            account = replace(account, argon2_verifier=change.argon2_verifier)
        if change.scram_verifiers is not None:
            account = replace(account, scram_verifiers=dict(change.scram_verifiers))
        if change.login_delay_s is not None:
            account = replace(account, login_delay_s=change.login_delay_s)
        self.tables.accounts[account_id] = account
        return account

    async def delete_account(self, account_id: AccountId) -> None:
        self._reach()
        maildrop_id = self._account(account_id).maildrop_id
        del self.tables.accounts[account_id]
        if all(one.maildrop_id != maildrop_id for one in self.tables.accounts.values()):
            self.tables.drop_maildrop(maildrop_id)

    async def list_accounts(self, *, after_name: str, limit: int) -> Sequence[Account]:
        self._reach()
        by_name = sorted(self.tables.accounts.values(), key=lambda one: one.login_name.encode())
        return [one for one in by_name if one.login_name.encode() > after_name.encode()][:limit]

    def _reach(self) -> None:
        if self.is_away:
            raise AccountsUnavailable("the fake is away")

    def _account(self, account_id: AccountId) -> Account:
        try:
            return self.tables.accounts[account_id]
        except KeyError:
            raise NoSuchAccount(f"account {account_id}") from None

    def _own_view(self, maildrop: Maildrop) -> ViewRow:
        return next(
            view for view in self.tables.views.values() if view.maildrop_id == maildrop.maildrop_id and view.name == ""
        )

    def _shared_maildrop(self, new: NewAccount) -> Maildrop | None:
        for maildrop in self.tables.maildrops.values():
            if maildrop.bucket != new.bucket:
                continue
            if maildrop.key_prefix == new.key_prefix:
                if (maildrop.layout, maildrop.lock_policy, maildrop.removal_policy) != (
                    new.layout,
                    new.lock_policy,
                    new.removal_policy,
                ):
                    raise MaildropConflict("the maildrop is there already, with other settings")
                return maildrop
            for prefix in (maildrop.key_prefix, maildrop.trash_prefix):
                if prefix is not None and (prefix.startswith(new.key_prefix) or new.key_prefix.startswith(prefix)):
                    raise MaildropConflict("prefixes contain one another")
        return None

    def _make_maildrop(self, new: NewAccount) -> ViewRow:
        return self.tables.add_maildrop(
            Maildrop(
                maildrop_id=MaildropId(self.tables.next_number()),
                bucket=new.bucket,
                key_prefix=new.key_prefix,
                layout=Layout(new.layout),
                history=History(new.history),
                lock_policy=LockPolicy(new.lock_policy),
                removal_policy=RemovalPolicy(new.removal_policy),
                trash_prefix=None,
                is_indexed=False,
                index_version=0,
            )
        )
