"""Arrivals: when todo is scanned, which entries are on their way, and what becomes of them (delivery 6.3)."""

from __future__ import annotations

import time

from qmail.queue.names import numbers
from qmail.queue.trigger import Trigger
from qmail.send import log as lines
from qmail.send.schedule import DIRECTORY_PATIENCE, TODO_INTERVAL
from qmail.send.todo import Preprocessor
from qmail.send.workers import Workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmail.queue.names import Names
    from qmail.send.cleaner import Cleaner
    from qmail.send.log import Log
    from qmail.send.rewrite import Rewriter

IN_FLIGHT = 16
"""Entries handed to the threads at once; so few that deliveries of what is ready begin early."""


class Arrivals:
    """Watches the trigger, feeds the threads, passes on what is ready. The current directory is the queue."""

    __slots__ = ("_add", "_busy", "_cleaner", "_log", "_names", "_next_run", "_preprocessor", "_scan", "_trigger", "_workers")

    def __init__(self, names: Names, cleaner: Cleaner, log: Log, add: Callable[[int, list[int]], None]) -> None:
        """`add(number, channels)` is told of each message that has become deliverable."""
        self._names = names
        self._cleaner = cleaner
        self._log = log
        self._add = add
        self._busy: set[int] = set()
        self._scan: Iterator[int] | None = None
        self._next_run = 0
        self._trigger: Trigger | None = None
        self._preprocessor = Preprocessor(names, log)
        self._workers = Workers(self._preprocessor)

    def trigger_fd(self) -> int:
        """The descriptor to poll for the trigger; -1 while it does not matter."""
        return self._trigger.fileno() if self._trigger is not None and self._scan is None else -1

    def results_fd(self) -> int:
        """The descriptor to poll for finished entries."""
        return self._workers.fileno()

    def wake_time(self) -> int | None:
        """When there is work; None when only a result can bring some."""
        if self._scan is None:
            return self._next_run
        return 0 if len(self._busy) < IN_FLIGHT and self._cleaner.has_room() else None

    def work(self, now: int, rewriter: Rewriter, pulled: bool) -> None:
        """Begin a scan if the trigger was pulled or it is time, or go on with one."""
        if self._scan is None:
            if not pulled and now < self._next_run:
                return
            self._arm()
            self._next_run = now + TODO_INTERVAL
            self._scan = self._entries()
        while len(self._busy) < IN_FLIGHT and self._cleaner.has_room():
            number = next(self._scan, None)
            if number is None:
                self._scan = None
                return
            if number not in self._busy:
                self._begin(number, rewriter)

    def _begin(self, number: int, rewriter: Rewriter) -> None:
        """A small entry is written here and only made durable there: threads that take turns at every call are slow."""
        if not self._preprocessor.is_small(number):
            self._workers.prepare(number, rewriter)
        elif (entry := self._preprocessor.begin(number, rewriter)) is not None:
            self._workers.finish(number, entry)
        else:
            return
        self._busy.add(number)

    def take_results(self) -> None:
        """Ask for the removal of what is preprocessed; deliveries begin when it has gone from todo."""
        for number, channels in self._workers.results():
            if channels is None or not self._cleaner.alive:
                self._busy.discard(number)
            else:
                self._cleaner.remove(self._names.todo(number), _Then(self, number, channels))

    def removed(self, number: int, channels: list[int], done: bool) -> None:
        """qmail-clean's answer: the message is in S5, or its entry stays."""
        self._busy.discard(number)
        if done:
            self._add(number, channels)

    def _arm(self) -> None:
        """Without a trigger there are still the regular scans."""
        try:
            if self._trigger is None:
                self._trigger = Trigger(".")
            else:
                self._trigger.arm()
        except OSError:
            self._trigger = None

    def _entries(self) -> Iterator[int]:
        for part in range(self._names.split):
            directory = f"todo/{part}"
            try:
                yield from numbers(directory)
            except OSError:
                self._log(lines.NO_DIRECTORY % directory.encode())
                self._next_run = int(time.time()) + DIRECTORY_PATIENCE


class _Then:
    """What to do at qmail-clean's answer."""

    __slots__ = ("_arrivals", "_channels", "_number")

    def __init__(self, arrivals: Arrivals, number: int, channels: list[int]) -> None:
        self._arrivals = arrivals
        self._number = number
        self._channels = channels

    def __call__(self, done: bool) -> None:
        self._arrivals.removed(self._number, self._channels, done)
