import pytest

from bridge.mail.mbox import Extent, FromUnquoter, MboxSplitter


def extents(*pieces: bytes) -> list[Extent]:
    splitter = MboxSplitter()
    found = [extent for piece in pieces for extent in splitter.feed(piece)]
    return found + splitter.finish()


def messages(stored: bytes) -> list[bytes]:
    whole = extents(stored)
    assert extents(*(stored[i : i + 1] for i in range(len(stored)))) == whole
    return [stored[one.first_octet : one.first_octet + one.stored_octets] for one in whole]


def unquoted(*pieces: bytes) -> bytes:
    unquoter = FromUnquoter()
    return b"".join(unquoter.feed(piece) for piece in pieces) + unquoter.finish()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"From a\nA: b\n\nx\n\nFrom b\nC: d\n\ny\n\n", [b"A: b\n\nx\n", b"C: d\n\ny\n"]),
        (b"From a\r\nA: b\r\n\r\nx\r\n\r\nFrom b\r\nC: d\r\n\r\n", [b"A: b\r\n\r\nx\r\n", b"C: d\r\n"]),
        (b"From a\nA: b\n\nx\n\r\nFrom b\r\nC: d\n\n", [b"A: b\n\nx\n", b"C: d\n"]),
    ],
)
def test_messages_lie_between_their_separators(stored: bytes, expected: list[bytes]) -> None:
    assert messages(stored) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"x\nFrom here",
        b"\n>From here",
        b"\nfrom here",
        b"\nFrom\there",
        b"\n From here",
        b"\r\rFrom here",
        b"\n\rFrom x",
    ],
)
def test_only_a_from_line_behind_a_blank_line_separates(line: bytes) -> None:
    message = b"A: b\n" + line + b"\ny\n"
    assert messages(b"From a\n" + message) == [message]


def test_of_several_blank_lines_before_a_separator_one_is_not_the_messages() -> None:
    assert messages(b"From a\nx\n\n\n\nFrom b\ny\n\n\n") == [b"x\n\n\n", b"y\n\n"]


def test_a_message_keeps_its_octets_when_another_is_appended() -> None:
    first = b"From a\nA: b\n\nx\n\n"
    assert messages(first + b"From b\nC: d\n\n")[0] == messages(first)[0]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"From a\nA: b\n\nx", [b"A: b\n\nx"]),
        (b"From a\nA: b\n\nx\r", [b"A: b\n\nx\r"]),
        (b"From a\nA: b\n\nx\n", [b"A: b\n\nx\n"]),
        (b"From a\n", [b""]),
        (b"From a", [b""]),
        (b"From a\n\nFrom b", [b"", b""]),
        (b"From a\n\nFrom b\n\nFrom c\nx\n", [b"", b"", b"x\n"]),
        (b"From a\nFrom b\n", [b"From b\n"]),
        (b"From ", [b""]),
        (b"Fro", [b"Fro"]),
    ],
)
def test_messages_may_be_empty_or_end_without_a_blank_line(stored: bytes, expected: list[bytes]) -> None:
    assert messages(stored) == expected


@pytest.mark.parametrize("stored", [b"", b"\n", b"\r\n\r\n"])
def test_a_file_of_nothing_but_blank_lines_holds_no_message(stored: bytes) -> None:
    assert messages(stored) == []
    assert messages(stored + b"From a\nx\n\n") == [b"x\n"]


def test_text_before_the_first_separator_is_a_message_too() -> None:
    assert messages(b"A: b\n\nx\n\nFrom a\ny\n") == [b"A: b\n\nx\n", b"y\n"]


def test_extents_count_from_the_first_octet_of_the_object() -> None:
    assert extents(b"From a\nxx\n\nFrom b\nyyy\n") == [Extent(7, 3), Extent(18, 4)]


def test_a_message_is_told_as_soon_as_the_next_begins() -> None:
    splitter = MboxSplitter()
    assert splitter.feed(b"From a\nxx\n\nFrom") == []
    assert splitter.feed(b" ") == [Extent(7, 3)]
    assert splitter.feed(b"b\n") == []
    assert splitter.finish() == [Extent(18, 0)]


@pytest.mark.parametrize(
    ("quoted", "expected"),
    [
        (b"", b""),
        (b">From a\n", b"From a\n"),
        (b"x\n>From a\n>>From b\r\n>>>From c", b"x\nFrom a\n>From b\r\n>>From c"),
        (b"\n>From \n>From ", b"\nFrom \nFrom "),
        (b"x>From a\n", b"x>From a\n"),
        (b"x>>>From a\n", b"x>>>From a\n"),
        (b"> From a\n", b"> From a\n"),
        (b">x>From a\n", b">x>From a\n"),
        (b"\r>From a\n", b"\r>From a\n"),
        (b">from a\n>From", b">from a\n>From"),
        (b">From >From a", b"From >From a"),
        (b"From a\n", b"From a\n"),
        (b">>>", b">>>"),
    ],
)
def test_a_quoted_from_line_loses_one_mark_and_nothing_else_changes(quoted: bytes, expected: bytes) -> None:
    for step in range(1, len(quoted) + 2):
        assert unquoted(*(quoted[i : i + step] for i in range(0, len(quoted), step))) == expected


def test_a_long_run_of_marks_is_not_held_back() -> None:
    unquoter = FromUnquoter()
    assert len(unquoter.feed(b">" * 10_000)) == 9_999
    assert unquoter.feed(b"From a") == b"From a"
