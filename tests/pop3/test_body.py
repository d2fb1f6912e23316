import pytest

from bridge.pop3.body import BodyEncoder

MESSAGE = b"A: 1\r\nB: 2\r\n\r\nfirst\r\n.\r\n.dot\r\n"


def encoded(text: bytes, *, body_lines: int | None = None, chunk_octets: int = 1_000_000) -> bytes:
    encoder = BodyEncoder(body_lines)
    chunks = [text[first : first + chunk_octets] for first in range(0, len(text), chunk_octets)]
    return b"".join(map(encoder.encode, chunks)) + encoder.finish()


@pytest.mark.parametrize("chunk_octets", range(1, 12))
def test_a_dot_after_a_chunk_edge_is_stuffed(chunk_octets: int) -> None:
    text = b".a\r\n.\r\n..\r\nx.y\r\n.02\r\n"
    assert encoded(text, chunk_octets=chunk_octets) == b"..a\r\n..\r\n...\r\nx.y\r\n..02\r\n.\r\n"


@pytest.mark.parametrize("chunk_octets", range(1, 8))
def test_a_dot_behind_a_lone_cr_or_lf_is_not_at_a_line_start(chunk_octets: int) -> None:
    assert encoded(b"a\r.b\r\r.c\r\n", chunk_octets=chunk_octets) == b"a\r.b\r\r.c\r\n.\r\n"


def test_a_message_that_ends_in_a_line_end_gets_no_empty_line() -> None:
    assert encoded(b"a\r\n") == b"a\r\n.\r\n"


def test_a_message_that_ends_within_a_line_gets_its_line_end() -> None:
    assert encoded(b"a") == b"a\r\n.\r\n"
    assert encoded(b"a\r") == b"a\r\r\n.\r\n"


def test_a_message_of_no_octets_is_only_the_end_mark() -> None:
    assert encoded(b"") == b".\r\n"
    assert encoded(b"", body_lines=5) == b".\r\n"
    assert BodyEncoder(None).encode(b"") == b""


@pytest.mark.parametrize("octets", [*range(4_090, 4_103), *range(8_186, 8_199), *range(65_530, 65_543)])
def test_the_end_mark_is_whole_whatever_the_size(octets: int) -> None:
    assert encoded(b"x" * (octets - 2) + b"\r\n", chunk_octets=4_096)[-5:] == b"\r\n.\r\n"


@pytest.mark.parametrize("chunk_octets", [1, 2, 3, 5, 1_000])
@pytest.mark.parametrize(
    ("body_lines", "body"),
    [
        (0, b""),
        (1, b"first\r\n"),
        (2, b"first\r\n..\r\n"),
        (3, b"first\r\n..\r\n..dot\r\n"),
        (999_999, b"first\r\n..\r\n..dot\r\n"),
    ],
)
def test_top_ends_behind_the_wanted_lines(body_lines: int, body: bytes, chunk_octets: int) -> None:
    assert (
        encoded(MESSAGE, body_lines=body_lines, chunk_octets=chunk_octets) == b"A: 1\r\nB: 2\r\n\r\n" + body + b".\r\n"
    )


def test_top_of_a_message_without_a_blank_line_is_all_of_it() -> None:
    assert encoded(b"A: 1\r\n.x\r\n", body_lines=0) == b"A: 1\r\n..x\r\n.\r\n"


def test_top_of_a_message_that_begins_with_its_blank_line_has_no_header() -> None:
    assert encoded(b"\r\nx\r\ny\r\n", body_lines=1) == b"\r\nx\r\n.\r\n"


def test_top_says_when_it_needs_no_more_and_takes_no_more() -> None:
    encoder = BodyEncoder(1)
    answers = [
        (encoder.encode(chunk), encoder.is_satisfied)
        for chunk in (b"A: 1\r\n\r\nfir", b"st\r\nsecond\r\n", b"third\r\n")
    ]
    assert answers == [(b"A: 1\r\n\r\nfir", False), (b"st\r\n", True), (b"", True)]
    assert encoder.canonical_octets == 15
    assert encoder.finish() == b".\r\n"


def test_top_of_no_lines_is_satisfied_by_the_blank_line() -> None:
    encoder = BodyEncoder(0)
    encoder.encode(b"A: 1\r\n\r")
    was_satisfied = encoder.is_satisfied
    encoder.encode(b"\n")
    assert (was_satisfied, encoder.is_satisfied) == (False, True)


def test_retr_is_never_satisfied_and_counts_octets_before_stuffing() -> None:
    encoder = BodyEncoder(None)
    encoder.encode(MESSAGE)
    assert (encoder.is_satisfied, encoder.canonical_octets) == (False, len(MESSAGE))
