import traceback

import pytest

from bridge.accounts.names import InvalidName, InvalidPassword, normalise_login_name, normalise_password


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("alice", "alice"),
        ("Alice@Example.COM", "alice@example.com"),
        ("ALICE+Lists.x_y-z@example.com", "alice+lists.x_y-z@example.com"),
        ("\uff21\uff4c\uff49\uff43\uff45", "alice"),  # width mapping
        ("e\u0301milie@example.com", "émilie@example.com"),  # NFC
        ("straße@example.com", "straße@example.com"),
        ("müller@bücher.example", "müller@xn--bcher-kva.example"),
        ("müller@XN--BCHER-KVA.example", "müller@xn--bcher-kva.example"),
        ("bob@example.com.", "bob@example.com"),
        ("bob%2f", "bob%2f"),
        ("a@b@example.com", "a@b@example.com"),
        ("bob@localhost", "bob@localhost"),
    ],
)
def test_forms_of_the_same_name_are_one_name(sent: str, stored: str) -> None:
    assert normalise_login_name(sent) == stored
    assert normalise_login_name(stored) == stored


@pytest.mark.parametrize(
    "name",
    [
        "",
        "@example.com",
        "bob@",
        "bob@-example.com",
        "bob@a..b",
        "bob@my_host",
        "../bob",
        "a/../b",
        "bob/",
        "\uff0fbob",  # becomes / by width mapping
        "\uff0e\uff0e",
        "a..b",
        "bob\x00",
        "bob\x1b[2J",
        "a b",
        "bob\u200d",
        "bob\udcff",
        "bob@\udcff.example",
        "☕",
        "b" * 321,
        "é" * 200,
        "x" * 5_000,
        "bob@" + "a" * 64 + ".example",
    ],
)
def test_what_can_be_no_name_is_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(InvalidName) as caught:
        normalise_login_name(name)
    assert not name or name not in str(caught.value)


@pytest.mark.parametrize("password", ["a b", " a", "a ", "a  b", "  ", "pä€ß🔑", "p/../w", "x" * 1_024])
def test_every_character_of_a_password_counts(password: str) -> None:
    assert normalise_password(password) == password


def test_passwords_that_look_the_same_are_the_same() -> None:
    assert normalise_password("e\u0301") == "é"
    assert normalise_password("a\u00a0b\u3000c") == "a b c"
    assert normalise_password("\uff21") == "\uff21"


@pytest.mark.parametrize("password", ["", "s3cret\t", "s3cret\x00", "s3cret\udcff", "s3cret" * 200, "é" * 600])
def test_what_can_be_no_password_is_refused_without_being_repeated(password: str) -> None:
    with pytest.raises(InvalidPassword) as caught:
        normalise_password(password)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
