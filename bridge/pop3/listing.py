"""The drop listing of a session: numbers, octets, UIDLs and deletion marks (RFC 1939 sections 5 and 7)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

_BATCH_COUNT = 1_000


class Listing(Protocol):
    """The maildrop as it was at login, numbers from 1. Ranges hold both ends."""

    @property
    def count(self) -> int: ...
    @property
    def total_octets(self) -> int: ...
    def octets(self, number: int) -> int: ...
    def uidl(self, number: int) -> str: ...
    def octets_range(self, first: int, last: int) -> Sequence[int]: ...
    def uidl_range(self, first: int, last: int) -> Sequence[str]: ...


class DropListing:
    """A listing with marks. Numbers never change within a session."""

    __slots__ = ("_deleted", "_listing", "total_octets")

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._deleted: set[int] = set()
        self.total_octets = listing.total_octets  # of messages not marked

    @property
    def message_count(self) -> int:
        """Marked ones not counted."""
        return self._listing.count - len(self._deleted)

    @property
    def deleted_numbers(self) -> tuple[int, ...]:
        return tuple(sorted(self._deleted))

    def has(self, number: int) -> bool:
        """Whether the number is a message of this session that is not marked."""
        return 1 <= number <= self._listing.count and number not in self._deleted

    def was_deleted(self, number: int) -> bool:
        return number in self._deleted

    def octets(self, number: int) -> int:
        return self._listing.octets(number)

    def uidl(self, number: int) -> str:
        return self._listing.uidl(number)

    def delete(self, number: int) -> None:
        """Mark it; the number must be one that `has` knows."""
        self._deleted.add(number)
        self.total_octets -= self._listing.octets(number)

    def reset(self) -> None:
        self._deleted.clear()
        self.total_octets = self._listing.total_octets

    def list_lines(self) -> Iterator[bytes]:
        """All lines of LIST, a thousand at a time."""
        for first, last in self._batches():
            yield self._join(first, self._listing.octets_range(first, last))

    def uidl_lines(self) -> Iterator[bytes]:
        """All lines of UIDL, a thousand at a time."""
        for first, last in self._batches():
            yield self._join(first, self._listing.uidl_range(first, last))

    def _batches(self) -> Iterator[tuple[int, int]]:
        for first in range(1, self._listing.count + 1, _BATCH_COUNT):
            yield first, min(first + _BATCH_COUNT - 1, self._listing.count)

    def _join(self, first: int, values: Sequence[int] | Sequence[str]) -> bytes:
        numbered = enumerate(values, first)
        if self._deleted:
            lines = [f"{number} {value}\r\n" for number, value in numbered if number not in self._deleted]
        else:
            lines = [f"{number} {value}\r\n" for number, value in numbered]
        return "".join(lines).encode("ascii")
