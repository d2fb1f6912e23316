"""What CAPA says (RFC 2449): exactly what works on this connection."""

from bridge.pop3.profile import SessionProfile
from bridge.sasl.exchange import Mechanism


def usable_mechanisms(profile: SessionProfile, *, tls_active: bool) -> tuple[Mechanism, ...]:
    """All of ours show the password."""
    return profile.mechanisms if tls_active or not profile.login_requires_tls else ()


def capability_lines(profile: SessionProfile, *, tls_active: bool, logged_in: bool) -> list[str]:
    lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"]
    lines.append("EXPIRE NEVER" if profile.expire_days is None else f"EXPIRE {profile.expire_days}")
    if profile.login_delay_s:
        lines.append(f"LOGIN-DELAY {profile.login_delay_s}")
    if mechanisms := usable_mechanisms(profile, tls_active=tls_active):
        lines += ["USER", "SASL " + " ".join(mechanisms)]
    if profile.offers_tls and not tls_active and not logged_in:
        lines.append("STLS")
    if profile.implementation is not None:
        lines.append(f"IMPLEMENTATION {profile.implementation}")
    return lines
