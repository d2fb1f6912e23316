"""From text as stored to the canonical message: every line ends in CRLF (RFC 5322 section 2.1, RFC 1939 section 3)."""


class Canonicaliser:
    """Every bare LF gets its CR, a missing final CRLF is added; a lone CR and every other octet stay as they are.

    Feed the text piece by piece, then call `finish`; the answers joined are the canonical message. Empty text stays
    empty.
    """

    __slots__ = ("_held_cr", "_last_octet")

    def __init__(self) -> None:
        self._held_cr = False  # the text so far ends in a CR whose LF may come next
        self._last_octet = b""

    def feed(self, text: bytes) -> bytes:
        """What is certain so far; may hold one CR back until the next piece."""
        if not text:
            return b""
        if self._held_cr:
            text = b"\r" + text
        self._held_cr = text.endswith(b"\r")
        if self._held_cr:
            text = text[:-1]
        if text:
            self._last_octet = text[-1:]
        if text.count(b"\n") == text.count(b"\r\n"):
            return text
        return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def finish(self) -> bytes:
        """The rest: a CR held back (a lone one, as nothing follows), and the final CRLF where it is missing."""
        if self._held_cr:
            return b"\r\r\n"
        return b"" if self._last_octet in (b"", b"\n") else b"\r\n"
