"""`supervise/status`: 20 bytes a process, 18 of them as daemontools 0.76 wrote them (daemontools 2.1)."""

from __future__ import annotations

import os
import time

from qserver.base import tai64n

STOPPED, STARTING, STARTED, RUNNING, STOPPING, FAILED = range(6)
STATES = ("stopped", "starting", "started", "running", "stopping", "failed")
UP, DOWN, ONCE = 0x75, 0x64, 0
"""What is wanted of a process: `u`, `d`, or neither."""

SIZE = 20
OLD_SIZE = 18
"""What 0.76 wrote, and the least a reader accepts."""


class Status:
    """One block. `state` is None where the writer was 0.76."""

    __slots__ = ("paused", "pid", "ready", "state", "want", "when")

    def __init__(self, when: int, pid: int, paused: bool, want: int, state: int | None, ready: bool = False) -> None:
        self.when = when
        """Unix time in ns of the last start or exit."""
        self.pid = pid
        self.paused = paused
        self.want = want
        self.state = state
        self.ready = ready
        """The process has said so itself (daemontools 24.3)."""

    def pack(self) -> bytes:
        """The 20 bytes."""
        paused = self.paused and self.pid != 0
        ready = self.ready and self.pid != 0
        tail = bytes((paused, self.want, self.state or 0, ready))
        return tai64n.pack(self.when) + self.pid.to_bytes(4, "little") + tail

    def seconds(self) -> int:
        """Whole seconds since `when`; 0 for one in the future."""
        return max(0, time.time_ns() // tai64n.BILLION - self.when // tai64n.BILLION)


def unpack(data: bytes) -> Status | None:
    """The status in a block of 18 bytes or more; None for fewer."""
    if len(data) < OLD_SIZE:
        return None
    state = data[18] if len(data) >= SIZE else None
    seconds = int.from_bytes(data[:8], "big") - tai64n.EPOCH
    nanoseconds = min(int.from_bytes(data[8:12], "big"), tai64n.BILLION - 1)
    pid = int.from_bytes(data[12:16], "little")
    ready = state is not None and data[19] == 1
    return Status(seconds * tai64n.BILLION + nanoseconds, pid, data[16] != 0, data[17], state, ready)


def read(path: str) -> bytes:
    """The contents of a status file, garbage included. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, 2 * SIZE + 1)
    finally:
        os.close(fd)


def phrase(status: Status, normally_up: bool) -> str:
    """What svstat says behind `DIR: ` (daemontools 8)."""
    up = status.pid != 0
    parts = [f"up (pid {status.pid})" if up else "down", f" {status.seconds()} seconds"]
    if normally_up != up:
        parts.append(", normally up" if normally_up else ", normally down")
    if up and status.paused:
        parts.append(", paused")
    if not up and status.want == UP:
        parts.append(", want up")
    if up and status.want == DOWN:
        parts.append(", want down")
    ready = ", ready" if up and status.ready else ""
    return "".join(parts) + _beyond(status, up and status.want == DOWN) + ready


def _beyond(status: Status, wants_down: bool) -> str:
    """States that 0.76 has no words for; those it has (running, stopped) are not repeated."""
    state = status.state
    if state is None or state in (STOPPED, RUNNING) or (state == STOPPING and wants_down):
        return ""
    return f", {STATES[state]}" if state < len(STATES) else ", status unknown"
