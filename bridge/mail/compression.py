"""Text out of compressed objects, piece by piece, in bounded memory, with a limit against bombs."""

import bz2
import lzma
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

import zstandard

PIECE_OCTETS = 65_536
_MAX_WINDOW_OCTETS = 64 * 1024 * 1024  # what a decoder may keep to look back on; `xz -9` asks for as much
_XZ_MEMORY_OCTETS = _MAX_WINDOW_OCTETS + 4 * 1024 * 1024  # xz limits its memory in all


class ContentEncoding(StrEnum):
    IDENTITY = "identity"
    GZIP = "gzip"
    ZLIB = "zlib"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


class DecodeError(Exception):
    """The object does not decompress."""


class TextTooLong(DecodeError):
    """More text than the limit: a bomb, or a limit set too low."""


class Decoder(Protocol):
    def feed(self, stored: bytes) -> Iterator[bytes]:
        """The text of these octets, in pieces of at most PIECE_OCTETS (plain text: as it came). Raises DecodeError."""

    def finish(self) -> Iterator[bytes]:
        """The rest. Raises DecodeError when the compressed stream is not at its end."""


_MAGIC = {
    b"\x1f\x8b\x08": ContentEncoding.GZIP,
    b"\xfd7zXZ\x00": ContentEncoding.XZ,
    b"\x28\xb5\x2f\xfd": ContentEncoding.ZSTD,
}
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")  # RFC 1950 section 2.2, without a dictionary
_BZIP2_MARKS = (b"1AY&SY", b"\x17rE8P\x90")  # a block, or the end of an empty text; behind "BZh" and a digit
MAGIC_OCTETS = 10  # how many first octets `detect_encoding` wants to see


def detect_encoding(content_encoding: str, key: str, first_octets: bytes) -> ContentEncoding:
    """How the object is compressed, by its first octets: no mail begins like a gzip, bzip2, xz or zstd stream.

    A zlib stream is hardly marked, and needs `Content-Encoding: deflate` or a key that ends in `.zz` beside its first
    two octets. A header or suffix that the octets do not bear out is taken for a mistake: the object is plain.
    """
    for magic, encoding in _MAGIC.items():
        if first_octets.startswith(magic):
            return encoding
    if first_octets.startswith(b"BZh") and first_octets[4:MAGIC_OCTETS] in _BZIP2_MARKS:
        return ContentEncoding.BZIP2
    says_zlib = content_encoding.strip().lower() == "deflate" or key.endswith(".zz")
    if says_zlib and first_octets.startswith(_ZLIB_HEADS):
        return ContentEncoding.ZLIB
    return ContentEncoding.IDENTITY


def decoder_for(encoding: ContentEncoding, *, max_text_octets: int) -> Decoder:
    """A decoder for one object; `max_text_octets` is how much text it may give in all."""
    if encoding is ContentEncoding.IDENTITY:
        return _Plain(max_text_octets)
    return _Decompressor(encoding, max_text_octets)


class _Budget:
    def __init__(self, max_text_octets: int) -> None:
        self._left = self._max = max_text_octets

    def take(self, text: bytes) -> bytes:
        self._left -= len(text)
        if self._left < 0:
            raise TextTooLong(f"more than {self._max} octets of text")
        return text


class _Plain:
    def __init__(self, max_text_octets: int) -> None:
        self._budget = _Budget(max_text_octets)

    def feed(self, stored: bytes) -> Iterator[bytes]:
        yield self._budget.take(stored)

    def finish(self) -> Iterator[bytes]:
        return iter(())


class _Stream(Protocol):
    """One compressed stream; gzip, bzip2, xz and zstd objects may hold several in a row."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def pieces(self, stored: bytes) -> Iterator[bytes]: ...


class _ZlibStream:
    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def pieces(self, stored: bytes) -> Iterator[bytes]:
        while not self._stream.eof:
            text = self._stream.decompress(stored, PIECE_OCTETS)
            yield text
            stored = self._stream.unconsumed_tail
            if not stored and len(text) < PIECE_OCTETS:  # a full piece: more may wait inside
                return


class _LibraryStream:
    def __init__(self, stream: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._stream = stream

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def pieces(self, stored: bytes) -> Iterator[bytes]:
        yield self._stream.decompress(stored, PIECE_OCTETS)
        while not self._stream.eof and not self._stream.needs_input:
            yield self._stream.decompress(b"", PIECE_OCTETS)


class _ZstdStream:
    """The library gives all text of its input at once: it gets small slices, so that a bomb stays small."""

    _SLICE_OCTETS = 128

    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_OCTETS).decompressobj()
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return self._stream.eof

    def pieces(self, stored: bytes) -> Iterator[bytes]:
        for start in range(0, len(stored), self._SLICE_OCTETS):
            text = self._stream.decompress(stored[start : start + self._SLICE_OCTETS])
            for position in range(0, len(text), PIECE_OCTETS):
                yield text[position : position + PIECE_OCTETS]
            if self._stream.eof:
                self.unused_data = self._stream.unused_data + stored[start + self._SLICE_OCTETS :]
                return


def _new_stream(encoding: ContentEncoding) -> _Stream:
    match encoding:
        case ContentEncoding.GZIP:
            return _ZlibStream(zlib.MAX_WBITS | 16)
        case ContentEncoding.ZLIB:
            return _ZlibStream(zlib.MAX_WBITS)
        case ContentEncoding.BZIP2:
            return _LibraryStream(bz2.BZ2Decompressor())
        case ContentEncoding.XZ:
            return _LibraryStream(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_OCTETS))
        case _:
            return _ZstdStream()


class _Decompressor:
    def __init__(self, encoding: ContentEncoding, max_text_octets: int) -> None:
        self._encoding = encoding
        self._budget = _Budget(max_text_octets)
        self._stream = _new_stream(encoding)
        self._is_between = False  # behind a whole stream, before the first octet of another

    def feed(self, stored: bytes) -> Iterator[bytes]:
        while stored:
            if self._is_between:
                stored = stored.lstrip(b"\0")  # padding between streams is allowed
                if not stored:
                    return
                self._stream = _new_stream(self._encoding)
                self._is_between = False
            try:
                for text in self._stream.pieces(stored):
                    if text:
                        yield self._budget.take(text)
            except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError) as error:
                raise DecodeError(f"not {self._encoding.value}, damaged, or its window is too large") from error
            if not self._stream.eof:
                return
            self._is_between = True
            stored = self._stream.unused_data

    def finish(self) -> Iterator[bytes]:
        if not self._is_between:
            raise DecodeError(f"the {self._encoding.value} stream is cut short")
        return iter(())
