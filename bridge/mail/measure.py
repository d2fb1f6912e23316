"""What POP3 must know of a message before it is asked for it, measured in one pass over its text."""

import hashlib
from dataclasses import dataclass, field

from bridge.mail.canonical import Canonicaliser


@dataclass(frozen=True, slots=True)
class MessageMeasure:
    """`octets` in names counts the canonical message, `text_octets` the text before canonicalising."""

    octets: int  # what LIST says (RFC 1939 section 11)
    header_octets: int  # up to and including the blank line; all of it when there is none
    text_octets: int
    text_header_octets: int  # the same header end in the text: TOP n 0 is one ranged read
    is_canonical: bool  # text == canonical: served without rewriting
    has_dot_lines: bool  # some line begins with a dot; without any, nothing is to be stuffed
    has_utf8_headers: bool  # an octet above 127 in the header (RFC 6856)
    digest: bytes = field(repr=False)  # SHA-256 of the canonical message


class Measurer:
    """Feed the text piece by piece, then call `finish`. Constant memory, however long a line or a header is."""

    __slots__ = (
        "_canonicaliser",
        "_digest",
        "_has_dot_lines",
        "_has_utf8_headers",
        "_header_octets",
        "_in_header",
        "_octets",
        "_tail",
        "_text_header_octets",
        "_text_octets",
    )

    def __init__(self) -> None:
        self._canonicaliser = Canonicaliser()
        self._digest = hashlib.sha256()
        self._octets = 0
        self._text_octets = 0
        self._header_octets = 0
        self._text_header_octets = 0
        self._in_header = True
        self._tail = b"\n"  # the last two octets before the next piece; a message begins as if behind a line end
        self._has_dot_lines = False
        self._has_utf8_headers = False

    def feed(self, text: bytes) -> None:
        """The next piece of the text, after decompression and before canonicalising."""
        if not text:
            return
        seen = self._tail + text
        if self._in_header:
            self._measure_header(seen, text)
        if not self._has_dot_lines:
            self._has_dot_lines = b"\n." in seen[len(self._tail) - 1 :]
        self._text_octets += len(text)
        self._tail = seen[-2:]
        self._count(self._canonicaliser.feed(text))

    def finish(self) -> MessageMeasure:
        """Call once, after the last piece."""
        self._count(self._canonicaliser.finish())
        if self._in_header:
            self._header_octets, self._text_header_octets = self._octets, self._text_octets
        return MessageMeasure(
            octets=self._octets,
            header_octets=self._header_octets,
            text_octets=self._text_octets,
            text_header_octets=self._text_header_octets,
            is_canonical=self._octets == self._text_octets,  # canonicalising only ever adds octets
            has_dot_lines=self._has_dot_lines,
            has_utf8_headers=self._has_utf8_headers,
            digest=self._digest.digest(),
        )

    def _count(self, canonical: bytes) -> None:
        self._octets += len(canonical)
        self._digest.update(canonical)

    def _measure_header(self, seen: bytes, text: bytes) -> None:
        """`seen` is the piece with the two octets before it: a blank line may lie across the edge."""
        ends = [position + len(blank) for blank in (b"\n\n", b"\n\r\n") if (position := seen.find(blank)) >= 0]
        header = text
        if ends:
            self._in_header = False
            header = text[: min(ends) - len(self._tail)]
        if not header.isascii():
            self._has_utf8_headers = True
        added_cr_count = header.count(b"\n") - (self._tail[-1:] + header).count(b"\r\n")
        self._text_header_octets += len(header)
        self._header_octets += len(header) + added_cr_count
