"""What the accounts room needs from outside, and its errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bridge.accounts.model import Account, AccountChange, ClientAddress, Identity, IpNetwork, NewAccount, RefusalReason
from bridge.ids import AccountId
from bridge.sasl.credentials import Credentials


class AccountError(Exception):
    """Root of this room's errors."""


class AccountsUnavailable(AccountError):
    """The place that knows the accounts does not answer; a retry may cure it."""


class NoSuchAccount(AccountError): ...


class LoginNameTaken(AccountError): ...


class MaildropConflict(AccountError):
    """The prefix contains, equals or lies within one of another maildrop, or other settings contradict it."""


class LoginRefused(AccountError):
    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class AccountStore(Protocol):
    """Every method may raise AccountsUnavailable."""

    async def find_account(self, login_name: str) -> Account | None:
        """By its normalised login name."""

    async def create_account(self, new: NewAccount) -> Account:
        """Raises LoginNameTaken, MaildropConflict."""

    async def change_account(self, account_id: AccountId, change: AccountChange) -> Account:
        """Raises NoSuchAccount."""

    async def delete_account(self, account_id: AccountId) -> None:
        """The account goes; its maildrop's index goes with its last account, its mail in S3 stays.

        Raises NoSuchAccount.
        """

    async def list_accounts(self, *, after_name: str, limit: int) -> Sequence[Account]:
        """In byte order of the login name."""


class CredentialChecker(Protocol):
    async def check(self, credentials: Credentials, client: ClientAddress) -> Identity | None:
        """None: wrong. Raises LoginRefused (suspended; only for right credentials), AccountsUnavailable."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Go on; a failure that follows is answered after `failure_delay_s`."""

    failure_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RefuseFor:
    delay_s: float


class LoginThrottle(Protocol):
    """Shared by the fleet. Counts failures per client network and account."""

    async def admit(self, login_name: str, network: IpNetwork) -> Admit | RefuseFor: ...

    async def record_failure(self, login_name: str, network: IpNetwork, password: str) -> None:
        """Equal wrong passwords in a row count once."""

    async def record_success(self, login_name: str, network: IpNetwork) -> None: ...
