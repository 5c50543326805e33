"""Log pipes: how much of what was written nobody has read yet."""

from __future__ import annotations

import fcntl
import os
import time

FIONREAD = 0x541B
DRAIN_PATIENCE = 5.0
"""Seconds a logger gets to read what its service has left behind, before it is told to end."""
DRAIN_INTERVAL = 0.02
"""Seconds between two looks at a pipe that is being drained; nothing tells when it is empty."""


class Drain:
    """Waits, without blocking, for a pipe to become empty."""

    __slots__ = ("_fd", "_until")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._until = time.monotonic() + DRAIN_PATIENCE

    def is_over(self) -> bool:
        """Whether all has been read, or the time for it is up."""
        return unread(self._fd) == 0 or time.monotonic() >= self._until


def unread(fd: int) -> int:
    """Bytes that wait in the pipe."""
    return int.from_bytes(fcntl.ioctl(fd, FIONREAD, bytes(4)), "little")


def fill_standard_descriptors() -> None:
    """Open /dev/null for those of 0, 1, 2 that are closed, lest a pipe gets one of these numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
