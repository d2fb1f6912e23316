"""A message on the wire gives back its text, and TOP cuts where a reading of RFC 1939 line by line would."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.mail.canonical import Canonicaliser
from bridge.mail.measure import Measurer
from bridge.pop3.body import BodyEncoder

texts = st.lists(
    st.sampled_from([b".", b"..", b"\r", b"\n", b"\r\n", b"\r\n.", b"a", b"\0", b"A: 1\r\n"]), max_size=40
).map(b"".join)


@st.composite
def cut_messages(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A canonical message, whole and in pieces."""
    canonicaliser = Canonicaliser()
    message = canonicaliser.feed(draw(texts)) + canonicaliser.finish()
    edges = [0, *sorted(draw(st.sets(st.integers(0, len(message)), max_size=10))), len(message)]
    return message, [message[first:last] for first, last in pairwise(edges)]


def on_the_wire(pieces: Sequence[bytes], body_lines: int | None) -> bytes:
    encoder = BodyEncoder(body_lines)
    return b"".join(map(encoder.encode, pieces)) + encoder.finish()


def read_by_a_client(wire: bytes) -> bytes:
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2], "the message ended early"
    return b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in lines[:-2])


def top_by_lines(message: bytes, body_lines: int) -> bytes:
    lines = [line + b"\r\n" for line in message.split(b"\r\n")[:-1]]
    if b"\r\n" not in lines:
        return message
    header_count = lines.index(b"\r\n") + 1
    return b"".join(lines[: header_count + body_lines])


@given(cut_messages())
def test_a_client_reads_the_text_that_was_sent_however_it_is_cut(cut_message: tuple[bytes, list[bytes]]) -> None:
    message, pieces = cut_message
    assert read_by_a_client(on_the_wire(pieces, None)) == message


@given(cut_messages(), st.integers(0, 12))
def test_top_is_the_header_and_so_many_lines(cut_message: tuple[bytes, list[bytes]], body_lines: int) -> None:
    message, pieces = cut_message
    assert read_by_a_client(on_the_wire(pieces, body_lines)) == top_by_lines(message, body_lines)


@given(cut_messages())
def test_the_header_that_was_measured_is_the_header_that_top_sends(cut_message: tuple[bytes, list[bytes]]) -> None:
    """So a ranged read of the header alone is enough for TOP n 0."""
    message, pieces = cut_message
    encoder = BodyEncoder(0)
    for piece in pieces:
        encoder.encode(piece)
    measurer = Measurer()
    measurer.feed(message)
    assert encoder.canonical_octets == measurer.finish().header_octets
