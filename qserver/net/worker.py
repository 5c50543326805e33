"""A worker: the accept loop, and one session after another (ucspi 5, Workers).

There are two kinds. A `Server` has one cell of the scoreboard for life, calls a network program of ours in its own
process and serves one session at a time. A `Starter` starts a process for each session and goes on accepting; it claims
a cell before each accept and gives it back when the process has ended.

All workers wait for the listening sockets with EPOLLEXCLUSIVE (one connection wakes one worker), and for the end of
their master, whose end of the life pipe closes then.
"""

from __future__ import annotations

import errno
import os
import select

from qserver.base import chain, signals
from qserver.base.errors import Die, say
from qserver.net import environ
from qserver.net.connection import Connection
from qserver.net.programs import NO_PROCESS
from qserver.net.reception import DENIED, TROUBLE, Dropped
from qserver.net.scoreboard import BUSY, FREE, IDLE, NOWHERE
from qserver.net.visitor import Visitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.net.bindings import Listener
    from qserver.net.programs import Called, Forked, Spawned
    from qserver.net.site import Site

SPARE = 2
"""Fewer workers ready than this, and the master is asked for more."""
MOST_SPARE = 8
RETIRE_AFTER = 10.0
"""Seconds a worker is idle before it asks whether it is needed."""
SHORT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE = 1.0
"""Seconds without accepting when there are no descriptors; the connection waits in the kernel."""
LEAKED = 64
"""A program that left so many descriptors open gets a new worker."""
RESTORED = (signals.SIGCHLD, signals.SIGTERM, signals.SIGPIPE, signals.SIGALRM, signals.SIGHUP, signals.SIGINT)


class Shut(Exception):
    """The port was closed: by the master before it ended, or by a worker that saw it gone."""


class Worker:
    """What both kinds have: the way from the listening socket to a visitor whose session has begun."""

    __slots__ = ("_board", "_by_fd", "_log", "_poll", "_reception", "_site", "_start", "pid")

    def __init__(self, site: Site) -> None:
        self.pid = os.getpid()
        self._site = site
        self._board = site.board
        self._log = site.log
        self._reception = site.reception
        self._start = site.start
        self._by_fd = {listener.sock.fileno(): listener for listener in site.listeners}
        self._poll = select.epoll()
        self._poll.register(site.life, select.EPOLLIN)
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def _accept(self, listener: Listener) -> Visitor | None:
        """The next connection; None when another worker was faster, or nothing can be accepted now.

        Raises Shut when the port is closed.
        """
        try:
            fd, peer = listener.sock._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBADF):
                raise Shut from None
            if error.errno in SHORT_OF_FILES:
                self._log.complain("drop", f"({TROUBLE}) unable to accept", error)
                self._site.wait_for_end(PAUSE)
            return None
        return Visitor(fd, peer)

    def _unwrap(self, visitor: Visitor) -> Dropped | None:
        """Who the client of a proxy is; or why it is dropped."""
        try:
            self._reception.unwrap(visitor)
        except Dropped as dropped:
            return dropped
        return None

    def _begin(self, visitor: Visitor, cell: int) -> bool:
        """Count the session. False: the address has as many as it may have, and is refused."""
        board = self._board
        if not self._site.exact:
            board.set_state(cell, BUSY)
            return True
        most = self._site.options.most_per_address
        with board.lock:
            if most and board.sessions_of(visitor.ip) >= most:
                self._log.complain("warning", f"ip connection limit of {most} exceeded for: {visitor.ip}")
                return False
            board.begin(cell, visitor.ip)
            if self._log.verbose and not visitor.silent:
                self._log.status(board.sessions())
        return True

    def _ask_for_workers(self) -> None:
        """Poke the master when few workers are ready and there could be more."""
        states = self._board.states()
        if states.count(IDLE) < SPARE and FREE in states:
            self._site.poke()

    def _is_superfluous(self, cell: int) -> bool:
        """Whether enough others are ready; if so the cell is given up at once, so that not all leave together."""
        with self._board.lock:
            if self._board.states().count(IDLE) <= MOST_SPARE:
                return False
            self._board.set_state(cell, FREE)
            return True

    def _end(self, cell: int, pid: int, status: int, state: bytes, told: bool) -> None:
        """The session is over: the cell takes `state`. `told`: the log is to hear of it."""
        board = self._board
        if not told:
            board.set_state(cell, state)
            return
        with board.lock:
            board.set_state(cell, state)
            self._log.end(pid, status)
            if not self._site.is_orphan():  # a new server may be counting by now
                self._log.status(board.sessions())


class Server(Worker):
    """Serves sessions in this process, one at a time."""

    __slots__ = ("_cell", "_code", "_directory", "_dispositions", "_left", "_program", "_umask")

    def __init__(self, site: Site, cell: int, program: Called) -> None:
        super().__init__(site)
        self._cell = cell
        self._program = program
        self._left = site.options.sessions
        self._code = 0
        self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        signals.ignore(signals.SIGPIPE)
        site.watch_master()
        self._dispositions = [signals.disposition(number) for number in RESTORED]

    def run(self) -> int:
        """Serve until the master is gone, the worker has done its share, or it is not needed; returns the exit code."""
        try:
            self._run()
        except Shut:
            pass
        return self._code

    def _lost(self, fd: int) -> None:
        """The master is gone. Raises Shut."""
        if fd == self._site.life:
            self._site.shut()
        raise Shut

    def _run(self) -> None:
        idle = self._site.titles.idle
        first = None
        idle()
        while self._left > 0:
            ready = self._poll.poll(RETIRE_AFTER, 4)
            if not ready:
                if self._is_superfluous(self._cell):
                    return
                continue
            for fd, _ in ready:
                if fd not in self._by_fd:
                    self._lost(fd)
            visitor = self._accept(self._by_fd[ready[0][0]])
            if visitor is None:
                continue
            if first is None:
                first = visitor.fd
            elif visitor.fd > first + LEAKED:
                self._left = 0
            self._serve(visitor, self._by_fd[ready[0][0]])
            idle()

    def _serve(self, visitor: Visitor, listener: Listener) -> None:
        """One session from its first to its last log line."""
        dropped = self._unwrap(visitor)
        if not self._begin(visitor, self._cell):
            os.close(visitor.fd)
            return
        self._ask_for_workers()
        told = self._log.verbose and not visitor.silent
        self._site.titles.busy(visitor.ip)
        pid, status = self._session(visitor, listener, dropped, told)
        try:
            os.close(visitor.fd)
        except OSError:  # the program did
            pass
        self._restore()
        self._left -= 1
        self._end(self._cell, pid, status, IDLE if self._left > 0 else FREE, told)

    def _session(self, visitor: Visitor, listener: Listener, trouble: Dropped | None, told: bool) -> tuple[int, int]:
        """Reception and program; returns the pid for the log and the wait status."""
        if told:
            self._log.pid(self.pid, visitor.ip)
        return self.pid, self._receive(visitor, listener, trouble, told) << 8

    def _receive(self, visitor: Visitor, listener: Listener, trouble: Dropped | None, told: bool) -> int:
        """Reception and program; returns the exit code."""
        try:
            if trouble is not None:
                raise trouble
            decision = self._reception.examine(visitor, listener, self._sessions_before(visitor))
        except Dropped as dropped:
            self._log.complain(dropped.kind, str(dropped))
            return dropped.code
        if told:
            self._log.verdict("ok" if decision.allowed else "deny", self.pid, visitor, decision.note)
        if not decision.allowed:
            return DENIED
        env = environ.for_visitor(self._start, visitor, decision.settings)
        return self._call(env, Connection.from_socket(visitor.fd))

    def _sessions_before(self, visitor: Visitor) -> Callable[[], int]:
        return lambda: self._board.sessions_before(self._cell, visitor.ip)

    def _call(self, env: dict[str, str], connection: Connection) -> int:
        """The program; a bug in it is one line in the log and the end of this worker."""
        program = self._program
        try:
            return program.serve(list(program.argv), env, connection) & 255
        except Die as death:
            if death.text:
                say(death.text)
            return death.code
        except (ConnectionError, TimeoutError):  # the client is gone
            return TROUBLE
        except BaseException as error:  # noqa: BLE001 - the outermost loop: a bug must say where it is
            self._left = 0
            self._log.complain("error", f"({TROUBLE}) internal bug in {program.argv[0]}: {chain.place(error)}")
            return TROUBLE

    def _restore(self) -> None:
        """Nothing that a session may have changed reaches the next."""
        signals.alarm(0)
        os.umask(self._umask)
        os.fchdir(self._directory)
        for number, handler in zip(RESTORED, self._dispositions, strict=True):
            if signals.disposition(number) is not handler:
                signals.handle(number, handler)


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
        patience = RETIRE_AFTER if site.grows else -1
        site.titles.idle()
        while True:
            if self._cell == NOWHERE:
                with self._board.lock:
                    self._cell = self._board.claim(self.pid)
            listener = None
            ready = self._full.poll(-1, 4) if self._cell == NOWHERE else self._poll.poll(patience, 4)
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
        dropped = self._unwrap(visitor)
        if self._begin(visitor, cell):
            self._cell = NOWHERE
            if self._site.grows:
                self._ask_for_workers()
                self._site.titles.busy(visitor.ip)
            self._receive(visitor, listener, cell, dropped)
            if self._site.grows:
                self._site.titles.idle()
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
