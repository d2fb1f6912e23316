from dataclasses import replace

import pytest

from bridge.pop3.capabilities import capability_lines, usable_mechanisms
from bridge.sasl.exchange import Mechanism
from tests.pop3.transcript import DEFAULT_PROFILE

ALWAYS = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
LOGINS = ["USER", "SASL PLAIN LOGIN"]


@pytest.mark.parametrize(
    ("offers_tls", "requires_tls", "tls_active", "logged_in", "lines"),
    [
        (False, False, False, False, LOGINS),
        (True, False, False, False, [*LOGINS, "STLS"]),
        (True, False, False, True, LOGINS),
        (True, True, False, False, ["STLS"]),
        (True, True, True, False, LOGINS),
        (True, True, True, True, LOGINS),
    ],
)
def test_only_what_works_now_is_announced(
    offers_tls: bool, requires_tls: bool, tls_active: bool, logged_in: bool, lines: list[str]
) -> None:
    profile = replace(DEFAULT_PROFILE, implementation=None, offers_tls=offers_tls, login_requires_tls=requires_tls)
    assert capability_lines(profile, tls_active=tls_active, logged_in=logged_in) == ALWAYS + lines


def test_expiry_delay_and_name_are_announced_when_set() -> None:
    profile = replace(DEFAULT_PROFILE, implementation="pop3-bridge 1.0", expire_days=0, login_delay_s=60)
    lines = capability_lines(profile, tls_active=False, logged_in=False)
    assert {"EXPIRE 0", "LOGIN-DELAY 60", "IMPLEMENTATION pop3-bridge 1.0"} <= set(lines)


def test_no_mechanism_is_usable_where_passwords_need_tls() -> None:
    profile = replace(DEFAULT_PROFILE, login_requires_tls=True, mechanisms=(Mechanism.PLAIN,))
    assert usable_mechanisms(profile, tls_active=False) == ()
    assert usable_mechanisms(profile, tls_active=True) == (Mechanism.PLAIN,)
