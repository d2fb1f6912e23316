"""What holds for any text, in any pieces."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from bridge.mail.canonical import Canonicaliser
from bridge.mail.measure import Measurer, MessageMeasure

texts = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\xe4", b":", b"\n\n", b"\r\n\r\n"])).map(
    b"".join
)


@st.composite
def pieces_of(draw: st.DrawFn) -> list[bytes]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def canonical(pieces: list[bytes]) -> bytes:
    one = Canonicaliser()
    return b"".join(one.feed(piece) for piece in pieces) + one.finish()


def measure(pieces: list[bytes]) -> MessageMeasure:
    measurer = Measurer()
    for piece in pieces:
        measurer.feed(piece)
    return measurer.finish()


def reference(text: bytes) -> bytes:
    """One octet after another, as the rule is written."""
    out = bytearray()
    for position, octet in enumerate(text):
        if octet == 0x0A and (position == 0 or text[position - 1] != 0x0D):
            out.append(0x0D)
        out.append(octet)
    if out and not out.endswith(b"\r\n"):
        out += b"\r\n"
    return bytes(out)


@given(pieces_of())
def test_canonicalising_follows_the_rule_whatever_the_pieces(pieces: list[bytes]) -> None:
    assert canonical(pieces) == reference(b"".join(pieces))


@given(texts)
def test_what_is_canonical_stays_as_it_is(text: bytes) -> None:
    once = canonical([text])
    assert canonical([once]) == once


@given(pieces_of())
def test_what_is_measured_is_what_is_sent(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    sent = reference(text)
    found = measure(pieces)
    assert found.octets == len(sent)
    assert found.text_octets == len(text)
    assert found.is_canonical == (sent == text)
    assert found.digest == hashlib.sha256(sent).digest()
    assert found.has_dot_lines == (b"\r\n." in b"\r\n" + sent)
    header = sent[: found.header_octets]
    end = (b"\r\n" + sent).find(b"\r\n\r\n")
    assert found.header_octets == (end + 2 if end >= 0 else len(sent))
    assert found.has_utf8_headers == (not header.isascii())
    assert canonical([text[: found.text_header_octets]]) == header
