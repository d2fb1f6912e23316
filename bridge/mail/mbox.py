"""Messages that share an object."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a message lies within its object, in stored octets."""

    first_octet: int
    stored_octets: int
