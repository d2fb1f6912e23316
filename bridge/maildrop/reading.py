"""From a row of the index to canonical octets: ranges, resume after a cut, never more than a few chunks in memory."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

from bridge.mail.canonical import Canonicaliser
from bridge.mail.compression import ContentEncoding, DecodeError, decoder_for
from bridge.maildrop.errors import ObjectDamaged, StoreUnavailable
from bridge.maildrop.model import IndexedMessage
from bridge.maildrop.ports import ObjectStore

CHUNK_OCTETS = 65_536
_TOP_LINE_OCTETS = 100  # a guess at a body line; a TOP that wants more reads on in growing steps
_TOP_STEP_OCTETS = 16_384


class MessageReader:
    """Opens messages for RETR and TOP. One per process."""

    def __init__(self, store: ObjectStore, *, read_attempts: int, max_text_octets: int) -> None:
        """`read_attempts`: so many failures with no octet between them, and the read is given up."""
        self._store = store
        self._read_attempts = read_attempts
        self._max_text_octets = max_text_octets

    @asynccontextmanager
    async def open(self, message: IndexedMessage, *, body_lines: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """Canonical chunks of the message, the first already fetched, so that a refusal comes before any promise.

        With `body_lines` (TOP) only as much is read as that needs, as far as one can know; the caller stops when it is
        satisfied. Raises ObjectGone, ObjectChanged, ObjectUnreadable, StoreUnavailable here, and the same while
        iterating, when the message cannot be sent whole: then it must not be ended as if it were.
        """
        async with aclosing(self._canonical(message, body_lines)) as chunks:
            first = await anext(chunks, None)
            yield _with_first(first, chunks)

    async def _canonical(self, message: IndexedMessage, body_lines: int | None) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._text(message, body_lines)) as text:
            if message.is_canonical:
                async for chunk in text:
                    yield chunk
                return
            canonicaliser = Canonicaliser()
            async for chunk in text:
                if canonical := canonicaliser.feed(chunk):
                    yield canonical
            if rest := canonicaliser.finish():
                yield rest

    async def _text(self, message: IndexedMessage, body_lines: int | None) -> AsyncGenerator[bytes, None]:
        steps: Iterator[tuple[int, int]]
        if message.encoding is ContentEncoding.IDENTITY:
            steps = _steps(message, body_lines)
            for first_octet, octet_count in steps:
                async with aclosing(self._stored(message, first_octet, octet_count)) as stored:
                    async for chunk in stored:
                        yield chunk
            return
        decoder = decoder_for(message.encoding, max_text_octets=self._max_text_octets)
        try:
            async with aclosing(self._stored(message, 0, message.stored_octets)) as stored:
                async for chunk in stored:
                    for piece in decoder.feed(chunk):
                        yield piece
            for piece in decoder.finish():
                yield piece
        except DecodeError as error:
            raise ObjectDamaged(f"the object does not decompress: {error}") from error

    async def _stored(self, message: IndexedMessage, first_octet: int, octet_count: int) -> AsyncGenerator[bytes, None]:
        """A range of the object, going on at the next octet under the same etag when the store breaks off."""
        position, end = first_octet, first_octet + octet_count
        attempt = 0
        while position < end:
            try:
                async with self._store.open_object(
                    message.ref.bucket,
                    message.ref.key,
                    etag=message.ref.etag,
                    first_octet=position,
                    octet_count=end - position,
                ) as body:
                    async for chunk in body.chunks(CHUNK_OCTETS):
                        position += len(chunk)
                        attempt = 0  # it moves: a slow reader may outlive many connections to the store
                        yield chunk
                if position < end:
                    raise StoreUnavailable("the object is shorter than it was when it was measured")
            except StoreUnavailable:
                attempt += 1
                if attempt >= self._read_attempts:
                    raise
                await asyncio.sleep(random.uniform(0.05, 0.2) * attempt)  # noqa: S311


def _steps(message: IndexedMessage, body_lines: int | None) -> Iterator[tuple[int, int]]:
    """Ranges to read one after another: all at once, or for TOP in growing steps from the top."""
    if body_lines is None:
        yield 0, message.stored_octets
        return
    position = min(message.text_header_octets + body_lines * _TOP_LINE_OCTETS, message.stored_octets)
    if position:
        yield 0, position
    step = _TOP_STEP_OCTETS
    while position < message.stored_octets:
        octet_count = min(step, message.stored_octets - position)
        yield position, octet_count
        position += octet_count
        step *= 4


async def _with_first(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if first is not None:
        yield first
    async for chunk in rest:
        yield chunk
