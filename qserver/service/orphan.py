"""A service that outlived its supervise (killed by -9): the next supervise takes it over instead of starting a second one.

The status file tells its pid and when it was started; only a process that was started then is it. C's supervise starts a
second copy, which then fights with the first for its port or lock.
"""

from __future__ import annotations

import os
import time

from qserver.base.tai64n import BILLION
from qserver.service import status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.service.status import Status

TOLERANCE = BILLION
"""Nanoseconds by which the start told by the kernel and by the status file may differ."""
START_TIME = 21 - 2
"""Field 22 of /proc/PID/stat, counted behind the command name; in clock ticks since boot."""


def left_behind(path: str) -> tuple[Status, int] | None:
    """The status in the file at `path` and a pidfd of the process it tells of, if that is still alive; else None."""
    try:
        told = status.unpack(status.read(path)[: status.SIZE])
        if told is None or told.pid <= 0:
            return None
        fd = os.pidfd_open(told.pid)
    except (OSError, OverflowError):
        return None
    if abs(_started(told.pid) - told.when) <= TOLERANCE:
        return told, fd
    os.close(fd)
    return None


def _started(pid: int) -> int:
    """Unix time in ns at which a process was started; 0 when it is gone, or has ended and only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    if fields[0] in (b"Z", b"X"):
        return 0
    since_boot = int(fields[START_TIME]) * BILLION // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + since_boot
