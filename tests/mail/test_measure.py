import hashlib

import pytest

from bridge.mail.measure import Measurer, MessageMeasure


def measure(*pieces: bytes) -> MessageMeasure:
    measurer = Measurer()
    for piece in pieces:
        measurer.feed(piece)
    return measurer.finish()


def test_a_canonical_message_is_measured_as_it_is() -> None:
    text = b"Subject: a\r\n\r\nbody\r\n"
    assert measure(text) == MessageMeasure(
        octets=20,
        header_octets=14,
        text_octets=20,
        text_header_octets=14,
        is_canonical=True,
        has_dot_lines=False,
        has_utf8_headers=False,
        digest=hashlib.sha256(text).digest(),
    )


def test_bare_line_feeds_and_a_missing_end_are_counted_as_sent() -> None:
    found = measure(b"Subject: a\n\nbody")
    assert (found.octets, found.header_octets) == (20, 14)
    assert (found.text_octets, found.text_header_octets) == (16, 12)
    assert not found.is_canonical
    assert found.digest == hashlib.sha256(b"Subject: a\r\n\r\nbody\r\n").digest()


@pytest.mark.parametrize(
    ("text", "header_octets", "text_header_octets"),
    [
        (b"", 0, 0),
        (b"\r\nbody\r\n", 2, 2),
        (b"\nbody\n", 2, 1),
        (b"A: b\r\n", 6, 6),
        (b"A: b", 6, 4),
        (b"A: b\n\r\nbody", 8, 7),
        (b"A: b\r\n\nbody", 8, 7),
        (b"A: b\r\n\r\r\n\r\n", 11, 11),  # a line that holds a lone CR is not blank
        (b"A: b\r\n \r\nC: d\r\n\r\n.", 17, 17),
    ],
)
def test_the_header_ends_behind_its_blank_line(text: bytes, header_octets: int, text_header_octets: int) -> None:
    for pieces in ([text], [text[i : i + 1] for i in range(len(text))]):
        found = measure(*pieces)
        assert (found.header_octets, found.text_header_octets) == (header_octets, text_header_octets)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b".a\r\n"], True),
        ([b"a\r\n", b".b"], True),
        ([b"a\n.b"], True),
        ([b"a\r", b"\n", b"."], True),
        ([b"a.b\r\n"], False),
        ([b"a\r.b\r\n"], False),
        ([b"a", b".b\r\n"], False),
        ([b""], False),
    ],
)
def test_a_line_that_begins_with_a_dot_is_found(pieces: list[bytes], expected: bool) -> None:
    assert measure(*pieces).has_dot_lines is expected


def test_only_octets_of_the_header_count_as_utf8_headers() -> None:
    assert measure("Subject: ä\r\n\r\n".encode()).has_utf8_headers
    assert not measure("Subject: a\r\n\r\nä\r\n".encode()).has_utf8_headers
