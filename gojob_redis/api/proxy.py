"""The PROXY protocol, versions 1 and 2: who is behind a balancer that passes bytes on without looking at them.

A connection from a trusted proxy begins with a header that names its client. Version 1 is a line of text, version 2 is
binary: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import ipaddress
import struct
from typing import Final, NamedTuple

V1_BYTES: Final = 107
V2_BYTES: Final = 16 + 2_048
"""The addresses, and room for the extras that some balancers add."""
SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"


class BadHeader(Exception):
    """What came first is no PROXY header."""


class Header(NamedTuple):
    """What a header says."""

    address: str
    """Of the client; "" when the proxy speaks for itself, as in its health checks."""
    size: int
    """Bytes of the header; what follows them is the client's."""


def parse(data: bytes) -> Header | None:
    """The header that data begins with, None while more of it has to come; raises BadHeader."""
    if data.startswith(SIGNATURE):
        return _binary(data)
    if SIGNATURE.startswith(data):
        return None
    if data.startswith(b"PROXY "):
        return _text(data)
    if b"PROXY ".startswith(data):
        return None
    raise BadHeader


def _text(data: bytes) -> Header | None:
    line, ended, _ = data[:V1_BYTES].partition(b"\r\n")
    if not ended:
        if len(data) >= V1_BYTES:
            raise BadHeader
        return None
    words = line.decode("latin-1").split(" ")
    size = len(line) + 2
    if words[1:2] == ["UNKNOWN"]:
        return Header("", size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeader
    try:
        return Header(str(ipaddress.ip_address(words[2])), size)
    except ValueError:
        raise BadHeader from None


def _binary(data: bytes) -> Header | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    size = 16 + length
    if command not in (0x20, 0x21) or size > V2_BYTES:
        raise BadHeader
    if len(data) < size:
        return None
    if command == 0x20:  # LOCAL
        return Header("", size)
    match family >> 4, length:
        case 1, _ if length >= 12:
            return Header(str(ipaddress.IPv4Address(data[16:20])), size)
        case 2, _ if length >= 36:
            return Header(str(ipaddress.IPv6Address(data[16:32])), size)
        case 0 | 3, _:  # UNSPEC, or a Unix socket
            return Header("", size)
    raise BadHeader
