"""What this server offers, and its limits. One frozen value for all sessions of a listener."""

from dataclasses import dataclass

from bridge.sasl.exchange import Mechanism


@dataclass(frozen=True, slots=True)
class SessionProfile:
    implementation: str | None  # shown by CAPA (RFC 2449 section 6.9); None: hidden
    offers_tls: bool  # STLS can be used: there is a certificate
    login_requires_tls: bool  # no password is taken in clear
    mechanisms: tuple[Mechanism, ...] = (Mechanism.PLAIN, Mechanism.LOGIN)
    expire_days: int | None = None  # RFC 2449 section 6.7; None: NEVER
    login_delay_s: int = 0  # RFC 2449 section 6.5; 0: not announced
    max_command_octets: int = 255  # with the line end (RFC 2449 section 4)
    max_auth_octets: int = 16_384  # an AUTH line or an answer to a challenge, with the line end
    max_bad_commands: int = 20  # unknown or misplaced ones in a row; the next one ends the session
    max_failed_logins: int = 3
    max_unsent_octets: int = 65_536  # above, the driver has to write before more commands run
