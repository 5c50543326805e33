"""A worker: the accept loop, and one session after another (ucspi 5, Workers).

There are two kinds. A `Server` has one cell of the scoreboard for life, calls a network program of ours in its own
process and serves one session at a time. A `Starter` (starter.py) starts a process for each session and goes on accepting.

All workers wait for the listening sockets with EPOLLEXCLUSIVE (one connection wakes one worker), and for the end of
their master, whose end of the life pipe closes then.
"""

from __future__ import annotations

import _socket
import errno
import os
import select

from qserver.base import chain, signals
from qserver.base.errors import Die, say
from qserver.net import environ
from qserver.net.connection import Connection
from qserver.net.reception import DENIED, TROUBLE, Dropped
from qserver.net.scoreboard import BUSY, FREE, IDLE
from qserver.net.standing import Standing
from qserver.net.visitor import Visitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.net.bindings import Listener
    from qserver.net.programs import Called
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

    def prepare(self) -> None:
        """What is this process's alone."""
        self._poll = select.epoll()
        self._poll.register(self._site.life, select.EPOLLIN)
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

    def _unwrap(self, visitor: Visitor, cell: int) -> Dropped | None:
        """Who the client of a proxy is; or why it is dropped. It may keep us waiting, and others must be served meanwhile."""
        if not self._reception.is_proxy(visitor.ip):
            return None
        self._board.set_state(cell, BUSY)
        self._ask_for_workers()
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

    __slots__ = ("_cell", "_code", "_left", "_program", "_standing")

    def __init__(self, site: Site, cell: int, program: Called) -> None:
        super().__init__(site)
        self._cell = cell
        self._program = program
        self._left = site.options.sessions
        self._code = 0

    def prepare(self) -> None:
        """As above."""
        super().prepare()
        signals.ignore(signals.SIGPIPE)
        self._standing = Standing()

    def rehearse(self, words: bytes) -> None:
        """Serve a visitor who says that and leaves, in the master; it was made for one session. Raises OSError."""
        self._board.assign(self._cell, self.pid)
        self.prepare()
        visitor = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        visitor.connect(self._site.listeners[0].sock.getsockname())
        visitor.send(words)
        visitor.shutdown(_socket.SHUT_WR)
        try:
            self._run()
        except Shut:  # whoever plays with us is gone
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        finally:
            visitor.close()
            self._standing.close()
            self._poll.close()

    def run(self) -> int:
        """Serve until the master is gone, the worker has done its share, or it is not needed; returns the exit code."""
        self.prepare()
        self._site.watch_master()
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
        dropped = self._unwrap(visitor, self._cell)
        if not self._begin(visitor, self._cell):
            self._board.set_state(self._cell, IDLE)
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
        self._standing.restore()
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
