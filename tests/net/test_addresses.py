"""Addresses as text and as keys of rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.net.addresses import compact, expand, network_key, network_text, parse

OCTETS_16 = st.one_of(
    st.binary(min_size=16, max_size=16), st.lists(st.sampled_from([b"\0\0", b"\1\2"]), min_size=8, max_size=8).map(b"".join)
)


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("127.0.0.1", b"\x7f\0\0\1"),
        ("127.000.000.001", b"\x7f\0\0\1"),
        ("[10.1.2.3]", b"\x0a\1\2\3"),
        ("256.1.1.1", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("1.2.3.x", None),
        ("1.2.3.٤", None),
        ("", None),
        ("::1", bytes(15) + b"\1"),
        ("::ffff:1.2.3.4", b"\1\2\3\4"),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
        ("::1::", None),
        ("1.2.3.4:", None),
        ("a\0b", None),
    ],
)
def test_parse(text: str, packed: bytes | None) -> None:
    assert parse(text) == packed


@pytest.mark.parametrize(
    ("full", "printed"),
    [
        ("0:0:0:0:0:0:0:1", "::1"),
        ("0:0:0:0:0:0:0:0", "::"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("2001:0:0:1:0:0:0:1", "2001::1:0:0:0:1"),
        ("2001:0:1:2:3:4:5:6", "2001:0:1:2:3:4:5:6"),
        ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
        ("0:0:1:2:3:4:5:6", "::1:2:3:4:5:6"),
        ("0:0:0:0:0:ffff:102:304", "::ffff:1.2.3.4"),
        ("ABCD:EF01:2345:6789:abcd:ef01:2345:6789", "abcd:ef01:2345:6789:abcd:ef01:2345:6789"),
    ],
)
def test_the_first_run_of_zeros_is_left_out(full: str, printed: str) -> None:
    assert compact(ipaddress.IPv6Address(full).packed) == printed


@given(OCTETS_16)
def test_printed_addresses_mean_what_they_were(packed: bytes) -> None:
    assert ipaddress.IPv6Address(compact(packed)).packed == packed
    assert ipaddress.IPv6Address(expand(packed).decode()).packed == packed


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_round_trips(packed: bytes) -> None:
    assert parse(compact(packed)) == packed == ipaddress.IPv4Address(compact(packed)).packed


def test_expanded() -> None:
    assert expand(bytes(15) + b"\1") == b"0000:0000:0000:0000:0000:0000:0000:0001"
    assert expand(ipaddress.IPv6Address("2001:db8::abcd").packed) == b"2001:0DB8:0000:0000:0000:0000:0000:ABCD"


@pytest.mark.parametrize(
    ("packed", "length", "key", "text"),
    [
        (b"\x7f\0\0\0", 8, b"_0bcdefgh", b"127./8"),
        (b"\xac\x10\0\0", 12, b"_a0c0ef00000l", b"172.16./12"),
        (b"\x0a\1\2\3", 16, b"_0000e0g0" + b"0000000p", b"10.1./16"),
        (b"\xff\xff\xff\xff", 32, b"_abcdefghijklmnopqrstuvwxyz123456", b"255.255.255.255/32"),
        (b"\xc0\xa8\0\0", 28, b"_ab000000i0k0m" + b"0" * 15, b"192.168.0.0./28"),
        (bytes(4), 2, b"_00", b"0./2"),
        (bytes(4), 1, b"_0", b"_0"),
        (
            ipaddress.IPv6Address("2001:db8::").packed,
            32,
            b"^00`000000000000a0000bc0de0fgh000",
            b"2001:db8::/32",
        ),
        (b"\xff" * 16, 128, b"^" + bytes(range(96, 224)), b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
    ],
)
def test_networks(packed: bytes, length: int, key: bytes, text: bytes) -> None:
    assert network_key(packed, length) == key
    assert network_text(key) == text


@pytest.mark.parametrize("key", [b"", b"_", b"^", b"1.2.3.4", b"_dmarc.example", b"_bb", b"^aa", b"_" + b"0" * 33, b"=_0b"])
def test_other_keys_are_shown_as_they_are(key: bytes) -> None:
    assert network_text(key) == key


@given(st.one_of(st.binary(min_size=4, max_size=4), OCTETS_16), st.data())
def test_the_key_of_a_network_begins_the_keys_of_what_is_in_it(packed: bytes, data: st.DataObject) -> None:
    width = len(packed) * 8
    length = data.draw(st.integers(2, width))
    assert network_key(packed, width).startswith(network_key(packed, length))
    shown, _, digits = network_text(network_key(packed, length)).decode().partition("/")
    assert int(digits) == length
    if width == 128:
        network = ipaddress.IPv6Network((packed, length), strict=False)
        assert ipaddress.IPv6Address(shown) == network.network_address
