"""`queue/lock/tcpto`: hosts that did not answer lately, shared by all deliveries (delivery 1.5)."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import struct
import time

RECORD = struct.Struct("<B3xB3xi4x16s")
"""Address family, time-out count, time of the last one, address."""
RECORDS = 32
FAMILIES = {_socket.AF_INET: 2, _socket.AF_INET6: 10}
COUNTED = (errno.ETIMEDOUT, errno.ECONNREFUSED)
MOST = 10
SKIP_FROM = 2
FORGIVE = 120
"""A failure this soon after the last counted one belongs to it (seconds)."""


class TcpTo:
    """The table; a table that cannot be opened or locked remembers nothing."""

    __slots__ = ("_path", "_seen")

    def __init__(self, home: str) -> None:
        self._path = f"{home}/queue/lock/tcpto"
        self._seen: set[str] = set()

    def should_skip(self, ip: str) -> bool:
        """Whether the address failed twice or more, the last time a short while ago."""
        with _Table(self._path) as table:
            index = table.find(ip)
            if index is None:
                return False
            self._seen.add(ip)
            count, when = table.failures(index)
            return count >= SKIP_FROM and time.time() - when < (60 + (os.getpid() & 31)) * 64

    def report(self, ip: str, error: int | None) -> None:
        """Note how a connect went: None for success, else its errno."""
        if (error is None and ip not in self._seen) or (error is not None and error not in COUNTED):
            return
        with _Table(self._path) as table:
            index = table.find(ip)
            if error is None:
                if index is not None:
                    table.write(index, ip, 0, table.failures(index)[1])
                return
            now = int(time.time())
            if index is None:
                table.write(table.victim(), ip, 1, now)
                return
            count, when = table.failures(index)
            if not count or now >= FORGIVE + when:
                table.write(index, ip, min(count + 1, MOST), now)


class _Table:
    """The locked file for the length of a `with` block; records count from 0."""

    __slots__ = ("_data", "_fd", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._data = b""

    def __enter__(self) -> _Table:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._data = os.pread(self._fd, RECORDS * RECORD.size, 0)
        except OSError:
            self._data = b""
        return self

    def __exit__(self, *_details: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def _count(self) -> int:
        return len(self._data) // RECORD.size

    def find(self, ip: str) -> int | None:
        """The record of an address."""
        wanted = _key(ip)
        if wanted is not None:
            for index in range(self._count):
                family, _, _, address = RECORD.unpack_from(self._data, index * RECORD.size)
                if (family, address) == wanted:
                    return index
        return None

    def failures(self, index: int) -> tuple[int, int]:
        """(time-out count, time of the last)."""
        _, count, when, _ = RECORD.unpack_from(self._data, index * RECORD.size)
        return count, when

    def victim(self) -> int:
        """The record to give to a new address: a free one, else the oldest and least frequent."""
        facts = [self.failures(index) for index in range(self._count)]
        for index, (count, _) in enumerate(facts):
            if not count:
                return index
        return min(range(len(facts)), key=lambda index: facts[index][1] + facts[index][0] * 1024, default=-1)

    def write(self, index: int, ip: str, count: int, when: int) -> None:
        """Change one record in place; the bytes that mean nothing stay as they are."""
        key = _key(ip)
        if key is None or not 0 <= index < self._count:
            return
        record = bytearray(self._data[index * RECORD.size : (index + 1) * RECORD.size])
        record[0], record[4] = key[0], count
        struct.pack_into("<i", record, 8, when)
        record[16:] = key[1]
        try:
            os.pwrite(self._fd, record, index * RECORD.size)
        except OSError:
            return


def _key(ip: str) -> tuple[int, bytes] | None:
    """(family byte, 16 bytes) of an address; an IPv4 address is followed by dots."""
    name = ip.partition("%")[0]
    for family, number in FAMILIES.items():
        try:
            return number, _socket.inet_pton(family, name).ljust(16, b".")
        except OSError:
            continue
    return None
