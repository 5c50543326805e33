"""Addresses as text (ucspi 1.4) and as keys of rules (ucspi 3.3)."""

from __future__ import annotations

import _socket

MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address in IPv6 form begins with."""
BITS_4 = b"abcdefghijklmnopqrstuvwxyz123456"
"""How the key of an IPv4 network shows that bit i is 1."""
FIRST_BIT_6 = 96
"""The k-th 1-bit of an IPv6 network is shown as the octet 96 + k."""


def parse_ipv4(text: str) -> bytes | None:
    """The 4 octets of four decimal numbers, leading zeros allowed, perhaps in brackets; None for anything else."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    numbers = text.split(".")
    return octets(numbers) if len(numbers) == 4 else None


def octets(numbers: list[str]) -> bytes | None:
    """Decimal numbers as octets; None when one of them is none."""
    if not all(number.isascii() and number.isdigit() and len(number) < 20 and int(number) < 256 for number in numbers):
        return None
    return bytes(map(int, numbers))


def parse_ipv6(text: str) -> bytes | None:
    """The 16 octets of an IPv6 address without scope; None for anything else."""
    try:
        return _socket.inet_pton(_socket.AF_INET6, text)
    except (OSError, ValueError):
        return None


def parse(text: str) -> bytes | None:
    """The 4 or 16 octets of an address (a scope is dropped); an IPv4-mapped address is the IPv4 address."""
    if ":" not in text:
        try:
            return _socket.inet_pton(_socket.AF_INET, text)
        except (OSError, ValueError):
            return parse_ipv4(text)
    packed = parse_ipv6(text.partition("%")[0])
    return packed[12:] if packed is not None and packed.startswith(MAPPED) else packed


def compact(packed: bytes) -> str:
    """The printed form of 4 or 16 octets: of IPv6 the first run of two or more zero groups becomes `::`."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    if packed.startswith(MAPPED):
        return "::ffff:" + compact(packed[12:])
    groups = [f"{packed[at] << 8 | packed[at + 1]:x}" for at in range(0, 16, 2)]
    for first in range(7):
        if groups[first] == groups[first + 1] == "0":
            after = first + 2
            while after < 8 and groups[after] == "0":
                after += 1
            return ":".join(groups[:first]) + "::" + ":".join(groups[after:])
    return ":".join(groups)


def expand(packed: bytes) -> bytes:
    """16 octets as rules store them: eight groups of four upper-case hex digits."""
    return packed.hex(":", 2).upper().encode()


def network_key(packed: bytes, length: int) -> bytes:
    """The key of the network of the first `length` bits of 4 or 16 octets."""
    width = len(packed) * 8
    bits = f"{int.from_bytes(packed, 'big'):0{width}b}"[:length]
    if width == 32:
        return b"_" + bytes([octet if bit == "1" else 48 for bit, octet in zip(bits, BITS_4, strict=False)])
    key = bytearray(b"^")
    octet = FIRST_BIT_6
    for bit in bits:
        if bit == "1":
            key.append(octet)
            octet += 1
        else:
            key.append(48)
    return bytes(key)


def network_text(key: bytes) -> bytes:
    """The key of a network of 2 bits and more as people write it (ucspi 4); any other key unchanged."""
    if len(key) < 3 or key[:1] not in (b"_", b"^"):
        return key
    length = len(key) - 1
    width = 32 if key[:1] == b"_" else 128
    if length > width:
        return key
    number = int("".join("0" if octet == 48 else "1" for octet in key[1:]).ljust(width, "0"), 2)
    packed = number.to_bytes(width // 8, "big")
    if network_key(packed, length) != key:
        return key
    if width == 128:
        return f"{compact(packed)}/{length}".encode()
    text = "".join(f"{octet}." for octet in packed[: (length + 7) // 8])
    return f"{text.rstrip('.') if length == 32 else text}/{length}".encode()
