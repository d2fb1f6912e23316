"""What holds for any mbox, in any pieces."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bridge.mail.mbox import Extent, FromUnquoter, MboxSplitter

texts = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"From ", b">", b">From ", b"F", b"a", b"\n\nFrom "])).map(
    b"".join
)
lines = st.lists(st.sampled_from([b"From a", b">From a", b">>From a", b">", b"a", b"", b"A: b", b"From", b"\xe4"]))


@st.composite
def pieces_of(draw: st.DrawFn) -> list[bytes]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def extents(pieces: list[bytes]) -> list[Extent]:
    splitter = MboxSplitter()
    found = [extent for piece in pieces for extent in splitter.feed(piece)]
    return found + splitter.finish()


def cut(stored: bytes, extent: Extent) -> bytes:
    return stored[extent.first_octet : extent.first_octet + extent.stored_octets]


def unquoted(pieces: list[bytes]) -> bytes:
    unquoter = FromUnquoter()
    return b"".join(unquoter.feed(piece) for piece in pieces) + unquoter.finish()


def split_by_lines(stored: bytes) -> list[bytes]:
    """The rule as it is written, line after line."""
    text = stored.lstrip(b"\r\n")
    found: list[list[bytes]] = [[]]
    is_behind_blank = True
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):
        if is_behind_blank and line.startswith(b"From "):
            found[-1] = found[-1][:-1]
            found.append([])
            is_behind_blank = False
        else:
            found[-1].append(line)
            is_behind_blank = line in (b"\n", b"\r\n")
    if is_behind_blank:
        found[-1] = found[-1][:-1]
    begins_with_a_message = bool(text) and not text.startswith(b"From ")
    return [b"".join(message) for message in found[0 if begins_with_a_message else 1 :]]


@given(pieces_of())
def test_messages_are_found_by_the_rule_whatever_the_pieces(pieces: list[bytes]) -> None:
    stored = b"".join(pieces)
    assert [cut(stored, extent) for extent in extents(pieces)] == split_by_lines(stored)


@given(pieces_of())
def test_extents_lie_in_the_object_in_order_and_apart(pieces: list[bytes]) -> None:
    end = 0
    for extent in extents(pieces):
        assert extent.first_octet >= end
        assert extent.stored_octets >= 0
        end = extent.first_octet + extent.stored_octets
    assert end <= len(b"".join(pieces))


@given(st.lists(lines, min_size=1, max_size=4), st.sampled_from([b"\n", b"\r\n"]))
def test_messages_written_as_mboxrd_are_read_back_as_they_were(originals: list[list[bytes]], line_end: bytes) -> None:
    written = [b"".join(line + line_end for line in original) for original in originals]
    stored = b"".join(
        b"From a@example.com Thu Jan  1 00:00:00 2026" + line_end + re.sub(rb"(?m)^(>*From )", rb">\1", one) + line_end
        for one in written
    )
    assert [unquoted([cut(stored, extent)]) for extent in extents([stored])] == written


@given(pieces_of())
def test_appending_a_message_changes_none_before_it(pieces: list[bytes]) -> None:
    before = b"".join(pieces) + b"\n\n"
    after = before + b"From a\nA: b\n\n"
    assert extents([after])[:-1] == extents([before])


@given(pieces_of())
def test_unquoting_follows_the_rule_whatever_the_pieces(pieces: list[bytes]) -> None:
    assert unquoted(pieces) == re.sub(rb"(?m)^>(>*From )", rb"\1", b"".join(pieces))
