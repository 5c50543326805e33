"""What a client asks for in its first words (RFC 8446 4.1.2, RFC 7301): the library would not tell before it answers."""

from __future__ import annotations

HANDSHAKE, CLIENT_HELLO = 22, 1
"""The type of a record, and of a message in it."""
RANDOM = 2 + 32
"""Octets of version and random."""
SHORTEST = 5 + 4
"""The heads of record and message."""
ALPN = 16
ALPN_TYPE = ALPN.to_bytes(2, "big")
NO_APPLICATION_PROTOCOL = bytes((21, 3, 1, 0, 2, 2, 120))
"""The record of the fatal alert."""


class Incomplete(Exception):
    """More octets are needed."""


def asks_for_nothing(data: bytes) -> bool:
    """Whether a look is enough: a whole message in one record, as nearly all are, and for sure without protocols."""
    size = len(data)
    if size < SHORTEST or ALPN_TYPE in data:
        return False
    return data[3:5] == (size - 5).to_bytes(2, "big") and data[6:9] == (size - 9).to_bytes(3, "big")


def offered(data: bytes) -> list[bytes]:
    """The protocols that a ClientHello offers, in its order; none for whatever else `data` is. Raises Incomplete."""
    message = _message(data)
    at = 4 + RANDOM
    for size in (1, 2, 1):  # session, suites, compression
        at += size + int.from_bytes(message[at : at + size], "big")
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(message)):
        kind, size = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
        if kind == ALPN:
            return _names(message[at + 6 : at + 4 + size])
        at += 4 + size
    return []


def _message(data: bytes) -> bytes:
    """The handshake message, from the records that it is cut into; nothing where it is another one."""
    message, at = b"", 0
    while True:
        if at >= len(data):
            raise Incomplete
        if data[at] != HANDSHAKE:
            return b""
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        message += data[at + 5 : end]
        if message[:1] and message[0] != CLIENT_HELLO:
            return b""
        if len(message) >= 4 and len(message) >= (size := 4 + int.from_bytes(message[1:4], "big")):
            return message[:size]
        if end > len(data) or end == at + 5:
            raise Incomplete
        at = end


def _names(data: bytes) -> list[bytes]:
    names = []
    while data:
        names.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return names
