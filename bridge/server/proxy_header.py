"""The PROXY protocol, versions 1 and 2: where a client behind a load balancer really is. Pure: octets in, answer out.

Source: the PROXY protocol specification of HAProxy, sections 2.1 and 2.2.
"""

import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from bridge.accounts.model import ClientAddress, IpAddress

_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED_OCTETS = 16
_V1_PREFIX = b"PROXY "
_V1_SHORTEST_OCTETS = len(b"PROXY UNKNOWN\r\n")
_V1_LONGEST_OCTETS = 107
_TLV_CRC32C = 0x03
_V2_ADDRESS_OCTETS = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}  # by family and transport; streams only


class ProxyHeaderError(Exception):
    """The octets are no PROXY header; the connection cannot be used."""


@dataclass(frozen=True, slots=True)
class WantOctets:
    """The header is not whole: read at most `count` more, all of which belong to it."""

    count: int


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    source: ClientAddress | None  # None: the proxy speaks for itself or does not know; the peer's own address counts


def parse_proxy_header(data: bytes) -> ProxyHeader | WantOctets:
    """Read the header from all octets so far. Ask again with more octets after WantOctets. Raises ProxyHeaderError."""
    # Version 1 first: its shortest header is the shorter one, so that no octet too many is asked for at the start.
    if data[: len(_V1_PREFIX)] == _V1_PREFIX[: len(data)]:
        return _parse_v1(data)
    if data[: len(_V2_SIGNATURE)] == _V2_SIGNATURE[: len(data)]:
        return _parse_v2(data)
    raise ProxyHeaderError("the connection does not begin with a PROXY header")


def unmapped(address: IpAddress) -> IpAddress:
    """An IPv4 client that came over an IPv6 socket is an IPv4 client."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _parse_v1(data: bytes) -> ProxyHeader | WantOctets:
    if len(data) < _V1_SHORTEST_OCTETS:
        return WantOctets(_V1_SHORTEST_OCTETS - len(data))
    if not data.endswith(b"\r\n"):
        # Only as much as the end of the line must still have: what follows it belongs to the client.
        count = 1 if data.endswith(b"\r") else 2
        if len(data) + count > _V1_LONGEST_OCTETS or b"\n" in data:
            raise ProxyHeaderError("the PROXY line does not end")
        return WantOctets(count)
    try:
        words = data[:-2].decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise ProxyHeaderError("the PROXY line is not ASCII") from None
    match words:
        case ["PROXY", "UNKNOWN", *_]:
            return ProxyHeader(None)
        case ["PROXY", "TCP4" | "TCP6" as family, source, destination, source_port, destination_port]:
            kind = IPv4Address if family == "TCP4" else IPv6Address
            try:
                kind(destination)
                address = kind(source)
            except AddressValueError:
                raise ProxyHeaderError("the PROXY line has a wrong address") from None
            _v1_port(destination_port)
            return ProxyHeader(ClientAddress(unmapped(address), _v1_port(source_port)))
    raise ProxyHeaderError("the PROXY line is malformed")


def _v1_port(text: str) -> int:
    if text.isdecimal() and len(text) <= 5 and int(text) <= 65_535 and str(int(text)) == text:
        return int(text)
    raise ProxyHeaderError("the PROXY line has a wrong port")


def _parse_v2(data: bytes) -> ProxyHeader | WantOctets:
    if len(data) < _V2_FIXED_OCTETS:
        return WantOctets(_V2_FIXED_OCTETS - len(data))
    version_and_command, family, rest_octets = struct.unpack_from("!BBH", data, len(_V2_SIGNATURE))
    if version_and_command not in (0x20, 0x21):
        raise ProxyHeaderError("unknown version or command in the PROXY header")
    if missing := _V2_FIXED_OCTETS + rest_octets - len(data):
        return WantOctets(missing)
    if version_and_command == 0x20:  # LOCAL: a health check of the proxy itself; all the rest is ignored
        return ProxyHeader(None)
    address_octets = _V2_ADDRESS_OCTETS.get(family)
    if address_octets is None or address_octets > rest_octets:
        raise ProxyHeaderError("the PROXY header has no usable address")
    _check_tlvs(data, _V2_FIXED_OCTETS + address_octets)
    if family == 0x11:
        source, _, port, _ = struct.unpack_from("!4s4sHH", data, _V2_FIXED_OCTETS)
        return ProxyHeader(ClientAddress(IPv4Address(source), port))
    if family == 0x21:
        source, _, port, _ = struct.unpack_from("!16s16sHH", data, _V2_FIXED_OCTETS)
        return ProxyHeader(ClientAddress(unmapped(IPv6Address(source)), port))
    return ProxyHeader(None)


def _check_tlvs(data: bytes, position: int) -> None:
    """Each must fit; the checksum must be right where there is one; the others are not needed here."""
    while position < len(data):
        if position + 3 > len(data):
            raise ProxyHeaderError("the PROXY header ends within an extension")
        kind, octet_count = struct.unpack_from("!BH", data, position)
        start, position = position + 3, position + 3 + octet_count
        if position > len(data):
            raise ProxyHeaderError("the PROXY header ends within an extension")
        if kind == _TLV_CRC32C:
            zeroed = data[:start] + bytes(octet_count) + data[position:]
            if data[start:position] != crc32c(zeroed).to_bytes(4, "big"):
                raise ProxyHeaderError("the checksum of the PROXY header is wrong")


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for octet in data:
        value = _CRC32C_TABLE[(value ^ octet) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _crc32c_entry(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ (0x82F63B78 if index & 1 else 0)
    return index


_CRC32C_TABLE = [_crc32c_entry(index) for index in range(256)]
