import bz2
import contextlib
import gzip
import lzma
import random
import zlib

import pytest
import zstandard

from bridge.mail.compression import (
    PIECE_OCTETS,
    ContentEncoding,
    DecodeError,
    TextTooLong,
    decoder_for,
    detect_encoding,
)

TEXT = b"Subject: a\r\n\r\n" + b"line of text\r\n" * 20_000
COMPRESS = {
    ContentEncoding.IDENTITY: lambda text: text,
    ContentEncoding.GZIP: gzip.compress,
    ContentEncoding.ZLIB: zlib.compress,
    ContentEncoding.BZIP2: bz2.compress,
    ContentEncoding.XZ: lzma.compress,
    ContentEncoding.ZSTD: zstandard.ZstdCompressor().compress,
}
each_encoding = pytest.mark.parametrize("encoding", list(ContentEncoding))
each_compression = pytest.mark.parametrize(
    "encoding", [encoding for encoding in ContentEncoding if encoding is not ContentEncoding.IDENTITY]
)


def decode(encoding: ContentEncoding, stored: bytes, *, step: int = 1_000, limit: int = 10_000_000) -> bytes:
    decoder = decoder_for(encoding, max_text_octets=limit)
    text = bytearray()
    for start in range(0, len(stored), step):
        for piece in decoder.feed(stored[start : start + step]):
            assert len(piece) <= max(PIECE_OCTETS, step)
            text += piece
    for piece in decoder.finish():
        text += piece
    return bytes(text)


@each_encoding
@pytest.mark.parametrize("step", [1, 7, 65_536])
def test_text_comes_back_whatever_the_pieces(encoding: ContentEncoding, step: int) -> None:
    assert decode(encoding, COMPRESS[encoding](TEXT), step=step) == TEXT


@each_compression
@pytest.mark.parametrize("step", [1, 13, 65_536])
@pytest.mark.parametrize("padding", [b"", bytes(4), bytes(512)])
def test_several_streams_in_a_row_padded_or_not_are_one_text(
    encoding: ContentEncoding, step: int, padding: bytes
) -> None:
    stored = COMPRESS[encoding](TEXT) + padding + COMPRESS[encoding](b"more\r\n") + padding
    assert decode(encoding, stored, step=step) == TEXT + b"more\r\n"


@each_encoding
def test_the_limit_itself_is_not_too_much(encoding: ContentEncoding) -> None:
    stored = COMPRESS[encoding](TEXT)
    assert decode(encoding, stored, limit=len(TEXT)) == TEXT
    with pytest.raises(TextTooLong):
        decode(encoding, stored, limit=len(TEXT) - 1)


@each_compression
def test_a_stream_cut_short_is_never_taken_for_whole(encoding: ContentEncoding) -> None:
    stored = COMPRESS[encoding](TEXT)
    with pytest.raises(DecodeError):
        decode(encoding, stored[:-1])


@each_compression
def test_octets_behind_the_stream_that_are_none_are_an_error(encoding: ContentEncoding) -> None:
    with pytest.raises(DecodeError):
        decode(encoding, COMPRESS[encoding](TEXT) + b"garbage garbage garbage")


@each_encoding
def test_more_text_than_the_limit_is_refused_in_small_steps(encoding: ContentEncoding) -> None:
    stored = COMPRESS[encoding](bytes(50_000_000))
    decoder = decoder_for(encoding, max_text_octets=1_000_000)
    given = 0
    with pytest.raises(TextTooLong):
        for start in range(0, len(stored), 65_536):
            for piece in decoder.feed(stored[start : start + 65_536]):
                given += len(piece)
    assert given <= 1_000_000


@each_compression
def test_any_octets_decode_or_are_an_error(encoding: ContentEncoding) -> None:
    chance = random.Random(7)
    good = COMPRESS[encoding](TEXT[:3_000])
    for _ in range(300):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(DecodeError):
            decode(encoding, bytes(bad), step=50)


def test_the_strongest_levels_of_common_tools_are_read() -> None:
    assert decode(ContentEncoding.XZ, lzma.compress(TEXT, preset=9 | lzma.PRESET_EXTREME)) == TEXT
    assert decode(ContentEncoding.ZSTD, zstandard.ZstdCompressor(level=19).compress(TEXT)) == TEXT
    assert decode(ContentEncoding.BZIP2, bz2.compress(TEXT, 9)) == TEXT


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        (
            ContentEncoding.XZ,
            lzma.compress(TEXT, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 27}]),
        ),
        (ContentEncoding.ZSTD, bytes.fromhex("28b52ffd 00 88 010000")),  # a frame head that asks for a 128 MiB window
    ],
)
def test_a_stream_that_asks_for_too_much_memory_is_refused(encoding: ContentEncoding, stored: bytes) -> None:
    with pytest.raises(DecodeError, match="window is too large"):
        decode(encoding, stored)


@each_compression
@pytest.mark.parametrize("text", [b"", TEXT])
def test_a_compressed_object_is_known_by_its_first_octets(encoding: ContentEncoding, text: bytes) -> None:
    stored = COMPRESS[encoding](text)
    header = "deflate" if encoding is ContentEncoding.ZLIB else ""
    assert detect_encoding(header, "mail.eml", stored[:10]) is encoding


def test_zlib_is_believed_only_when_something_says_so() -> None:
    stored = zlib.compress(TEXT)
    assert detect_encoding("", "mail.eml", stored[:10]) is ContentEncoding.IDENTITY
    assert detect_encoding("", "mail.eml.zz", stored[:10]) is ContentEncoding.ZLIB
    assert detect_encoding("deflate", "mail.eml", b"x: a mail\r\n"[:10]) is ContentEncoding.IDENTITY
    assert detect_encoding("deflate", "mail.eml", b"x}: a mail\r\n"[:10]) is ContentEncoding.IDENTITY


@pytest.mark.parametrize("level", range(-1, 10))
def test_zlib_of_any_level_is_known(level: int) -> None:
    assert detect_encoding("Deflate", "mail.eml", zlib.compress(TEXT, level)[:10]) is ContentEncoding.ZLIB


@pytest.mark.parametrize("first", [b"", b"B", b"BZh9: a mail", b"Subject: a", b"\x1f"])
@pytest.mark.parametrize("key", ["mail.eml", "mail.eml.gz"])
def test_plain_mail_is_plain_whatever_its_name_or_header_say(first: bytes, key: str) -> None:
    assert detect_encoding("gzip", key, first) is ContentEncoding.IDENTITY
