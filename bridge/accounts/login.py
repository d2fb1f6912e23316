"""A login: the throttle, the password, the account's status."""

import asyncio
from collections.abc import Awaitable, Callable

from bridge.accounts.model import Account, AccountStatus, ClientAddress, Identity, RefusalReason
from bridge.accounts.names import InvalidName, InvalidPassword, normalise_login_name, normalise_password
from bridge.accounts.passwords import PasswordVerifier
from bridge.accounts.ports import AccountStore, CredentialChecker, LoginRefused, LoginThrottle, RefuseFor
from bridge.accounts.verified import VerifiedPasswords
from bridge.sasl.credentials import Credentials


class AccountChecker:
    """Checks passwords against the stored accounts. Satisfies `bridge.accounts.ports.CredentialChecker`."""

    def __init__(self, accounts: AccountStore, passwords: PasswordVerifier, verified: VerifiedPasswords) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._verified = verified
        self._checks: dict[bytes, asyncio.Task[bool]] = {}

    async def check(self, credentials: Credentials, client: ClientAddress) -> Identity | None:
        """None: wrong. An unknown name, a suspended account and a wrong password cost the same work.

        Raises LoginRefused (suspended; only for the right password), AccountsUnavailable.
        """
        try:
            password = normalise_password(credentials.password)
        except InvalidPassword:  # whatever the account: nothing can be learnt from how quickly this is said
            return None
        account = await self._find(credentials)
        if not await self._is_right(account, credentials.login_name, password) or account is None:
            return None
        if account.status is AccountStatus.SUSPENDED:
            raise LoginRefused(RefusalReason.SUSPENDED)
        return Identity(
            account_id=account.account_id,
            login_name=account.login_name,
            maildrop_id=account.maildrop_id,
            view_id=account.view_id,
            login_delay_s=account.login_delay_s,
            expire_days=account.expire_days,
        )

    async def _find(self, credentials: Credentials) -> Account | None:
        """None also for a name that no account can have, and for somebody who wants to act as another."""
        try:
            login_name = normalise_login_name(credentials.login_name)
            if credentials.authorization_name and normalise_login_name(credentials.authorization_name) != login_name:
                return None
        except InvalidName:
            return None
        return await self._accounts.find_account(login_name)

    async def _is_right(self, account: Account | None, login_name: str, password: str) -> bool:
        """Equal tries that come together are one check, for known names as for unknown ones."""
        if account is None:
            digest = self._verified.digest(None, login_name, password)
            verifier = None
        else:
            verifier = account.argon2_verifier
            digest = self._verified.digest(account.account_id, verifier, password)
        if self._verified.knows(digest):
            return True
        check = self._checks.get(digest)
        if check is None:
            check = asyncio.create_task(self._passwords.matches(password, verifier), name="password check")
            self._checks[digest] = check
            check.add_done_callback(lambda done: self._ended(digest, done))
        return await asyncio.shield(check)  # a client that leaves does not take it from the others

    def _ended(self, digest: bytes, check: "asyncio.Task[bool]") -> None:
        del self._checks[digest]
        # Its error is for those who wait for it; asking here keeps asyncio quiet when all of them have left.
        if not check.cancelled() and check.exception() is None and check.result():
            self._verified.note(digest)


class LoginService:
    """What a session asks. `throttle` None: nothing is counted."""

    def __init__(
        self,
        checker: CredentialChecker,
        throttle: LoginThrottle | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._checker = checker
        self._throttle = throttle
        self._sleep = sleep

    async def login(self, credentials: Credentials, client: ClientAddress) -> Identity:
        """Whom the credentials prove. Raises LoginRefused, AccountsUnavailable (never a reason to say [AUTH])."""
        if self._throttle is None:
            identity = await self._checker.check(credentials, client)
            if identity is None:
                raise LoginRefused(RefusalReason.BAD_CREDENTIALS)
            return identity
        return await self._login_throttled(self._throttle, credentials, client)

    async def _login_throttled(
        self, throttle: LoginThrottle, credentials: Credentials, client: ClientAddress
    ) -> Identity:
        name = _counted_name(credentials.login_name)
        verdict = await throttle.admit(name, client.network)
        if isinstance(verdict, RefuseFor):
            raise LoginRefused(RefusalReason.THROTTLED)
        identity = await self._checker.check(credentials, client)
        if identity is None:
            await throttle.record_failure(name, client.network, credentials.password)
            await self._sleep(verdict.failure_delay_s)
            raise LoginRefused(RefusalReason.BAD_CREDENTIALS)
        await throttle.record_success(name, client.network)
        return identity


def _counted_name(login_name: str) -> str:
    """Names that no account can have count together."""
    try:
        return normalise_login_name(login_name)
    except InvalidName:
        return ""
