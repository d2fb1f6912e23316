"""What holds for any compressed object, whole or damaged, in any pieces."""

import bz2
import contextlib
import gzip
import itertools
import lzma
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.mail.compression import (
    MAGIC_OCTETS,
    PIECE_OCTETS,
    ContentEncoding,
    DecodeError,
    TextTooLong,
    decoder_for,
    detect_encoding,
)

LIMIT_OCTETS = 300_000
COMPRESS: dict[ContentEncoding, Callable[[bytes], bytes]] = {
    ContentEncoding.GZIP: gzip.compress,
    ContentEncoding.ZLIB: zlib.compress,
    ContentEncoding.BZIP2: bz2.compress,
    ContentEncoding.XZ: lambda text: lzma.compress(text, preset=0),
    ContentEncoding.ZSTD: lambda text: zstandard.ZstdCompressor().compress(text),
}
each_compression = pytest.mark.parametrize("encoding", list(COMPRESS))
texts = st.one_of(
    st.binary(max_size=2_000),
    st.builds(lambda line, count: line * count, st.binary(min_size=1, max_size=80), st.integers(0, 3_000)),
)


def pieces_of(stored: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(stored), *(cut % (len(stored) + 1) for cut in cuts)})
    return [stored[start:end] for start, end in itertools.pairwise(edges)]


def decode(encoding: ContentEncoding, pieces: list[bytes]) -> bytes:
    decoder = decoder_for(encoding, max_text_octets=LIMIT_OCTETS)
    text = bytearray()
    for piece in pieces:
        for given_piece in decoder.feed(piece):
            assert len(given_piece) <= PIECE_OCTETS
            text += given_piece
    for given_piece in decoder.finish():
        text += given_piece
    assert len(text) <= LIMIT_OCTETS
    return bytes(text)


cuts = st.lists(st.integers(0, 1 << 20), max_size=8)


@each_compression
@settings(deadline=None)
@given(parts=st.lists(texts, min_size=1, max_size=3), cuts=cuts)
def test_text_comes_back_whatever_the_pieces(encoding: ContentEncoding, parts: list[bytes], cuts: list[int]) -> None:
    stored = b"".join(COMPRESS[encoding](part) for part in parts)
    text = b"".join(parts)
    if len(text) > LIMIT_OCTETS:
        with pytest.raises(TextTooLong):
            decode(encoding, pieces_of(stored, cuts))
    else:
        assert decode(encoding, pieces_of(stored, cuts)) == text


@each_compression
@settings(deadline=None)
@given(text=texts, cut=st.integers(min_value=0), cuts=cuts)
def test_a_stream_cut_short_is_never_taken_for_whole(
    encoding: ContentEncoding, text: bytes, cut: int, cuts: list[int]
) -> None:
    stored = COMPRESS[encoding](text)
    with pytest.raises(DecodeError):
        decode(encoding, pieces_of(stored[: cut % len(stored)], cuts))


@each_compression
@settings(deadline=None)
@given(
    head=st.booleans(),
    octets=st.binary(max_size=400),
    flips=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), max_size=4),
    cuts=cuts,
)
def test_any_octets_are_text_within_the_limit_or_a_decode_error(
    encoding: ContentEncoding, head: bool, octets: bytes, flips: list[tuple[int, int]], cuts: list[int]
) -> None:
    stored = bytearray(COMPRESS[encoding](octets * 3) if head else octets)
    for position, mask in flips if stored else []:
        stored[position % len(stored)] ^= mask
    with contextlib.suppress(DecodeError):
        decode(encoding, pieces_of(bytes(stored), cuts))


@given(
    name=st.from_regex(rb"(?!x\^|BZh.1AY&SY)[!-9;-~]{1,40}|x[ ?}]", fullmatch=True),  # no field has such a name
    header=st.sampled_from(["", "gzip", "deflate", "zstd", "aws-chunked", "br"]),
    key=st.sampled_from(["a", "a.gz", "a.zz", "a.zst", "a.bz2", "a.xz"]),
)
def test_no_message_that_begins_with_a_field_is_taken_for_compressed(name: bytes, header: str, key: str) -> None:
    assert detect_encoding(header, key, (name + b": x\r\n\r\n")[:MAGIC_OCTETS]) is ContentEncoding.IDENTITY
