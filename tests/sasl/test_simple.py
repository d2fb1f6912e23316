import pytest

from bridge.sasl.credentials import PasswordCredentials
from bridge.sasl.exchange import Challenge, Failed, Failure, Mechanism, Proven, Step
from bridge.sasl.simple import start_exchange


def plain(response: bytes) -> Step:
    return start_exchange(Mechanism.PLAIN).begin(response)


def test_plain_takes_its_message_at_once_or_behind_an_empty_challenge() -> None:
    proven = Proven(PasswordCredentials("alice", "secret"))
    assert plain(b"\0alice\0secret") == proven
    exchange = start_exchange(Mechanism.PLAIN)
    assert exchange.begin(None) == Challenge(b"")
    assert exchange.respond(b"\0alice\0secret") == proven


def test_plain_carries_the_authorization_name() -> None:
    assert plain(b"bob\0alice\0secret") == Proven(PasswordCredentials("alice", "secret", "bob"))


def test_plain_keeps_blanks_and_utf8_of_a_password() -> None:
    assert plain("\0ålice\0 ä  ".encode()) == Proven(PasswordCredentials("ålice", " ä  "))


@pytest.mark.parametrize("response", [b"", b"alice", b"alice\0secret", b"\0a\0b\0c"])
def test_plain_wants_three_fields(response: bytes) -> None:
    assert plain(response) == Failed(Failure.MALFORMED)


@pytest.mark.parametrize("response", [b"\xff\0alice\0secret", b"\0al\xffice\0secret", b"\0alice\0sec\xc3ret"])
def test_plain_with_what_is_no_utf8_is_a_failed_login(response: bytes) -> None:
    assert plain(response) == Failed(Failure.BAD_CREDENTIALS)


def test_login_asks_for_the_name_and_then_for_the_password() -> None:
    exchange = start_exchange(Mechanism.LOGIN)
    assert exchange.begin(None) == Challenge(b"Username:")
    assert exchange.respond(b"alice") == Challenge(b"Password:")
    assert exchange.respond(b"a b ") == Proven(PasswordCredentials("alice", "a b "))


def test_an_initial_response_of_login_is_the_name() -> None:
    exchange = start_exchange(Mechanism.LOGIN)
    assert exchange.begin(b"alice") == Challenge(b"Password:")
    assert exchange.respond(b"secret") == Proven(PasswordCredentials("alice", "secret"))


def test_an_empty_initial_response_of_login_is_an_empty_name() -> None:
    exchange = start_exchange(Mechanism.LOGIN)
    assert exchange.begin(b"") == Challenge(b"Password:")
    assert exchange.respond(b"") == Proven(PasswordCredentials("", ""))


def test_login_with_what_is_no_utf8_is_a_failed_login() -> None:
    assert start_exchange(Mechanism.LOGIN).begin(b"\xff") == Failed(Failure.BAD_CREDENTIALS)
    exchange = start_exchange(Mechanism.LOGIN)
    exchange.begin(b"alice")
    assert exchange.respond(b"\xff") == Failed(Failure.BAD_CREDENTIALS)


def test_a_password_does_not_show_in_a_repr() -> None:
    assert "secret" not in repr(plain(b"\0alice\0secret"))
