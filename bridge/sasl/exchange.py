"""One running AUTH, seen from the session: octets of the client in, the next step out (RFC 4422 section 3)."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol

from bridge.sasl.credentials import Credentials


class Mechanism(StrEnum):
    PLAIN = "PLAIN"
    LOGIN = "LOGIN"


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send these octets (base64 is the session's work) and give the answer to `respond`."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """The exchange is over; whoever knows the account judges these."""

    credentials: Credentials


class Failure(Enum):
    MALFORMED = "malformed"  # not what the mechanism sends; no try at a password
    BAD_CREDENTIALS = "bad-credentials"  # they cannot be right: counts as a failed login


@dataclass(frozen=True, slots=True)
class Failed:
    """The exchange is over, nothing was proven."""

    failure: Failure


Step = Challenge | Proven | Failed


class Exchange(Protocol):
    def begin(self, initial_response: bytes | None) -> Step:
        """None: the client sent no initial response (empty is not none)."""

    def respond(self, response: bytes) -> Step: ...
