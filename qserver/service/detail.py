"""`supervise/detail`: what the status file has no room for, 32 bytes that are written in place and in one write.

    offset  size  field
     0      8     starts of ./run since supervise started, big-endian
     8      2     exit code of the last ./run, big-endian; 256 if a signal ended it
    10      1     number of that signal, else 0
    11      1     why a start waits: 0 it does not, `b` it backs off, `n` it needs others first
    12     12     until when it backs off: packed TAI64N
    24      4     length of that pause in milliseconds, big-endian
    28      4     0

Only we write it. Where it is missing or short, nothing is known beyond the status file.
"""

from __future__ import annotations

from qserver.base import tai64n
from qserver.service import status

SIZE = 32
BACKOFF, NEEDS = 0x62, 0x6E
"""`b` and `n`: why a start waits."""
KILLED = 256
"""Exit code of what a signal ended."""


class Detail:
    """The counters of one service."""

    __slots__ = ("code", "pause", "signal", "starts", "until", "waits")

    def __init__(self, starts: int = 0, code: int = 0, signal: int = 0, waits: int = 0, until: int = 0, pause: int = 0) -> None:
        self.starts = starts
        self.code = code
        self.signal = signal
        self.waits = waits
        """BACKOFF, NEEDS or 0."""
        self.until = until
        """Unix time in ns."""
        self.pause = pause
        """Milliseconds."""

    def pack(self) -> bytes:
        """The 32 bytes."""
        last = self.code.to_bytes(2, "big") + bytes((self.signal, self.waits))
        return self.starts.to_bytes(8, "big") + last + tai64n.pack(self.until) + self.pause.to_bytes(4, "big") + bytes(4)

    def phrase(self) -> str:
        """What svstat appends to the line of a service that is down: why, or nothing."""
        if self.waits == BACKOFF:
            return f", backing off {(self.pause + 999) // 1000} seconds"
        return ", waiting for its needs" if self.waits == NEEDS else ""


def unpack(data: bytes) -> Detail | None:
    """The counters in a block of 32 bytes; None for fewer."""
    if len(data) < SIZE:
        return None
    until = (int.from_bytes(data[12:20], "big") - tai64n.EPOCH) * tai64n.BILLION + int.from_bytes(data[20:24], "big")
    code, pause = int.from_bytes(data[8:10], "big"), int.from_bytes(data[24:28], "big")
    return Detail(int.from_bytes(data[:8], "big"), code, data[10], data[11], until, pause)


def read(place: str) -> Detail | None:
    """The counters in the supervise directory `place`; None where there are none that can be read."""
    try:
        return unpack(status.read(f"{place}/detail"))
    except OSError:
        return None
