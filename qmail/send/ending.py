"""The end of a message (delivery 6.6), and how a start finds the messages that are there (6.4)."""

from __future__ import annotations

import os
import time

from qmail.queue.names import numbers
from qmail.send import log as lines
from qmail.send.job import read_info
from qmail.send.schedule import CHANNEL_NAMES, DIRECTORY_PATIENCE, SYSTEM_FAILURE, Agenda

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.queue.names import Names
    from qmail.send.bounce import Bouncer
    from qmail.send.cleaner import Cleaner
    from qmail.send.log import Log

ENDS_PER_TURN = 20


class _StatTrouble(Exception):
    """Whether a file exists could not be found out."""


class Endings:
    """The agenda of messages without recipients left."""

    __slots__ = ("_bouncer", "_cleaner", "_log", "_names", "agenda")

    def __init__(self, names: Names, bouncer: Bouncer, cleaner: Cleaner, log: Log) -> None:
        self._names = names
        self._bouncer = bouncer
        self._cleaner = cleaner
        self._log = log
        self.agenda = Agenda()

    def wake_time(self) -> int | None:
        """When a message is to be ended next."""
        return self.agenda.earliest() if self._cleaner.has_room() else None

    def end_due(self, now: int) -> None:
        """End some of the messages that are due."""
        for _ in range(ENDS_PER_TURN):
            number = self.agenda.take(now) if self._cleaner.has_room() else None
            if number is None:
                return
            if not self._end(number):
                self.agenda.add(number, now + SYSTEM_FAILURE)

    def _end(self, number: int) -> bool:
        """Bounce, forget, remove; False means to try again later."""
        names = self._names
        info = names.info(number)
        try:
            others = [names.path(channel, number) for channel in CHANNEL_NAMES] + [names.todo(number)]
            if any(self._exists(path) for path in others) or not self._exists(info):
                return True
            sender, _ = read_info(names, number)
        except (_StatTrouble, OSError, ValueError):
            return False
        if not self._bouncer.send(number, sender, names.bounce(number), names.mess(number)):
            return False
        self._log(lines.END % number)
        try:
            os.unlink(info)
        except OSError:
            self._log(lines.UNLINK_LATER % info.encode())
            return False
        self._cleaner.remove(f"foop/{number}")
        return True

    def _exists(self, path: str) -> bool:
        return _exists(path, self._log)


def _exists(path: str, log: Log) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        log(lines.STAT_LATER % path.encode())
        raise _StatTrouble from None
    return True


class Finder:
    """Enters the messages of info/ into the agendas: all of them at the start, one again when it could not be seen."""

    __slots__ = ("_add", "_done", "_log", "_names", "failed")

    def __init__(self, names: Names, log: Log, add: Callable[[int, int, int], None], done: Agenda) -> None:
        """`add(channel, number, due)` enters a message; messages without recipients go to `done`."""
        self._names = names
        self._log = log
        self._add = add
        self._done = done
        self.failed = Agenda()

    def find_all(self, now: int) -> None:
        """Goes on only when every directory could be read."""
        for part in range(self._names.split):
            for number in self._read_directory(f"info/{part}"):
                self._find(number, now)

    def _read_directory(self, path: str) -> list[int]:
        while True:
            try:
                return list(numbers(path))
            except OSError:
                self._log(lines.NO_DIRECTORY % path.encode())
                time.sleep(DIRECTORY_PATIENCE)

    def again(self, now: int) -> None:
        """Look again for one that could not be seen."""
        number = self.failed.take(now)
        if number is not None:
            self._find(number, now)

    def _find(self, number: int, now: int) -> None:
        """A channel file's mtime is its next retry; a message still in todo is preprocessed once more instead."""
        names = self._names
        path = names.info(number)
        try:
            os.stat(path)
            if _exists(path := names.todo(number), self._log):
                return
            due = {}
            for channel, kind in enumerate(CHANNEL_NAMES):
                if _exists(path := names.path(kind, number), self._log):
                    due[channel] = int(os.stat(path).st_mtime)
        except FileNotFoundError:
            return
        except (_StatTrouble, OSError) as error:
            if not isinstance(error, _StatTrouble):
                self._log(lines.STAT_LATER % path.encode())
            self.failed.add(number, now + SYSTEM_FAILURE)
            return
        for channel, when in due.items():
            self._add(channel, number, when)
        if not due:
            self._done.add(number, now)
