"""What a server's master makes before it forks and its workers inherit: sockets, scoreboard, pipes, titles."""

from __future__ import annotations

import fcntl
import os
import select

from qserver.base import signals, title
from qserver.net import environ
from qserver.net.reception import Reception

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.bindings import Listener
    from qserver.net.log import Log
    from qserver.net.options import Options
    from qserver.net.scoreboard import Scoreboard


class Titles:
    """The names of processes in ps (ucspi 12), where setproctitle is installed."""

    __slots__ = ("_name", "_program", "_set")

    def __init__(self, name: str, port: str, program: str) -> None:
        self._name = f"{name}: {port}"
        self._program = program
        self._set = title.setter()

    def master(self, sessions: int, limit: int) -> None:
        """The master's."""
        self._set(f"{self._name} master {sessions}/{limit}")

    def idle(self) -> None:
        """A worker's that has no visitor."""
        self._set(f"{self._name} worker idle")

    def relay(self, what: str) -> None:
        """That of a worker's TLS process: the address it serves, or `idle`."""
        self._set(f"{self._name} tls {what}")

    def busy(self, ip: str) -> None:
        """A worker's in a session."""
        self._set(f"{self._name} worker {ip} {self._program}")


class Site:
    """Shared by all processes of a server. `grows`: there may be as many workers as sessions."""

    __slots__ = ("_era_end", "_life_end", "_master", "_poke", "board", "era", "exact", "grows", "life", "listeners",
                 "log", "options", "poked", "reception", "room",
                 "start", "titles")  # fmt: skip

    def __init__(
        self, options: Options, env: dict[str, str], listeners: list[Listener], board: Scoreboard, log: Log, grows: bool
    ) -> None:
        self.options = options
        self.reception = Reception(options, env)
        self.start = environ.base(env)
        """The environment that every session starts from."""
        self.listeners = listeners
        self.board = board
        self.log = log
        self.grows = grows
        self.exact = log.verbose or options.counts_addresses()
        self.titles = Titles(log.name, listeners[0].port, options.program[0].rpartition("/")[2])
        self._master = os.getpid()
        self.life, self._life_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.era, self._era_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        """A pipe that closes when the workers that know it are to be replaced by others."""
        self.poked, self._poke = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.room = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)

    def close(self) -> None:
        """All but the sockets."""
        for fd in (self.life, self._life_end, self.era, self._era_end, self.poked, self._poke, self.room):
            os.close(fd)
        self.board.close()

    def enter_worker(self) -> None:
        """In a worker: only the master may hold its end of the life pipe."""
        os.close(self._life_end)
        os.close(self._era_end)
        os.close(self.poked)

    def begin_era(self) -> None:
        """In the master: workers that are forked from now on replace all others, each when it is idle."""
        os.close(self._era_end)
        os.close(self.era)
        self.era, self._era_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def watch_master(self) -> None:
        """In a worker that may be busy for long: let the kernel tell (SIGIO) when the master is gone, and close the port.

        Without it a server whose workers are all in sessions would keep its port from its successor.
        """
        try:
            # an open file of our own, since the owner of its signals is a property of the open file
            fd = os.open(f"/proc/self/fd/{self.life}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        signals.handle(signals.SIGIO, self._master_is_gone)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def _master_is_gone(self, _number: int, _frame: object) -> None:
        self.shut()

    def poke(self) -> None:
        """Ask the master to look whether more workers are needed."""
        try:
            os.write(self._poke, b".")
        except (BlockingIOError, BrokenPipeError):  # asked often enough, or nobody there to ask
            return

    def take_pokes(self) -> None:
        """In the master: forget how often it was asked."""
        try:
            os.read(self.poked, 65536)
        except BlockingIOError:
            return

    def make_room(self) -> None:
        """Wake one of the workers that wait for a free cell."""
        os.eventfd_write(self.room, 1)

    def take_room(self) -> None:
        """Having been woken."""
        try:
            os.eventfd_read(self.room)
        except BlockingIOError:  # another one was faster
            return

    def is_orphan(self) -> bool:
        """Whether the master is gone."""
        return os.getppid() != self._master

    def wait_for_end(self, seconds: float) -> None:
        """Pause, but not longer than the master lives."""
        poller = select.poll()
        poller.register(self.life, select.POLLIN)
        poller.poll(seconds * 1000)

    def shut(self) -> None:
        """Close the port for everybody."""
        for listener in self.listeners:
            listener.shut()
            listener.sock.close()
