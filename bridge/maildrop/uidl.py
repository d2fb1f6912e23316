"""The UIDL given to a new message (RFC 1939 section 7): given once, and it follows from the bucket alone."""

import hashlib
from base64 import b32encode

from bridge.ids import Uidl

UIDL_LENGTH = 26  # base32: 130 bits


def give_uidl(identity: str, digest: bytes, *, part: int, try_count: int) -> Uidl:
    """26 characters from the message's identity and the SHA-256 of its canonical text.

    An index that is lost and rebuilt from the bucket gives the same UIDLs again; other text under an old key gives
    another one. `part` tells the slices of an mbox apart (0: a whole object). `try_count` is 0 first, and grows only
    when the UIDL is taken: the same text came back under the same key after it had been removed.
    """
    source = b"\0".join((identity.encode(), digest, str(part).encode(), str(try_count).encode()))
    return Uidl(b32encode(hashlib.sha256(source).digest()).decode("ascii")[:UIDL_LENGTH].lower())
