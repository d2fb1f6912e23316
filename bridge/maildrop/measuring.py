"""Reading an object once, to know what POP3 must announce of it."""

import asyncio

from bridge.ids import Uidl
from bridge.mail.compression import MAGIC_OCTETS, ContentEncoding, DecodeError, decoder_for, detect_encoding
from bridge.mail.measure import Measurer
from bridge.maildrop.errors import ObjectDamaged
from bridge.maildrop.model import ListedMessage, NewMessage
from bridge.maildrop.ports import ObjectStore

CHUNK_OCTETS = 65_536

# Amazon S3 encryption client: the envelope with the data key lies in the metadata; what a GET gives is ciphertext.
_ENVELOPE_KEYS = frozenset({"x-amz-key", "x-amz-key-v2", "x-amz-iv"})


async def measure_object(store: ObjectStore, listed: ListedMessage, *, max_text_octets: int) -> NewMessage:
    """Read the object that stands under the listed key now, whole, in constant memory.

    The etag and the time of the answer are kept, not those of the listing. The UIDL is still empty. Raises ObjectGone,
    ObjectUnreadable, ObjectDamaged (ciphertext, or what does not decompress), StoreUnavailable.
    """
    bucket, key = listed.object.ref.bucket, listed.object.ref.key
    async with store.open_object(bucket, key, etag=None) as body:
        if _ENVELOPE_KEYS & body.metadata.keys():
            raise ObjectDamaged("the object is encrypted on the client side")
        measurer = Measurer()
        encoding = ContentEncoding.IDENTITY
        decoder = None
        head = b""
        try:
            async for stored in body.chunks(CHUNK_OCTETS):
                if decoder is None:
                    head += stored
                    if len(head) < min(MAGIC_OCTETS, body.octet_count):
                        continue
                    stored = head
                    encoding = detect_encoding(body.content_encoding, key, head)
                    decoder = decoder_for(encoding, max_text_octets=max_text_octets)
                for piece in decoder.feed(stored):
                    measurer.feed(piece)
                    await asyncio.sleep(0)  # hashing a long message is not to hold up other sessions
            for piece in decoder.finish() if decoder else ():
                measurer.feed(piece)
                await asyncio.sleep(0)
        except DecodeError as error:
            raise ObjectDamaged(f"the object does not decompress: {error}") from error
        return NewMessage(
            identity=listed.identity,
            part=0,
            uidl=Uidl(""),
            ref=body.ref,
            stored_octets=body.octet_count,
            extent=None,
            encoding=encoding,
            measure=measurer.finish(),
            arrived_at=body.modified_at,
        )
