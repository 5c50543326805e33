"""A worker that starts a process for each session and goes on accepting (ucspi 5, Workers).

It claims a cell of the scoreboard before each accept and gives it back when the process has ended.
"""

from __future__ import annotations

import os
import select

from qserver.base import signals
from qserver.net import environ
from qserver.net.programs import NO_PROCESS
from qserver.net.reception import DENIED, TROUBLE, Dropped
from qserver.net.scoreboard import FREE, IDLE, NOWHERE
from qserver.net.worker import RETIRE_AFTER, Shut, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.bindings import Listener
    from qserver.net.programs import Forked, Spawned
    from qserver.net.site import Site
    from qserver.net.visitor import Visitor


class Starter(Worker):
    """Starts a process for each session and goes on accepting."""

    __slots__ = ("_cell", "_full", "_program", "_sessions", "_silent", "_wake_up")

    def __init__(self, site: Site, cell: int, program: Forked | Spawned) -> None:
        super().__init__(site)
        self._program = program
        self._cell = cell
        self._sessions: dict[int, int] = {}  # pid → cell
        self._silent: set[int] = set()
        """Those of which the log does not speak."""
        self._wake_up = signals.WakeUp((signals.SIGCHLD,))
        signals.ignore(signals.SIGPIPE)
        self.prepare()
        self._poll.register(self._wake_up.fileno(), select.EPOLLIN)
        self._full = select.epoll()  # what is waited for while no cell is free
        for fd in (site.life, site.room, self._wake_up.fileno()):
            self._full.register(fd, select.EPOLLIN)

    def run(self) -> int:
        """Start programs until the master is gone; then wait for those that run. Returns the exit code."""
        try:
            self._run()
        except Shut:
            self._finish()
        return 0

    def _run(self) -> None:
        site, children = self._site, self._wake_up.fileno()
        site.titles.idle()
        while True:
            if self._cell == NOWHERE:
                with self._board.lock:
                    self._cell = self._board.claim(self.pid)
            listener = None
            ready = self._full.poll(-1, 4) if self._cell == NOWHERE else self._poll.poll(RETIRE_AFTER, 4)
            if not ready and not self._sessions and self._is_superfluous(self._cell):
                return
            for fd, _ in ready:
                if fd == site.life:
                    raise Shut
                if fd == children:
                    self._wake_up.drain()
                    self._reap(os.WNOHANG)
                elif fd == site.room:
                    site.take_room()
                else:
                    listener = self._by_fd[fd]
            if listener is not None and (visitor := self._accept(listener)) is not None:
                self._serve(visitor, listener)

    def _serve(self, visitor: Visitor, listener: Listener) -> None:
        """Begin a session; it is over here when the program runs."""
        cell = self._cell
        dropped = self._unwrap(visitor, cell)
        if self._begin(visitor, cell):
            self._cell = NOWHERE
            if self._site.grows:
                self._ask_for_workers()
                self._site.titles.busy(visitor.ip)
            self._receive(visitor, listener, cell, dropped)
            if self._site.grows:
                self._site.titles.idle()
        else:
            self._board.set_state(cell, IDLE)
        os.close(visitor.fd)

    def _receive(self, visitor: Visitor, listener: Listener, cell: int, trouble: Dropped | None) -> None:
        """Reception, and the program's start."""
        told = self._log.verbose and not visitor.silent
        try:
            if trouble is not None:
                raise trouble
            decision = self._reception.examine(visitor, listener, lambda: self._board.sessions_before(cell, visitor.ip))
        except Dropped as dropped:
            if told:
                self._log.pid(self.pid, visitor.ip)
            self._log.complain(dropped.kind, str(dropped))
            self._leave(cell, self.pid, dropped.code << 8, told)
            return
        if decision.allowed:
            self._start_program(visitor, cell, environ.for_visitor(self._start, visitor, decision.settings))
            return
        if told:
            self._log.pid(self.pid, visitor.ip)
            self._log.verdict("deny", self.pid, visitor, decision.note)
        self._leave(cell, self.pid, DENIED << 8, told)

    def _start_program(self, visitor: Visitor, cell: int, env: dict[str, str]) -> None:
        trouble, told = None, self._log.verbose and not visitor.silent
        try:
            pid = self._program.start(visitor.fd, env)
        except OSError as error:
            trouble, pid = error, self.pid
        if trouble is not None and trouble.errno in NO_PROCESS:
            self._log.complain("drop", f"({TROUBLE}) unable to fork", trouble)
            self._leave(cell, None, 0, told)
            return
        if told:
            self._log.pid(pid, visitor.ip)
            self._log.verdict("ok", pid, visitor)
        if trouble is not None:
            self._log.complain("fatal", f"({TROUBLE}) unable to run: {self._program.argv[0]}", trouble)
            self._leave(cell, self.pid, TROUBLE << 8, told)
            return
        self._sessions[pid] = cell
        if visitor.silent:
            self._silent.add(pid)
        self._board.set_program(cell, pid)

    def _reap(self, flags: int) -> None:
        """End the sessions whose programs have ended."""
        while self._sessions:
            pid, status = os.waitpid(-1, flags)
            if pid == 0:
                return
            cell = self._sessions.pop(pid, None)
            if cell is not None:
                told = self._log.verbose and pid not in self._silent
                self._silent.discard(pid)
                self._leave(cell, pid, status, told)

    def _leave(self, cell: int, pid: int | None, status: int, told: bool) -> None:
        """The session is over; its cell is this worker's next one, or free for all.

        `told`: the log is to hear of it; `pid` None: no `end` line.
        """
        board = self._board
        with board.lock:
            was_full = FREE not in board.states()
            if self._cell == NOWHERE:
                self._cell = cell
                board.assign(cell, self.pid)
            board.set_state(cell, IDLE if self._cell == cell else FREE)
            if told:
                if pid is not None:
                    self._log.end(pid, status)
                if not self._site.is_orphan():
                    self._log.status(board.sessions())
        if was_full and self._cell != cell:
            self._site.make_room()

    def _finish(self) -> None:
        """The master is gone: let go of the port, see the sessions to their ends."""
        self._site.shut()
        if self._cell != NOWHERE:
            self._board.set_state(self._cell, FREE)
        self._reap(0)
