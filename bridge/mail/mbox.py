"""Messages that share an object: an mbox file (RFC 4155), its lines quoted as mboxrd does it."""

import re
from dataclasses import dataclass

_SEPARATOR = b"\nFrom "  # with the end of the line before it
_QUOTED = b">From "
_QUOTED_LINE = re.compile(rb"\n>(>*+From )")


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a message lies within its object, in stored octets (of a compressed object: octets of its text)."""

    first_octet: int
    stored_octets: int


class MboxSplitter:
    """Finds where each message of an mbox begins and ends, in one pass and constant memory.

    A line that begins with "From " separates messages where it is the first line or follows a blank line; lines end
    in LF or CRLF. Neither that line nor the blank line before it belongs to a message, and the blank line that ends
    the file belongs to none either: a message keeps its octets when another is appended behind it. Blank lines before
    anything else are skipped; text before the first separator is a message, so that no mail is lost.

    Feed the object piece by piece, then call `finish`; each answers with the messages that ended meanwhile, in order.
    """

    __slots__ = ("_first_octet", "_has_begun", "_in_separator", "_position", "_tail")

    def __init__(self) -> None:
        self._has_begun = False  # something but blank lines was seen
        self._in_separator = False  # behind "From ", before the end of that line
        self._first_octet = 0  # of the message at hand
        self._position = 0
        self._tail = b"\n\n"  # the octets before the next piece; a file begins as if behind a blank line

    def feed(self, stored: bytes) -> list[Extent]:
        """The messages whose end is certain now: the separator behind them was seen."""
        if not self._has_begun:
            text = stored.lstrip(b"\r\n")
            self._position += len(stored) - len(text)
            if not text:
                return []
            stored = text
            self._has_begun = True
            self._first_octet = self._position
        seen = self._tail + stored
        offset = self._position - len(self._tail)
        ended: list[Extent] = []
        # a separator that ended before this piece was found then
        at = len(self._tail) if self._in_separator else max(0, len(self._tail) - len(_SEPARATOR) + 1)
        while True:
            if self._in_separator:
                at = seen.find(b"\n", at)
                if at < 0:
                    break
                self._in_separator = False
                self._first_octet = offset + at + 1
            at = seen.find(_SEPARATOR, at)
            if at < 0:
                break
            blank_octets = _blank_octets_at_end(seen[max(0, at - 2) : at + 1])
            if not blank_octets:
                at += 1
                continue
            end = offset + at + 1 - blank_octets
            if end >= self._first_octet:  # else the file begins with this separator
                ended.append(Extent(self._first_octet, end - self._first_octet))
            self._in_separator = True
            at += len(_SEPARATOR)
        self._position += len(stored)
        self._tail = seen[-len(_SEPARATOR) - 1 :]  # all but one octet of a separator, and two that tell a blank line
        return ended

    def finish(self) -> list[Extent]:
        """The last message, which the end of the file ends; none in a file of nothing but blank lines."""
        if not self._has_begun:
            return []
        if self._in_separator:
            return [Extent(self._position, 0)]
        end = self._position - _blank_octets_at_end(self._tail)
        return [Extent(self._first_octet, end - self._first_octet)]


def _blank_octets_at_end(text: bytes) -> int:
    if text.endswith(b"\n\n"):
        return 1
    return 2 if text.endswith(b"\n\r\n") else 0


class FromUnquoter:
    """The text of one message of an mbox as it was before it was quoted: a line of `>`s and "From " loses one `>`.

    Feed the message piece by piece, then call `finish`; the answers joined are the text. Constant memory, however
    many `>` a line has.
    """

    __slots__ = ("_held", "_line_end")

    def __init__(self) -> None:
        self._held = b""  # the beginning of a `>From ` that may go on in the next piece
        self._line_end = b"\n"  # empty once the line at hand holds anything but `>` before what is held

    def feed(self, text: bytes) -> bytes:
        """What is certain so far."""
        seen = self._line_end + self._held + text
        held_octets = next(n for n in range(len(_QUOTED) - 1, -1, -1) if seen.endswith(_QUOTED[:n]))
        certain, self._held = seen[: len(seen) - held_octets], seen[len(seen) - held_octets :]
        before_octets = len(self._line_end)
        line_end = certain.rfind(b"\n")
        self._line_end = b"\n" if line_end >= 0 and not certain[line_end + 1 :].strip(b">") else b""
        if _QUOTED in certain:
            certain = _QUOTED_LINE.sub(rb"\n\1", certain)
        return certain[before_octets:]

    def finish(self) -> bytes:
        """The rest: what was held back is no `>From ` after all."""
        return self._held
