"""The crash-safe writer: what qmail-queue does between the first byte of a message and its exit 0 (delivery 1.3, 2).

The order of the system calls is the whole point, and nothing else about it may change:

    S1 → S2   create pid/X, its inode is the ID; link it to mess/N/ID; unlink pid/X
    S2        write the message; fsync mess/N/ID and the directory mess/N
    S2 → S3   create intd/N/ID; write the envelope; fsync it
    S3 → S4   link intd/N/ID to todo/N/ID: accepted; fsync the directory todo/N; pull the trigger

A message whose `commit` returned survives kill -9 of any process and a power cut at any instant. Before that, no
crash shows a todo entry without its whole message and envelope.
"""

from __future__ import annotations

import os
import time

from qmail.queue import codes, trigger
from qmail.queue.codes import QueueError
from qmail.queue.names import Names
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

BUFFER = 1 << 17
"""Bytes collected before they are written; a small message is one write."""
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
FILE_MODE = 0o644
"""What qmail-queue's umask makes of its files; a process with another umask puts it right."""
ATTEMPTS = 9


class Writer:
    """One message on its way into the queue. Every method raises QueueError with qmail-queue's exit code.

    Files are made when the first block is written, so a message given up early leaves nothing to clean up.
    """

    __slots__ = ("_held", "_intd_fd", "_mess_fd", "_names", "_odd_umask", "_pid", "_queue", "_size", "number")

    def __init__(self, queue: str, split: int, pid: int) -> None:
        self._queue = queue
        self._names = Names(split)
        self._pid = pid
        self._held: list[bytes] = []
        self._size = 0
        self._mess_fd = self._intd_fd = -1
        self._odd_umask = False
        self.number = 0

    def put(self, data: bytes) -> None:
        """Add bytes to the message."""
        self._held.append(data)
        self._size += len(data)
        if self._size >= BUFFER:
            self._flush()

    def finish_message(self) -> None:
        """The message is complete: make it durable."""
        self._flush()
        self._sync(self._mess_fd)
        self._mess_fd = -1
        try:
            self._sync_directory("mess")
        except OSError:
            self._give_up(codes.WRITE_ERROR)

    def put_envelope(self, records: bytes) -> None:
        """Add complete records to the envelope."""
        if self._intd_fd < 0:
            self._open_intd()
        try:
            write_all(self._intd_fd, records)
        except OSError:
            self._give_up(codes.WRITE_ERROR)

    def message_path(self) -> str:
        """The message's path relative to the queue, for the scanner."""
        return self._names.mess(self.number)

    def commit(self) -> None:
        """The envelope is complete: the message is accepted, durably, when this returns."""
        self._sync(self._intd_fd)
        self._intd_fd = -1
        try:
            os.link(self._path("intd"), self._path("todo"))
        except OSError:
            self._give_up(codes.NO_TODO)
        try:
            self._sync_directory("todo")
        except OSError:  # qmail-send may have it already: nothing may be taken back, the caller may send it twice
            raise QueueError(codes.NO_TODO) from None
        finally:
            trigger.pull(self._queue)

    def abandon(self) -> None:
        """Remove what was written: truncate and unlink intd, then mess."""
        for kind, fd in (("intd", self._intd_fd), ("mess", self._mess_fd)):
            if fd >= 0:
                _quietly(os.close, fd)
            if self.number:
                _quietly(os.truncate, self._path(kind), 0)
                _quietly(os.unlink, self._path(kind))
        self._mess_fd = self._intd_fd = -1
        self.number = 0
        self._held = []

    def _give_up(self, code: int) -> NoReturn:
        self.abandon()
        raise QueueError(code)

    def _path(self, kind: str) -> str:
        return f"{self._queue}/{self._names.path(kind, self.number)}"

    def _flush(self) -> None:
        if self._mess_fd < 0:
            self._open_mess()
        data = b"".join(self._held)
        self._held = []
        self._size = 0
        try:
            write_all(self._mess_fd, data)
        except OSError:
            self._give_up(codes.WRITE_ERROR)

    def _open_mess(self) -> None:
        """S1 → S2."""
        name, self._mess_fd = self._open_pid_file()
        try:
            made = os.fstat(self._mess_fd)
            self.number = made.st_ino
            self._odd_umask = made.st_mode & 0o777 != FILE_MODE
            if self._odd_umask:
                os.fchmod(self._mess_fd, FILE_MODE)
            os.link(name, self._path("mess"))
        except OSError:
            self.number = 0
            _quietly(os.unlink, name)
            self._give_up(codes.NO_MESS)
        try:
            os.unlink(name)
        except OSError:
            self._give_up(codes.NO_PID_FILE)

    def _open_pid_file(self) -> tuple[str, int]:
        now = int(time.time())
        for sequence in range(1, ATTEMPTS + 1):
            name = f"{self._queue}/pid/{self._pid}.{now}.{sequence}"
            try:
                return name, os.open(name, NEW_FILE, FILE_MODE)
            except OSError:
                continue
        raise QueueError(codes.NO_PID_FILE)

    def _open_intd(self) -> None:
        """S2 → S3."""
        try:
            self._intd_fd = os.open(self._path("intd"), NEW_FILE, FILE_MODE)
            if self._odd_umask:
                os.fchmod(self._intd_fd, FILE_MODE)
        except OSError:
            self._give_up(codes.NO_INTD)

    def _sync(self, fd: int) -> None:
        """fsync and close."""
        try:
            os.fsync(fd)
        except OSError:
            self._give_up(codes.WRITE_ERROR)
        os.close(fd)

    def _sync_directory(self, kind: str) -> None:
        """Make the entry of this message in `kind` durable: Linux file systems do not make link(2) so. Raises OSError."""
        fd = os.open(os.path.dirname(self._path(kind)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _quietly(call: Callable[..., None], *arguments: object) -> None:
    """Clean-up goes on whatever fails; what stays behind is garbage that qmail-send collects after 36 hours."""
    try:
        call(*arguments)
    except OSError:
        return
