"""A login's view of its maildrop, in columns: 100,000 messages in a few MB."""

import sys
from array import array
from collections.abc import Sequence

from bridge.ids import MessageId

_UIDL_OCTETS = 26  # what this product gives; imported ones may be longer or shorter


class Snapshot:
    """Message numbers 1..n, fixed at login. Satisfies `bridge.pop3.listing.Listing`.

    `message_ids` and `octets` are 8-octet big-endian integers, as Postgres' int8send writes them; `uidls` are joined by
    LF. All three in the order of the drop.
    """

    __slots__ = ("_message_ids", "_octets", "_uidl_offsets", "_uidls", "index_version", "total_octets")

    def __init__(self, *, index_version: int, message_ids: bytes, octets: bytes, uidls: bytes) -> None:
        self.index_version = index_version
        self._message_ids = _integers(message_ids)
        self._octets = _integers(octets)
        self._uidls = uidls
        count = len(self._message_ids)
        uidl_octets = len(uidls) + 1 if count else 0
        if (
            uidl_octets == count * (_UIDL_OCTETS + 1)
            and uidls.count(b"\n") == max(count - 1, 0)
            and (uidls[_UIDL_OCTETS :: _UIDL_OCTETS + 1] == b"\n" * (count - 1 if count else 0))
        ):
            self._uidl_offsets = None
        else:
            self._uidl_offsets = _offsets(uidls)
        if len(self._octets) != count or (uidls.count(b"\n") + 1 if count else 0) != count:
            raise ValueError("the columns of a snapshot differ in length")
        self.total_octets = sum(self._octets)

    @property
    def count(self) -> int:
        return len(self._message_ids)

    def message_id(self, number: int) -> MessageId:
        return MessageId(self._message_ids[number - 1])

    def message_ids(self, first: int, last: int) -> Sequence[MessageId]:
        """Of the message numbers `first` to `last`, both included."""
        return [MessageId(message_id) for message_id in self._message_ids[first - 1 : last]]

    def octets(self, number: int) -> int:
        return self._octets[number - 1]

    def uidl(self, number: int) -> str:
        return self._uidl_slice(number, number).decode("ascii")

    def octets_range(self, first: int, last: int) -> Sequence[int]:
        """Of the message numbers `first` to `last`, both included."""
        return self._octets[first - 1 : last]

    def uidl_range(self, first: int, last: int) -> Sequence[str]:
        """Of the message numbers `first` to `last`, both included."""
        return self._uidl_slice(first, last).decode("ascii").split("\n")

    @property
    def memory_octets(self) -> int:
        offsets = 0 if self._uidl_offsets is None else self._uidl_offsets.itemsize * len(self._uidl_offsets)
        return len(self._uidls) + 8 * (len(self._message_ids) + len(self._octets)) + offsets

    def _uidl_slice(self, first: int, last: int) -> bytes:
        if self._uidl_offsets is None:
            width = _UIDL_OCTETS + 1
            return self._uidls[(first - 1) * width : last * width - 1]
        return self._uidls[self._uidl_offsets[first - 1] : self._uidl_offsets[last] - 1]


def _integers(column: bytes) -> "array[int]":
    values = array("q")
    values.frombytes(column)
    if sys.byteorder == "little":
        values.byteswap()
    return values


def _offsets(uidls: bytes) -> "array[int]":
    """Where each UIDL begins, and one past the (absent) last separator."""
    offsets = array("q", [0])
    position = uidls.find(b"\n")
    while position >= 0:
        offsets.append(position + 1)
        position = uidls.find(b"\n", position + 1)
    offsets.append(len(uidls) + 1)
    return offsets
