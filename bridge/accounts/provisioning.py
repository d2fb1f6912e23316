"""Making, changing and removing accounts, for the command line and the API: names and passwords are judged here."""

import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bridge.accounts.model import Account, AccountChange, AccountStatus, NewAccount
from bridge.accounts.names import normalise_login_name, normalise_password
from bridge.accounts.passwords import PasswordVerifier
from bridge.accounts.ports import AccountError, AccountStore, NoSuchAccount

_PAGE_COUNT = 500
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as something else
_GROUP_COUNT = 5
_GROUP_LENGTH = 4
_MAX_PREFIX_OCTETS = 700  # an S3 key has 1,024; the rest is for the messages' names


class InvalidMaildrop(AccountError):
    """No maildrop can have this bucket, prefix or limits; the message says why."""


@dataclass(frozen=True, slots=True)
class MaildropWish:
    """Where an account's mail lies and how it is served. The words are those of the maildrop room."""

    bucket: str
    key_prefix: str | None = None  # None: the login name as a folder; "": the whole bucket
    layout: str = "objects"
    history: str = "new"
    lock_policy: str = "refuse"
    removal_policy: str = "delete"
    login_delay_s: int = 0


def generate_password() -> str:
    """A random password of 99 bits that can be read aloud."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUP_COUNT))
    return "-".join(groups)


class Provisioning:
    """All methods may raise InvalidName, AccountsUnavailable, and but for `add` and `accounts` NoSuchAccount."""

    def __init__(self, accounts: AccountStore, passwords: PasswordVerifier) -> None:
        self._accounts = accounts
        self._passwords = passwords

    async def add(self, login_name: str, password: str, wish: MaildropWish) -> Account:
        """Raises InvalidPassword, InvalidMaildrop, LoginNameTaken, MaildropConflict."""
        name = normalise_login_name(login_name)
        key_prefix = f"{name}/" if wish.key_prefix is None else wish.key_prefix
        _check_maildrop(wish, key_prefix)
        return await self._accounts.create_account(
            NewAccount(
                login_name=name,
                argon2_verifier=await self._passwords.derive(normalise_password(password)),
                scram_verifiers={},
                bucket=wish.bucket,
                key_prefix=key_prefix,
                layout=wish.layout,
                history=wish.history,
                lock_policy=wish.lock_policy,
                removal_policy=wish.removal_policy,
                login_delay_s=wish.login_delay_s,
            )
        )

    async def set_password(self, login_name: str, password: str) -> Account:
        """The old password is refused from the next login on. Raises InvalidPassword."""
        account = await self.find(login_name)
        verifier = await self._passwords.derive(normalise_password(password))
        change = AccountChange(argon2_verifier=verifier, scram_verifiers={})  # those of the old password go
        return await self._accounts.change_account(account.account_id, change)

    async def suspend(self, login_name: str) -> Account:
        """Logins are refused from now on; sessions that run go on to their end."""
        return await self._set_status(login_name, AccountStatus.SUSPENDED)

    async def resume(self, login_name: str) -> Account:
        return await self._set_status(login_name, AccountStatus.ACTIVE)

    async def remove(self, login_name: str) -> Account:
        """The account goes, and with the last one of a maildrop its index; the mail in S3 stays."""
        account = await self.find(login_name)
        await self._accounts.delete_account(account.account_id)
        return account

    async def find(self, login_name: str) -> Account:
        name = normalise_login_name(login_name)
        account = await self._accounts.find_account(name)
        if account is None:
            raise NoSuchAccount(f"there is no account {name}")
        return account

    async def accounts(self) -> AsyncIterator[Account]:
        """All, in byte order of their names."""
        after_name = ""
        while page := await self._accounts.list_accounts(after_name=after_name, limit=_PAGE_COUNT):
            for account in page:
                yield account
            after_name = page[-1].login_name

    async def _set_status(self, login_name: str, status: AccountStatus) -> Account:
        account = await self.find(login_name)
        return await self._accounts.change_account(account.account_id, AccountChange(status=status))


def _check_maildrop(wish: MaildropWish, key_prefix: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}", wish.bucket):
        raise InvalidMaildrop("a bucket's name has 3 to 63 letters, digits, dots and hyphens")
    if key_prefix and not key_prefix.endswith("/"):
        raise InvalidMaildrop(f"a prefix ends in /, so that it is not the beginning of another: {key_prefix}/")
    if key_prefix.startswith("/"):
        raise InvalidMaildrop("a prefix does not begin with /: S3 would take it for a folder without a name")
    if not key_prefix.isprintable():
        raise InvalidMaildrop("a prefix holds no control characters")
    if len(key_prefix.encode()) > _MAX_PREFIX_OCTETS:
        raise InvalidMaildrop(f"a prefix has at most {_MAX_PREFIX_OCTETS} octets")
    if wish.login_delay_s < 0:
        raise InvalidMaildrop("a login delay is not negative")
