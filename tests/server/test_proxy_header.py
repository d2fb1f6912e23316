import struct
from ipaddress import ip_address

import pytest

from bridge.accounts.model import ClientAddress
from bridge.server.proxy_header import ProxyHeader, ProxyHeaderError, WantOctets, crc32c, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST = b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"
TCP4 = b"\xc0\0\2\1\xc0\0\2\2\x10\x00\x00\x6e"
TCP6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + b"\x10\x00\x00\x6e"
MAPPED = ip_address("::ffff:192.0.2.7").packed + ip_address("::1").packed + b"\x10\x00\x00\x6e"
NOOP = b"\x04\x00\x02ab"


def v2(family: int, rest: bytes, *, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def with_checksum(family: int, address: bytes, *, damage: int = 0) -> bytes:
    empty = v2(family, address + b"\x03\x00\x04\0\0\0\0" + NOOP)
    return empty.replace(b"\x03\x00\x04\0\0\0\0", b"\x03\x00\x04" + (crc32c(empty) ^ damage).to_bytes(4, "big"))


def at(address: str, port: int) -> ClientAddress:
    return ClientAddress(ip_address(address), port)


GOOD = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 110\r\n", at("192.0.2.1", 4096)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 4096 110\r\n", at("2001:db8::1", 4096)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 65535 0\r\n", at("192.0.2.7", 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::ffff anything 1 2 3\r\n", None),
    (LONGEST, None),
    (v2(0x11, TCP4), at("192.0.2.1", 4096)),
    (v2(0x21, TCP6), at("2001:db8::1", 4096)),
    (v2(0x21, MAPPED), at("192.0.2.7", 4096)),
    (v2(0x11, TCP4 + NOOP), at("192.0.2.1", 4096)),
    (with_checksum(0x11, TCP4), at("192.0.2.1", 4096)),
    (v2(0x31, bytes(216)), None),
    (v2(0x00, b""), None),
    (v2(0x00, NOOP), None),
    (v2(0x00, b"", command=0x20), None),
    (v2(0x77, b"whatever", command=0x20), None),
]

BAD = [
    b"USER x\r\n",
    b"PROXX TCP4 192.0.2.1",
    b"\x16\x03\x01\x02\x00",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4096\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 110 1\r\n",
    b"PROXY TCP4  192.0.2.1 192.0.2.2 4096 110\r\n",
    b"PROXY TCP4 2001:db8::1 192.0.2.2 4096 110\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.256 4096 110\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 110\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 0110\r\n",
    "PROXY TCP4 192.0.2.1 192.0.2.2 4096 ²1\r\n".encode(),
    b"PROXY UDP4 192.0.2.1 192.0.2.2 4096 110\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 110\nUSER",
    b"PROXY UNKNOWN " + b"f" * 93,
    v2(0x11, TCP4, command=0x31),
    v2(0x11, TCP4, command=0x22),
    v2(0x12, TCP4),
    v2(0x41, TCP4),
    v2(0x11, TCP4[:-1]),
    v2(0x11, TCP4 + b"\x04\x00"),
    v2(0x11, TCP4 + b"\x04\x00\x09ab"),
    with_checksum(0x11, TCP4, damage=1),
    v2(0x11, TCP4 + b"\x03\x00\x01\0"),
]


def parse_exactly(stream: bytes, step: int) -> tuple[ProxyHeader, int]:
    """As the listener reads: never more than asked for, in steps of at most `step`."""
    taken = 0
    while isinstance(answer := parse_proxy_header(stream[:taken]), WantOctets):
        assert answer.count > 0
        assert taken < len(stream), "more is wanted than a whole header has"
        taken = min(taken + min(answer.count, step), len(stream))
    return answer, taken


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_is_read_and_not_one_octet_behind_it(header: bytes, source: ClientAddress | None, step: int) -> None:
    assert parse_exactly(header + b"\x16\x03\x01 the client's own octets", step) == (ProxyHeader(source), len(header))


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("octets", BAD)
def test_a_malformed_header_is_refused(octets: bytes, step: int) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_exactly(octets, step)


def test_the_longest_line_has_107_octets() -> None:
    assert len(LONGEST) == 107
    with pytest.raises(ProxyHeaderError):
        parse_exactly(LONGEST[:-2] + b"f\r\n", 1)


def test_what_is_no_header_is_refused_at_its_first_wrong_octet() -> None:
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(b"C")


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
