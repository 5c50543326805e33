"""TAI64N time stamps (daemontools 1.5): label = 2^62 + 10 + Unix seconds, no leap-second table."""

from __future__ import annotations

import time

EPOCH = (1 << 62) + 10
"""TAI64 label of the Unix epoch."""
BILLION = 1_000_000_000


def now() -> int:
    """Unix time in nanoseconds."""
    return time.time_ns()


def label(ns: int) -> bytes:
    """The external label of a Unix time in ns: `@`, 16 hex digits of seconds, 8 of nanoseconds (25 bytes)."""
    return b"@%016x%08x" % (EPOCH + ns // BILLION, ns % BILLION)


def pack(ns: int) -> bytes:
    """The packed label: 12 bytes, big-endian, 8 of seconds and 4 of nanoseconds."""
    return (EPOCH + ns // BILLION).to_bytes(8, "big") + (ns % BILLION).to_bytes(4, "big")


def unpack(data: bytes) -> int:
    """Unix time in ns of a packed label (the first 12 bytes of `data`)."""
    return (int.from_bytes(data[:8], "big") - EPOCH) * BILLION + int.from_bytes(data[8:12], "big")


def parse_label(text: bytes) -> int:
    """Unix time in ns of an external label. Raises ValueError for anything but `@` and 24 hex digits."""
    if len(text) != 25 or text[:1] != b"@":
        raise ValueError("not a TAI64N label")
    return (int(text[1:17], 16) - EPOCH) * BILLION + int(text[17:], 16)
