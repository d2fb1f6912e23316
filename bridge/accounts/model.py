"""Accounts, and what a login gives or refuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from bridge.ids import AccountId, MaildropId, ViewId

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where a client really is, after any PROXY header."""

    address: IpAddress
    port: int

    @property
    def network(self) -> IpNetwork:
        """What a single client is counted by: an IPv4 address, an IPv6 /64 (one customer's share of it)."""
        prefix_length = 32 if self.address.version == 4 else 64
        return ip_network((self.address, prefix_length), strict=False)


class AccountStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Account:
    account_id: AccountId
    login_name: str  # normalised
    status: AccountStatus
    maildrop_id: MaildropId
    view_id: ViewId
    argon2_verifier: str | None = field(repr=False)
    scram_verifiers: Mapping[str, str] = field(repr=False)  # hash name -> text form
    login_delay_s: int
    expire_days: int | None  # None: NEVER
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account together with the maildrop it opens; the maildrop is made if no account has its prefix yet.

    A second account on exactly the same bucket and prefix shares the maildrop.
    """

    login_name: str  # normalised
    argon2_verifier: str | None = field(repr=False)
    scram_verifiers: Mapping[str, str] = field(repr=False)
    bucket: str
    key_prefix: str
    layout: str = "objects"
    history: str = "new"
    lock_policy: str = "refuse"
    removal_policy: str = "delete"
    login_delay_s: int = 0
    expire_days: int | None = None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """None: leave as it is."""

    status: AccountStatus | None = None
    argon2_verifier: str | None = field(default=None, repr=False)
    scram_verifiers: Mapping[str, str] | None = field(default=None, repr=False)
    login_delay_s: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a login has proven: who it is, and which view of which maildrop that opens."""

    account_id: AccountId
    login_name: str
    maildrop_id: MaildropId
    view_id: ViewId
    login_delay_s: int
    expire_days: int | None


class RefusalReason(StrEnum):
    """Why a login is refused; also the metric label."""

    BAD_CREDENTIALS = "bad-credentials"
    SUSPENDED = "suspended"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"  # a store or directory is away: never [AUTH]
