"""The connection to a spawner: who is being delivered to, commands out, reports in (delivery 4, 6.5)."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.send.job import Job

LONGEST_REPORT = 10000
READ_SIZE = 65536


class LostSpawner(Exception):
    """The spawner is gone."""


class Delivery:
    """One recipient on the way: its place in the job's file, its number in the log."""

    __slots__ = ("job", "number", "offset", "recipient")

    def __init__(self, number: int, job: Job, offset: int, recipient: bytes) -> None:
        self.number = number
        self.job = job
        self.offset = offset
        self.recipient = recipient


class Channel:
    """qmail-send's end of one spawner."""

    __slots__ = ("_free", "_held", "_outgoing", "_rfd", "_wfd", "alive", "limit", "running")

    def __init__(self, wfd: int, rfd: int, limit: int) -> None:
        """`limit` deliveries at once: the control, or what the spawner can do if that is less."""
        self._wfd = wfd
        self._rfd = rfd
        self.limit = limit
        self.alive = True
        self.running: dict[int, Delivery] = {}
        self._free = list(range(limit - 1, -1, -1))
        self._held = b""
        self._outgoing = b""
        os.set_blocking(wfd, False)

    @property
    def rfd(self) -> int:
        """The descriptor that reports come from."""
        return self._rfd

    @property
    def wfd(self) -> int:
        """The descriptor that commands go to."""
        return self._wfd

    @property
    def wants_to_write(self) -> bool:
        """Whether commands are waiting for room in the pipe."""
        return self.alive and bool(self._outgoing)

    def has_room(self) -> bool:
        """Whether another delivery may start."""
        return self.alive and len(self.running) < self.limit and bool(self._free)

    def start(self, delivery: Delivery, message: str, sender: bytes) -> None:
        """Order a delivery of the message (path relative to mess/). Only with `has_room`."""
        slot = self._free.pop()
        self.running[slot] = delivery
        self._outgoing += b"%c%b\0%b\0%b\0" % (slot, message.encode(), sender, delivery.recipient)
        self.flush()

    def flush(self) -> None:
        """Write what the pipe takes. That the spawner is gone shows when reading."""
        try:
            self._outgoing = self._outgoing[os.write(self._wfd, self._outgoing) :]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing = b""

    def read(self) -> list[tuple[int, bytes]]:
        """The complete reports that have come: (slot, letter and text). Raises LostSpawner."""
        try:
            data = os.read(self._rfd, READ_SIZE)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return []
            data = b""
        if not data:
            raise LostSpawner
        return self._take(self._held + data)

    def _take(self, data: bytes) -> list[tuple[int, bytes]]:
        reports: list[tuple[int, bytes]] = []
        at = 0
        while (end := data.find(b"\0", at + 1)) >= 0:
            reports.append((data[at], data[at + 1 : min(end, at + LONGEST_REPORT)]))
            at = end + 1
        self._held = data[at : at + LONGEST_REPORT]
        return reports

    def finish(self, slot: int) -> Delivery | None:
        """The delivery of a slot, which is free now; None when there is none."""
        delivery = self.running.pop(slot, None)
        if delivery is not None:
            self._free.append(slot)
        return delivery
