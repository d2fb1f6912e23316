"""What the session asks of its driver, and the refusals it can be answered with."""

from dataclasses import dataclass
from enum import Enum, StrEnum

from bridge.sasl.credentials import Credentials


@dataclass(frozen=True, slots=True)
class NeedData:
    """Nothing to do before more octets come."""


@dataclass(frozen=True, slots=True)
class DrainNeeded:
    """Write what is to be sent before asking on."""


@dataclass(frozen=True, slots=True)
class TlsRequested:
    """Write what is to be sent, then start TLS (RFC 2595 section 4) and call `tls_established`.

    Octets that the client had sent in clear behind STLS go to `receive_data`, which ends the session.
    """


@dataclass(frozen=True, slots=True)
class LoginRequested:
    """Call `accept_login` or `refuse_login`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class MessageRequested:
    """RETR, or TOP with `body_lines`. Call `begin_message` and, once all of it is encoded and taken over by the driver,
    `end_message`; or `refuse_message`.
    """

    number: int
    body_lines: int | None


@dataclass(frozen=True, slots=True)
class LastRequested:
    """LAST (RFC 1460): call `provide_last` with the highest message number retrieved in earlier sessions, or
    `refuse_message`.
    """


@dataclass(frozen=True, slots=True)
class UpdateRequested:
    """QUIT in TRANSACTION: remove these, give the maildrop back, then call `complete_update` or `fail_update`.

    Asked for also when there is nothing to remove.
    """

    deleted_numbers: tuple[int, ...]


class EndReason(StrEnum):
    """How a session ended; also the metric label."""

    QUIT = "quit"
    UPDATE_FAILED = "update-failed"
    CLIENT_CLOSED = "client-closed"  # end of stream without QUIT
    CONNECTION_LOST = "connection-lost"
    IDLE = "idle"
    LOGIN_TOO_SLOW = "login-too-slow"
    TOO_MANY_FAILED_LOGINS = "too-many-failed-logins"
    TOO_MANY_BAD_COMMANDS = "too-many-bad-commands"
    CLEARTEXT_BEHIND_STLS = "cleartext-behind-stls"
    TLS_FAILED = "tls-failed"
    WRITE_STALLED = "write-stalled"
    MESSAGE_CUT = "message-cut"  # it could not be sent whole
    LEASE_LOST = "lease-lost"
    DRAINED = "drained"
    INTERNAL_ERROR = "internal-error"


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Final: write what is to be sent and close."""

    reason: EndReason


# One at a time waits for its answer.
Request = TlsRequested | LoginRequested | MessageRequested | LastRequested | UpdateRequested
Event = NeedData | DrainNeeded | Request | SessionEnded


class LoginRefusal(Enum):
    """Response code (RFC 2449 section 8, RFC 3206) and text."""

    BAD_CREDENTIALS = "[AUTH] wrong name or password"
    IN_USE = "[IN-USE] the maildrop is open in another session"
    LOGIN_DELAY = "[LOGIN-DELAY] you logged in a moment ago, wait a little"
    THROTTLED = "[SYS/TEMP] too many failed logins, wait a little"
    SUSPENDED = "[SYS/PERM] this account is suspended"
    BEING_PREPARED = "[SYS/TEMP] mailbox is being prepared, try again soon"
    TEMPORARY = "[SYS/TEMP] the service is not available right now, try again soon"
    PERMANENT = "[SYS/PERM] this mailbox cannot be opened"


class MessageRefusal(Enum):
    GONE = "the message is not there any more"
    CHANGED = "the message was replaced, log in again to see the new one"
    TEMPORARY = "[SYS/TEMP] the message cannot be read right now, try again soon"
    PERMANENT = "[SYS/PERM] the message cannot be read"


class UpdateRefusal(Enum):
    """RFC 1939 section 6."""

    LEASE_LOST = "[SYS/TEMP] some deleted messages not removed"
    TEMPORARY = "[SYS/TEMP] some deleted messages not removed, try again soon"
    PERMANENT = "[SYS/PERM] some deleted messages not removed"
