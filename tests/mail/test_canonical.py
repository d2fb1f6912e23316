import pytest

from bridge.mail.canonical import Canonicaliser


def canonical(*pieces: bytes) -> bytes:
    one = Canonicaliser()
    return b"".join(one.feed(piece) for piece in pieces) + one.finish()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\nc\r\n", b"a\r\nb\r\nc\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"\r", b"\r\r\n"),
        (b"\n", b"\r\n"),
        (b"a\rb\r\r\nc\n\r", b"a\rb\r\r\nc\r\n\r\r\n"),
        (b"\x00\xff\n", b"\x00\xff\r\n"),
    ],
)
def test_line_ends_become_crlf_and_nothing_else_changes(stored: bytes, expected: bytes) -> None:
    assert canonical(stored) == expected
    assert canonical(*(stored[i : i + 1] for i in range(len(stored)))) == expected


def test_a_crlf_across_an_edge_stays_one_line_end() -> None:
    assert canonical(b"a\r", b"\nb\r\n") == b"a\r\nb\r\n"


def test_a_cr_across_an_edge_may_turn_out_lone() -> None:
    assert canonical(b"a\r", b"b\n") == b"a\rb\r\n"


def test_empty_pieces_change_nothing() -> None:
    assert canonical(b"", b"a\r", b"", b"\n", b"") == b"a\r\n"
