"""An attempt on one channel of one message: the job, and the pass through its file of recipients (delivery 6.4)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.queue.names import Names

BLOCK = 16384


class UnknownRecord(Exception):
    """A channel file holds something that is neither T nor D."""


class Job:
    """Lives from the opening of the channel's file until all deliveries it started have ended."""

    __slots__ = ("at_end", "channel", "dying", "number", "path", "references", "retry", "sender", "todo")

    def __init__(self, number: int, channel: int, path: str, sender: bytes, retry: int, dying: bool) -> None:
        self.number = number
        self.channel = channel
        self.path = path
        self.sender = sender
        self.retry = retry
        self.dying = dying
        self.references = 1
        self.todo = 0
        """Recipients met that are not done yet."""
        self.at_end = False
        """Whether the whole file was read."""


class Pass:
    """Reads a channel's file from front to back, a block at a time."""

    __slots__ = ("_at", "_data", "_fd", "_start", "job")

    def __init__(self, fd: int, job: Job) -> None:
        self._fd = fd
        self._data = b""
        self._at = 0
        self._start = 0
        """Offset in the file of what `_data` begins with."""
        self.job = job

    def next(self) -> tuple[int, bytes] | None:
        """(offset, address) of the next recipient that is not done; None at the end. Raises OSError, UnknownRecord."""
        while True:
            end = self._data.find(b"\0", self._at)
            if end < 0:
                if not self._refill():
                    return None
                continue
            at, self._at = self._at, end + 1
            letter = self._data[at : at + 1]
            if letter == b"T":
                return self._start + at, self._data[at + 1 : end]
            if letter != b"D":
                raise UnknownRecord

    def _refill(self) -> bool:
        """Read another block behind the record begun; False at the end of the file."""
        block = os.read(self._fd, BLOCK)
        self._data = self._data[self._at :] + block
        self._start += self._at
        self._at = 0
        return bool(block)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_info(names: Names, number: int) -> tuple[bytes, int]:
    """(sender, birth) of a message. Raises OSError; ValueError for a file that is not whole."""
    fd = os.open(names.info(number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        birth = int(os.fstat(fd).st_mtime)
        data = b""
        while b"\0" not in data:
            block = os.read(fd, 4096)
            if not block:
                raise ValueError("no complete record")
            data += block
    finally:
        os.close(fd)
    if data[:1] != b"F":
        raise ValueError("no sender")
    return data[1 : data.index(b"\0")], birth


def mark_done(path: str, offset: int) -> None:
    """Turn the T at `offset` into D. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, b"D", offset)
    finally:
        os.close(fd)
