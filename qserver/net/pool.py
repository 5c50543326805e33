"""The master of a server: starts workers as they are needed, replaces those that end, ends with its port closed.

It never touches a connection. SIGTERM ends it at once; idle workers then end too, busy ones when their session does.
"""

from __future__ import annotations

import os
import select
import time

from qserver.base import chain, signals
from qserver.net.log import Log
from qserver.net.programs import Called
from qserver.net.rehearsal import TIMES, rehearse
from qserver.net.scoreboard import FREE, IDLE, NOWHERE, Scoreboard
from qserver.net.site import Site
from qserver.net.starter import Starter
from qserver.net.worker import SPARE, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from qserver.net.bindings import Listener
    from qserver.net.options import Options
    from qserver.net.programs import Program

    class Runs(Protocol):
        """A worker."""

        def run(self) -> int: ...

    Make = Callable[[Site, int], Runs]
    """A worker for a site and a cell, made in its own process."""

START_WITH = 4
"""Workers ready when there were too few."""
STARTERS = 2
"""Workers of a program started as a process; more are needed only where look-ups hold them up."""
TICK = 1.0
"""Seconds after which the master looks about even if nobody asked it to."""
PAUSE = 1.0
"""Seconds until the next attempt when a worker could not be forked, or died young without a session."""
YOUNG = 1.0
"""Seconds of life after which a worker's death says nothing of the next one's."""
FIRST_UNKNOWN = -2
"""The owner of a cell is a number below this one while the worker it is for does not know its pid."""


class Pool:
    """The master's knowledge: its workers, and the sessions of dead workers whose programs still run.

    `exclusive`: a worker has its cell for life and serves one session at a time. `split`: called first in a worker, it may fork
    another process and say there what that one runs. `reload`: what SIGHUP does, and what is done every `renew` seconds;
    True: new workers replace the old ones.
    """

    __slots__ = (
        "_adopted", "_asked", "_exclusive", "_make", "_next", "_pause_until", "_poll", "_reload", "_renew", "_renew_at",
        "_site", "_split", "_wake_up", "_workers",
    )  # fmt: skip

    def __init__(
        self, site: Site, make: Make, *, exclusive: bool, split: Callable[[], Runs | None] = lambda: None,
        reload: Callable[[], bool] | None = None, renew: float = 0.0,
    ) -> None:  # fmt: skip
        self._site = site
        self._make = make
        self._asked = False
        """For more workers, by one who may have to wait for somebody."""
        self._exclusive = exclusive
        self._split = split
        self._next = FIRST_UNKNOWN
        self._workers: dict[int, tuple[int, float]] = {}  # pid → the number that stood for it before, when it began
        self._adopted: dict[int, tuple[int, int, int]] = {}  # pidfd → cell, pid, status of its worker
        self._pause_until = 0.0
        self._reload = reload
        self._renew = renew
        self._renew_at = time.monotonic() + renew
        self._wake_up = signals.WakeUp((signals.SIGCHLD, signals.SIGTERM, *((signals.SIGHUP,) if reload else ())))
        if reload:
            signals.unblock_all()
        self._poll = select.poll()
        self._poll.register(self._wake_up.fileno(), select.POLLIN)
        self._poll.register(site.poked, select.POLLIN)

    def run(self) -> int:
        """Until SIGTERM; returns 0."""
        site = self._site
        if site.log.verbose:
            site.log.status(0)
        while True:
            self._start_workers()
            self._asked = False
            site.titles.master(site.board.sessions(), site.board.limit)
            for fd, _ in self._poll.poll(TICK * 1000):
                if fd == self._wake_up.fileno():
                    caught = self._wake_up.drain()
                    if signals.SIGTERM in caught:
                        site.shut()
                        return 0
                    if signals.SIGHUP in caught:
                        self._replace_workers()
                    self._reap()
                elif fd == site.poked:
                    site.take_pokes()
                    self._asked = True
                else:
                    self._end_adopted(fd)
            if self._renew and time.monotonic() >= self._renew_at:
                self._replace_workers()

    def _replace_workers(self) -> None:
        """By others that know what can be read again, if it can."""
        self._renew_at = time.monotonic() + self._renew
        if self._reload is not None and self._reload():
            self._site.begin_era()

    def _start_workers(self) -> None:
        """As many as should stand ready, within the limit."""
        while self._wants_worker() and time.monotonic() >= self._pause_until:
            with self._site.board.lock:
                cell = self._site.board.claim(self._next)
            if cell == NOWHERE:
                return
            self._start_worker(cell)
            self._next -= 1

    def _wants_worker(self) -> bool:
        states = self._site.board.states()
        if FREE not in states:
            return False
        if not self._exclusive and not self._site.grows:
            return len(self._workers) < STARTERS or (self._asked and IDLE not in states)
        ready = states.count(IDLE)
        return ready < SPARE or (ready < START_WITH and len(self._workers) < START_WITH)

    def _start_worker(self, cell: int) -> None:
        """Fork a worker that has the cell. No signal may reach it while it still has the master's handlers."""
        signals.block(*self._wake_up.caught)
        try:
            pid = os.fork()
        except OSError as error:
            self._site.board.set_state(cell, FREE)
            self._site.log.complain("drop", "(111) unable to fork", error)
            self._pause_until = time.monotonic() + PAUSE
            pid = -1
        if pid == 0:
            self._become_worker(cell)
        signals.unblock_all()
        if pid > 0:
            self._workers[pid] = self._next, time.monotonic()

    def _become_worker(self, cell: int) -> NoReturn:
        code, log = 111, self._site.log
        try:
            other = self._split()  # before anything else, so that the two share as much as can be
        except OSError as error:
            log.complain("drop", "(111) unable to fork", error)
            os._exit(code)
        try:
            self._wake_up.close()
            signals.unblock_all()
            self._site.enter_worker()
            if other is None:
                self._site.board.assign(cell, os.getpid())
                other = self._make(self._site, cell)
            code = other.run()
        except BaseException as error:  # noqa: BLE001 - the outermost loop of a process: a bug must say where it is
            if chain.is_shortage(error):
                log.complain("drop", "(111) unable to start worker", error)
            else:
                log.complain("error", f"(111) internal bug: {chain.place(error)}")
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Workers that have ended: their cells are free, or the sessions in them end as their worker did."""
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            before, born = self._workers.pop(pid, (pid, 0.0))
            board = self._site.board
            cells = board.owned_by(pid, before)
            now = time.monotonic()
            if status and now - born < YOUNG and not any(board.is_busy(cell) for cell in cells):
                self._pause_until = now + PAUSE  # not in a session: the next would die of it too
            for cell in cells:
                self._clear(cell, pid, status)

    def _clear(self, cell: int, worker: int, status: int) -> None:
        """A cell of a dead worker. A program that it started runs on; the cell stays busy until it ends."""
        board = self._site.board
        if not board.is_busy(cell):
            board.set_state(cell, FREE)
            self._site.make_room()
            return
        pid = board.program(cell)
        if pid != worker:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                pass
            else:
                self._adopted[fd] = (cell, pid, status)
                self._poll.register(fd, select.POLLIN)
                return
        self._end_session(cell, pid, status)

    def _end_adopted(self, fd: int) -> None:
        """A program whose worker had died has ended; how, only the worker could have known."""
        self._poll.unregister(fd)
        os.close(fd)
        self._end_session(*self._adopted.pop(fd))

    def _end_session(self, cell: int, pid: int, status: int) -> None:
        site = self._site
        with site.board.lock:
            site.board.set_state(cell, FREE)
            if site.log.verbose:
                site.log.end(pid, status)
                site.log.status(site.board.sessions())
        site.make_room()


def serve(name: str, options: Options, env: dict[str, str], listeners: list[Listener], program: Program) -> int:
    """Run tcpserver on `listeners` until SIGTERM; returns its exit code."""

    def make(site: Site, cell: int) -> Server | Starter:
        return Server(site, cell, program) if isinstance(program, Called) else Starter(site, cell, program)

    exclusive = isinstance(program, Called)
    log = Log(name, options.level, options.limit)
    site = Site(options, env, listeners, Scoreboard(options.limit), log, exclusive or options.blocking_look_ups())
    if isinstance(program, Called) and program.rehearsal:
        rehearse(site, lambda stage: _play(stage, program))
    return Pool(site, make, exclusive=exclusive).run()


def _play(stage: Site, program: Called) -> None:
    for _ in range(TIMES):
        Server(stage, 0, program).rehearse(program.rehearsal)
