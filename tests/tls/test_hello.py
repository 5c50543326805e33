"""A ClientHello's protocols, as real clients send them and as nobody should."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.tls import hello


def client_hello(*protocols: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="host.example").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("protocols", [(), ("smtp",), ("h2", "http/1.1", "x" * 255)])
def test_what_a_client_offers(protocols: tuple[str, ...]) -> None:
    assert hello.offered(client_hello(*protocols)) == [name.encode() for name in protocols]


def test_octet_by_octet() -> None:
    data = client_hello("pop3", "imap")
    for size in range(len(data)):
        with pytest.raises(hello.Incomplete):
            hello.offered(data[:size])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_cut_into_records(size: int) -> None:
    message = client_hello("smtp")[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    records = b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)
    assert hello.offered(records) == [b"smtp"]


def test_a_look_is_enough_for_nearly_all() -> None:
    """Unless the octets of ALPN's number are there by chance."""
    hellos = [client_hello() for _ in range(20)]
    assert any(map(hello.asks_for_nothing, hellos))
    for data in hellos:
        assert hello.asks_for_nothing(data) == (b"\0\x10" not in data)
        assert not any(hello.asks_for_nothing(data[:size]) for size in range(len(data)))
        assert not hello.asks_for_nothing(data + b"\x16")


@given(st.binary(max_size=400), st.booleans())
def test_a_look_never_overlooks_a_protocol(data: bytes, whole: bool) -> None:
    if whole:
        message = b"\1" + len(data).to_bytes(3, "big") + data
        data = b"\x16\3\1" + len(message).to_bytes(2, "big") + message
    if hello.asks_for_nothing(data):
        assert hello.offered(data) == []


@pytest.mark.parametrize("protocols", [("smtp",), ("h2", "http/1.1")])
def test_a_look_is_not_enough_for_protocols(protocols: tuple[str, ...]) -> None:
    assert not hello.asks_for_nothing(client_hello(*protocols))


@given(st.binary(max_size=400))
def test_rubbish_offers_something_or_nothing(data: bytes) -> None:
    for start in (b"", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03"):
        try:
            found = hello.offered(start + data)
        except hello.Incomplete:
            continue
        assert isinstance(found, list)
        assert sum(map(len, found)) <= len(data)
