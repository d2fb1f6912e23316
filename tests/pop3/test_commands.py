import pytest

from bridge.pop3.commands import LineBuffer, Oversize, parse_number, split_command, split_words

LIMIT_OCTETS = 10


def lines_of(*pieces: bytes) -> list[bytes | Oversize]:
    lines = []
    buffer = LineBuffer()
    for piece in pieces:
        buffer.feed(piece)
        while (line := buffer.next_line(LIMIT_OCTETS)) is not None:
            lines.append(line)
    return lines


def single_octets(text: bytes) -> list[bytes]:
    return [text[position : position + 1] for position in range(len(text))]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\rb\r\n", [b"a\rb"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"\r\n\n", [b"", b""]),
        (b"12345678\r\n", [b"12345678"]),
        (b"123456789\n", [b"123456789"]),
        (b"123456789\r\na\r\n", [Oversize.LINE_TOO_LONG, b"a"]),
        (b"1234567890\na\r\n", [Oversize.LINE_TOO_LONG, b"a"]),
        (b"%b\r\na\r\n%b\n" % (b"x" * 95, b"y" * 95), [Oversize.LINE_TOO_LONG, b"a", Oversize.LINE_TOO_LONG]),
        (b"a\r\nunended", [b"a"]),
    ],
)
def test_lines_are_the_same_in_one_piece_and_octet_by_octet(text: bytes, lines: list[bytes | Oversize]) -> None:
    assert lines_of(text) == lines
    assert lines_of(*single_octets(text)) == lines


def test_a_long_line_is_reported_before_its_end_and_only_once() -> None:
    assert lines_of(b"x" * 10) == [Oversize.LINE_TOO_LONG]
    assert lines_of(b"x" * 10, b"x" * 1_000, b"x\r", b"\na\r\n") == [Oversize.LINE_TOO_LONG, b"a"]


def test_a_long_line_is_not_kept() -> None:
    buffer = LineBuffer()
    for _ in range(1_000):
        buffer.feed(b"x" * 1_000)
        buffer.next_line(LIMIT_OCTETS)
        assert not buffer.has_data


def test_the_next_line_is_known_by_its_beginning_in_any_case() -> None:
    buffer = LineBuffer()
    buffer.feed(b"a\r\nAuth PLAIN")
    assert not buffer.begins_with(b"AUTH ")
    buffer.next_line(LIMIT_OCTETS)
    assert buffer.begins_with(b"AUTH ")


def test_what_is_cleared_is_forgotten() -> None:
    buffer = LineBuffer()
    buffer.feed(b"a\r\nb\r\n")
    buffer.next_line(LIMIT_OCTETS)
    buffer.clear()
    assert not buffer.has_data
    assert buffer.next_line(LIMIT_OCTETS) is None
    buffer.feed(b"c\r\n")
    assert buffer.next_line(LIMIT_OCTETS) == b"c"


def test_a_command_is_its_keyword_and_the_rest_as_it_stands() -> None:
    assert split_command(b"pass  a b ") == (b"PASS", b" a b ")
    assert split_command(b"QUIT") == (b"QUIT", b"")
    assert split_command(b"") == (b"", b"")
    assert split_command(b" NOOP") == (b"", b"NOOP")
    assert split_words(b" 1  2 ") == [b"1", b"2"]


@pytest.mark.parametrize(
    ("word", "number"), [(b"0", 0), (b"7", 7), (b"0000000012", 12), (b"9999999999", 9_999_999_999)]
)
def test_a_number_has_one_to_ten_digits(word: bytes, number: int) -> None:
    assert parse_number(word) == number


@pytest.mark.parametrize(
    "word", [b"", b"+1", b"-1", b"1_0", b"1.0", b"1\n", b" 1", b"\xd9\xa1", b"00000000001", b"0x1"]
)
def test_nothing_else_is_a_number(word: bytes) -> None:
    assert parse_number(word) is None
