"""The clean-up pass: message files that a dead qmail-queue left (delivery 6.9)."""

from __future__ import annotations

import os

from qmail.queue.names import numbers
from qmail.send import log as lines
from qmail.send.schedule import CLEANUP_INTERVAL, OSSIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmail.queue.names import Names
    from qmail.send.cleaner import Cleaner
    from qmail.send.log import Log

FILES_PER_TURN = 100


class Sweeper:
    """Goes through mess/ at the start and every 21 hours, a few files per turn. The current directory is the queue."""

    __slots__ = ("_cleaner", "_log", "_names", "_next_run", "_scan")

    def __init__(self, names: Names, cleaner: Cleaner, log: Log) -> None:
        self._names = names
        self._cleaner = cleaner
        self._log = log
        self._scan: Iterator[int] | None = None
        self._next_run = 0

    def wake_time(self) -> int:
        """When there is work."""
        return 0 if self._scan is not None and self._cleaner.has_room() else self._next_run

    def work(self, now: int) -> None:
        """Begin a pass that is due, or go on with one."""
        if self._scan is None:
            if now < self._next_run:
                return
            self._scan = self._files()
            self._next_run = now + CLEANUP_INTERVAL
        for _ in range(FILES_PER_TURN):
            if not self._cleaner.has_room():
                return
            number = next(self._scan, None)
            if number is None:
                self._scan = None
                return
            if self._is_garbage(number, now):
                self._cleaner.remove(f"foop/{number}")

    def _files(self) -> Iterator[int]:
        for part in range(self._names.split):
            directory = f"mess/{part}"
            try:
                yield from numbers(directory)
            except OSError:
                self._log(lines.NO_DIRECTORY % directory.encode())

    def _is_garbage(self, number: int, now: int) -> bool:
        """Old, and neither info nor todo knows it; in doubt it stays."""
        try:
            if now <= os.stat(self._names.mess(number)).st_atime + OSSIFIED:
                return False
        except OSError:
            return False
        return _is_missing(self._names.info(number)) and _is_missing(self._names.todo(number))


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
