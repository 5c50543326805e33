"""The main loop of qmail-send: waits, then gives each part a bounded share (delivery 6.1, 6.2).

Descriptors: 0 log; 1, 2 to and from qmail-lspawn; 3, 4 qmail-rspawn; 5, 6 qmail-clean.
"""

from __future__ import annotations

import os
import select
import time

from qmail.control import Controls
from qmail.queue.names import Names, split_of
from qmail.send import log as lines
from qmail.send.arrivals import Arrivals
from qmail.send.bounce import Bouncer
from qmail.send.channel import Channel
from qmail.send.cleaner import Cleaner
from qmail.send.dispatch import Dispatcher
from qmail.send.ending import Endings, Finder
from qmail.send.schedule import CHANNELS, FOREVER
from qmail.send.settings import RereadError, Settings
from qmail.send.sweep import Sweeper
from qserver.base import signals
from qserver.base.files import lock_exclusive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.send.log import Log

LOG_FD = 0
SPAWNERS = ((1, 2), (3, 4))
"""(to, from) of each channel's spawner."""
CLEAN = (5, 6)
CAUGHT = (signals.SIGTERM, signals.SIGALRM, signals.SIGHUP, signals.SIGCHLD)


class CannotStart(Exception):
    """`reason` is what the log says after `cannot start: `."""

    def __init__(self, reason: bytes) -> None:
        super().__init__(reason)
        self.reason = reason


def prepare(home: str, log: Log) -> Sender:
    """Everything before the first turn, in qmail's order. Raises CannotStart. Ends in the queue directory."""
    home = os.path.abspath(home)
    _enter(home, lines.NO_HOME)
    try:
        settings = Settings(Controls(home))
    except (OSError, LookupError):
        raise CannotStart(lines.NO_CONTROLS) from None
    _enter(f"{home}/queue", lines.NO_QUEUE)
    try:
        names = Names(split_of("."))
    except OSError:
        raise CannotStart(lines.NO_QUEUE) from None
    try:
        mutex = os.open("lock/sendmutex", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise CannotStart(lines.NO_MUTEX) from None
    if not lock_exclusive(mutex, wait=False):
        raise CannotStart(lines.ALREADY_RUNNING)
    wake = signals.WakeUp(CAUGHT)
    channels = []
    for (to, back), wanted in zip(SPAWNERS, settings.concurrency, strict=True):
        channels.append(Channel(to, back, min(wanted, _spawn_limit(back))))
    return Sender(home, names, settings, channels, wake, log)


def _enter(directory: str, reason: bytes) -> None:
    try:
        os.chdir(directory)
    except OSError:
        raise CannotStart(reason) from None


def _spawn_limit(fd: int) -> int:
    """The byte with which a spawner begins. Raises CannotStart."""
    try:
        byte = os.read(fd, 1)
    except OSError:
        byte = b""
    if not byte:
        raise CannotStart(lines.NO_SPAWNERS)
    return byte[0]


class Sender:
    """qmail-send after its start."""

    __slots__ = (
        "_arrivals", "_ceilings", "_cleaner", "_dead_child", "_dispatcher", "_endings", "_exiting", "_finder", "_home", "_log",
        "_settings", "_sweeper", "_wake",
    )  # fmt: skip

    def __init__(
        self, home: str, names: Names, settings: Settings, channels: list[Channel], wake: signals.WakeUp, log: Log
    ) -> None:
        self._home = home
        self._settings = settings
        self._wake = wake
        self._log = log
        self._ceilings = [channel.limit for channel in channels]
        self._exiting = False
        self._dead_child: tuple[int, int] | None = None
        self._cleaner = Cleaner(*CLEAN, log)
        self._endings = Endings(names, Bouncer(home, settings, log), self._cleaner, log)
        self._dispatcher = Dispatcher(names, settings, channels, log, self._message_done)
        self._finder = Finder(names, log, self._message_found, self._endings.agenda)
        self._arrivals = Arrivals(names, self._cleaner, log, self._message_arrived)
        self._sweeper = Sweeper(names, self._cleaner, log)

    def run(self) -> int:
        """Work until TERM or the loss of a helper, and until every delivery has ended; returns the exit code."""
        self._finder.find_all(_now())
        self._log(self._dispatcher.status(self._exiting))
        while not (self._exiting and self._dispatcher.idle()):
            self._turn(self._wait())
        self._dispatcher.write_back()
        self._log(lines.EXITING)
        return 0

    def _message_found(self, channel: int, number: int, due: int) -> None:
        self._dispatcher.agendas[channel].add(number, due)

    def _message_arrived(self, number: int, channels: list[int]) -> None:
        now = _now()
        for channel in channels:
            self._dispatcher.agendas[channel].add(number, now)
        if not channels:
            self._endings.agenda.add(number, now)

    def _message_done(self, number: int) -> None:
        self._endings.agenda.add(number, _now())

    def _wait(self) -> set[int]:
        """Sleep until something can be done; returns the descriptors that are ready."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        for channel in self._dispatcher.channels:
            if channel.alive:
                poller.register(channel.rfd, select.POLLIN)
            if channel.wants_to_write:
                poller.register(channel.wfd, select.POLLOUT)
        if not self._exiting:
            poller.register(self._cleaner.fileno(), select.POLLIN)
            poller.register(self._arrivals.results_fd(), select.POLLIN)
            if (trigger := self._arrivals.trigger_fd()) >= 0:
                poller.register(trigger, select.POLLIN)
        try:
            return {fd for fd, _ in poller.poll(self._patience())}
        except OSError:
            self._log(lines.SELECT_TROUBLE)
            return set()

    def _patience(self) -> int:
        """Milliseconds until the first thing is due."""
        if self._dead_child is not None:
            return 0
        now = time.time()
        wake = now + FOREVER
        if not self._exiting:
            times = (
                self._dispatcher.wake_time(int(now)),
                self._endings.wake_time(),
                self._finder.failed.earliest(),
                self._arrivals.wake_time(),
                self._sweeper.wake_time(),
            )
            wake = min(wake, *(due for due in times if due is not None))
        return max(0, int((wake - now) * 1000) + 1) if wake > now else 0

    def _turn(self, ready: set[int]) -> None:
        """One share for each part."""
        now = _now()
        trigger = self._arrivals.trigger_fd()
        for number, channel in zip(CHANNELS, self._dispatcher.channels, strict=True):
            if channel.wfd in ready:
                channel.flush()
            if channel.rfd in ready and not self._dispatcher.read_reports(number, now, self._exiting):
                self._exiting = True
        if self._cleaner.fileno() in ready:
            self._cleaner.read()
        if self._wake.fileno() in ready:
            self._act_on_signals(now)
        elif self._dead_child is not None:
            self._mourn()
        if not self._cleaner.alive:
            self._exiting = True
        if self._exiting:
            return
        if self._arrivals.results_fd() in ready:
            self._arrivals.take_results()
        self._arrivals.work(now, self._settings.rewriter, trigger in ready)
        self._dispatcher.start_due(now)
        self._endings.end_due(now)
        self._finder.again(now)
        self._sweeper.work(now)

    def _act_on_signals(self, now: int) -> None:
        caught = self._wake.drain()
        if signals.SIGTERM in caught:
            self._exiting = True
        if signals.SIGALRM in caught:
            self._dispatcher.make_all_due(now)
        if signals.SIGHUP in caught:
            self._reread()
        if signals.SIGCHLD in caught:
            self._reap()

    def _reread(self) -> None:
        """HUP: the old values stay where the new ones cannot be read."""
        if not os.path.isdir(self._home):
            self._log(lines.REREAD_NO_HOME)
            return
        try:
            self._settings.reread()
        except RereadError as error:
            self._log(lines.REREAD % error.name)
            return
        self._dispatcher.limit(self._settings.concurrency, self._ceilings)

    def _reap(self) -> None:
        """Helpers started by qmail-start are children of this process: one that a signal killed must come back."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSIGNALED(status):
                self._dead_child = (pid, os.WTERMSIG(status))

    def _mourn(self) -> None:
        """A turn later, when the loss of a connection would have shown: it was the queue service or the logger."""
        if not self._exiting and self._dead_child is not None:
            self._log(lines.LOST_CHILD % self._dead_child)
            self._exiting = True
        self._dead_child = None


def _now() -> int:
    return int(time.time())
