"""A message on its way out: dot-stuffing, TOP's cut, the end mark (RFC 1939 sections 3, 5 and 7)."""

_BLANK_LINE_OCTETS = 2  # in a canonical message only CRLF itself is a line of two octets


class BodyEncoder:
    """Feed canonical octets piece by piece to `encode`, send what it answers, then send what `finish` answers.

    So that the end mark leaves in one write with the octets before it, hold each answer back until the next one is
    there. A line begins at the start and behind each CRLF; a lone CR is no line end. With `body_lines` (TOP) the
    message ends behind its header and so many lines: then `is_satisfied` is true, and no more needs to be read.
    """

    __slots__ = ("_header_line_octets", "_in_header", "_lines_left", "_tail", "canonical_octets", "is_satisfied")

    def __init__(self, body_lines: int | None) -> None:
        self._lines_left = body_lines  # None: all of them
        self._in_header = True
        self._header_line_octets = 0  # of the header line that the piece before left open
        self._tail = b"\r\n"  # the last two octets; a message begins as if behind a line end
        self.canonical_octets = 0  # taken so far: RETR holds them against what was announced
        self.is_satisfied = False

    def encode(self, canonical: bytes) -> bytes:
        """The octets to send for the next piece."""
        if self._lines_left is not None:
            canonical = self._cut(canonical, self._lines_left)
        if not canonical:
            return b""
        self.canonical_octets += len(canonical)
        stuffed = canonical.replace(b"\r\n.", b"\r\n..")
        # The edge to the piece before is looked at apart.
        if canonical.startswith(b".") and self._tail == b"\r\n":
            stuffed = b"." + stuffed
        elif canonical.startswith(b"\n.") and self._tail.endswith(b"\r"):
            stuffed = b"\n." + stuffed[1:]
        self._tail = (self._tail + canonical[-2:])[-2:]
        return stuffed

    def finish(self) -> bytes:
        """The end mark; behind a line that is not ended, its CRLF first."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"

    def _cut(self, canonical: bytes, lines_left: int) -> bytes:
        """As much of the piece as TOP wants."""
        if self.is_satisfied:
            return b""
        position = self._skip_header(canonical) if self._in_header else 0
        if self._in_header:
            return canonical
        line_count = canonical.count(b"\n", position)
        if line_count < lines_left:
            self._lines_left = lines_left - line_count
            return canonical
        for _ in range(lines_left):
            position = canonical.index(b"\n", position) + 1
        self.is_satisfied = True
        return canonical[:position]

    def _skip_header(self, canonical: bytes) -> int:
        """Where the body begins in this piece; its end when the header goes on."""
        position = 0
        while (line_feed := canonical.find(b"\n", position)) >= 0:
            line_octets = self._header_line_octets + line_feed + 1 - position
            self._header_line_octets = 0
            position = line_feed + 1
            if line_octets == _BLANK_LINE_OCTETS:
                self._in_header = False
                return position
        self._header_line_octets += len(canonical) - position
        return len(canonical)
