"""The PROXY protocol: who is behind a balancer."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.api.proxy import SIGNATURE, V1_BYTES, BadHeader, Header, parse


def binary(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


V4 = ipaddress.ip_address("203.0.113.7").packed + ipaddress.ip_address("10.0.0.1").packed + b"\x01\x02\x03\x04"
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + b"\x01\x02\x03\x04"
HEADERS = {
    b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n": "203.0.113.7",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n": "2001:db8::7",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": "",
    binary(0x21, 0x11, V4): "203.0.113.7",
    binary(0x21, 0x11, V4 + b"\x04\x00\x01x"): "203.0.113.7",
    binary(0x21, 0x21, V6): "2001:db8::7",
    binary(0x20, 0x00, b""): "",
    binary(0x21, 0x31, bytes(216)): "",
}


@pytest.mark.parametrize(("header", "address"), HEADERS.items())
def test_a_header_names_the_client_wherever_it_is_cut(header: bytes, address: str) -> None:
    assert parse(header + b"GET / HTTP/1.1\r\n") == Header(address, len(header))
    assert [parse(header[:cut]) for cut in range(len(header))] == [None] * len(header)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 nobody 10.0.0.1 56324 443\r\n",
        b"PROXY TCP9 203.0.113.7 10.0.0.1 56324 443\r\n",
        b"PROXY TCP4 203.0.113.7\r\n",
        b"PROXY " + b"x" * V1_BYTES,
        binary(0x31, 0x11, V4),
        binary(0x21, 0x11, V4[:8]),
        binary(0x21, 0x91, V4),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadHeader):
        parse(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_nothing_else_comes_of_whatever_is_sent(data: bytes, begin: bytes) -> None:
    try:
        header = parse(begin + data)
    except BadHeader:
        return
    assert header is None or 0 < header.size <= len(begin + data)
