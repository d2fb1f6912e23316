"""Passwords proven a moment ago, so that a client that polls costs no argon2."""

import secrets
from collections.abc import Callable
from hashlib import blake2b

from bridge.ids import AccountId

_MAX_COUNT = 50_000  # at about 200 octets each


class VerifiedPasswords:
    """Remembers digests under a key that never leaves this process: of no use to whoever reads them.

    The verifier is part of the digest, so a changed password is felt at once.
    """

    def __init__(self, *, lifetime_s: float, clock: Callable[[], float], max_count: int = _MAX_COUNT) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._max_count = max_count
        self._key = secrets.token_bytes(32)
        self._expiries: dict[bytes, float] = {}  # in the order of their ends, since all live equally long

    def digest(self, account_id: AccountId | None, verifier: str | None, password: str) -> bytes:
        """Names a try: the same account, verifier and password give the same digest."""
        digest = blake2b(key=self._key, digest_size=32)
        for part in (str(account_id), verifier or "", password):
            octets = part.encode(errors="surrogatepass")  # a client may send what is not UTF-8
            digest.update(len(octets).to_bytes(8) + octets)
        return digest.digest()

    def knows(self, digest: bytes) -> bool:
        """Whether `note` was told of it within its lifetime, which does not grow with use."""
        expires_at = self._expiries.get(digest)
        return expires_at is not None and self._clock() < expires_at

    def note(self, digest: bytes) -> None:
        """The password was right."""
        now = self._clock()
        self._expiries.pop(digest, None)
        self._expiries[digest] = now + self._lifetime_s
        while self._expiries:
            oldest = next(iter(self._expiries))
            if self._expiries[oldest] > now and len(self._expiries) <= self._max_count:
                break
            del self._expiries[oldest]
