"""Lines out of the stream, and words out of lines (RFC 1939 section 3, RFC 2449 section 4)."""

import re
from enum import Enum

_NUMBER = re.compile(rb"[0-9]{1,10}\Z")
_CR = 0x0D


class Oversize(Enum):
    """Stands for a line above the limit, of which nothing is kept."""

    LINE_TOO_LONG = "line-too-long"


class LineBuffer:
    """Octets in, lines out. A line ends in CRLF, or in a bare LF (scripts, netcat); a bare CR ends nothing.

    A line above the limit is reported once, as soon as it is known to be too long, and eaten up to its end. The buffer
    grows with what is fed and not taken: feed only when no more lines come out.
    """

    __slots__ = ("_data", "_is_skipping", "_line_start", "_searched")

    def __init__(self) -> None:
        self._data = bytearray()
        self._line_start = 0
        self._searched = 0  # no line end of the present line before this
        self._is_skipping = False

    @property
    def has_data(self) -> bool:
        return self._line_start < len(self._data)

    def feed(self, data: bytes) -> None:
        if self._line_start:
            del self._data[: self._line_start]
            self._searched -= self._line_start
            self._line_start = 0
        self._data += data

    def next_line(self, max_octets: int) -> bytes | Oversize | None:
        """The next line without its end; None when it is not whole yet. `max_octets` counts the line end."""
        while True:
            start = self._line_start
            end = self._data.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._data)
                if not self._is_skipping and self._searched - start < max_octets:
                    return None
                self.clear()
                if self._is_skipping:
                    return None
                self._is_skipping = True
                return Oversize.LINE_TOO_LONG
            self._line_start = self._searched = end + 1
            if self._is_skipping:
                self._is_skipping = False
                continue
            if end + 1 - start > max_octets:
                return Oversize.LINE_TOO_LONG
            if end > start and self._data[end - 1] == _CR:
                end -= 1
            return bytes(self._data[start:end])

    def begins_with(self, keyword: bytes) -> bool:
        """Whether the next line begins with it, in any case."""
        return self._data[self._line_start : self._line_start + len(keyword)].upper() == keyword

    def clear(self) -> None:
        """Forget what is buffered."""
        self._data.clear()
        self._line_start = self._searched = 0


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """Keyword in upper case, and everything behind the first blank as it stands (a password may hold blanks)."""
    keyword, _, rest = line.partition(b" ")
    return keyword.upper(), rest


def split_words(rest: bytes) -> list[bytes]:
    return [word for word in rest.split(b" ") if word]


def parse_number(word: bytes) -> int | None:
    """1 to 10 ASCII digits, nothing else."""
    return int(word) if _NUMBER.match(word) else None
