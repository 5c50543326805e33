"""qmail-queued: the queue service for callers who may not write the queue (delivery 2.1).

A master holds the socket and warm workers; each worker serves one caller after another, each with its own fsyncs, so that
the kernel can group them. A slow caller holds one worker only: the master forks another whenever few are idle.
"""

from __future__ import annotations

import _socket
import errno
import mmap
import os
import select
import time

from qmail.queue import handover, intake
from qmail.queue.site import Site
from qserver.base import signals
from qserver.base.errors import say
from qserver.base.files import lock_exclusive, open_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

SPARE = 2
"""Idle workers below which another one is forked."""
MOST = 250
BACKLOG = 128
IDLE, BUSY, FREE = 1, 2, 0
RETIRE_AFTER = 1000
"""Messages a worker takes before it makes room for a fresh one."""
DEADLINE = 86400
PREDECESSOR_PATIENCE = 2.0
"""Seconds a new service waits for an earlier one to end before it leaves the place to it."""


def claim(path: str) -> int | None:
    """The right to listen at `path`: a locked descriptor that only the master holds, or None when another keeps it.

    A killed stack's master is given a moment to end. Its workers, which may still finish a message that came by the old
    socket, do not count. Raises OSError.
    """
    lock = open_lock(path.removesuffix(".sock") + ".lock")
    deadline = time.monotonic() + PREDECESSOR_PATIENCE
    while not lock_exclusive(lock, wait=False):
        if time.monotonic() > deadline:
            os.close(lock)
            return None
        time.sleep(0.05)
    return lock


def answers(path: str) -> bool:
    """Whether a service listens there already."""
    try:
        handover.connect(path).close()
    except OSError:
        return False
    return True


def listen(path: str) -> _socket.socket:
    """Bind the socket, replacing a stale one, open to every local user. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    before = os.umask(0o111)
    try:
        handover.with_address(path, sock.bind)
    finally:
        os.umask(before)
    sock.listen(BACKLOG)
    return sock


class Service:
    """The master. `run` returns when it gets TERM or its starter is gone."""

    __slots__ = (
        "_board", "_life_read", "_life_write", "_lock", "_parent", "_poke_read", "_poke_write", "_site", "_slots",
        "_socket", "_wake",
    )  # fmt: skip

    def __init__(self, site: Site, sock: _socket.socket, lock: int) -> None:
        self._site = site
        self._lock = lock
        self._socket = sock
        self._board = mmap.mmap(-1, MOST)
        self._slots: dict[int, int] = {}
        self._parent = os.getppid()
        self._poke_read, self._poke_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # nothing is ever written: a worker sees the end of this pipe when the master is gone, however it went
        self._life_read, self._life_write = os.pipe2(os.O_CLOEXEC)
        sock.setblocking(False)
        self._wake = signals.WakeUp((signals.SIGCHLD, signals.SIGTERM, signals.SIGINT))

    def run(self) -> int:
        """Keep enough workers idle; end in order."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        poller.register(self._poke_read, select.POLLIN)
        running = True
        while running:
            self._reap()
            self._fork_what_is_missing()
            poller.poll(1000)
            self._drain()
            caught = self._wake.drain()
            ended = signals.SIGTERM in caught or signals.SIGINT in caught
            running = not ended and os.getppid() == self._parent
        for pid in self._slots:
            _kill(pid)
        return 0

    def _drain(self) -> None:
        try:
            os.read(self._poke_read, 4096)
        except BlockingIOError:
            return

    def _reap(self) -> None:
        while self._slots:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._board[slot] = FREE

    def _fork_what_is_missing(self) -> None:
        while self._board[:].count(IDLE) < SPARE:
            slot = self._board.find(bytes([FREE]))
            if slot < 0:
                return
            self._board[slot] = IDLE
            try:
                pid = os.fork()
            except OSError:
                self._board[slot] = FREE
                return
            if pid == 0:
                self._work(slot)
            self._slots[pid] = slot

    def _work(self, slot: int) -> NoReturn:
        """A worker's life."""
        code = 111
        try:
            self._wake.close()
            os.close(self._lock)
            os.close(self._poke_read)
            os.close(self._life_write)
            signals.ignore(signals.SIGPIPE)
            poller = select.poll()
            poller.register(self._socket.fileno(), select.POLLIN)
            poller.register(self._life_read, select.POLLIN)
            served = 0
            while served < RETIRE_AFTER and self._master_lives(poller):
                served += self._serve_one(slot)
            code = 0
        except Exception as error:  # noqa: BLE001 - a worker's outermost loop: a bug is told, and is no fork storm
            say(f"qmail-queued: fatal: internal bug: {type(error).__name__}: {error}")
            time.sleep(1)
        finally:
            os._exit(code)

    def _master_lives(self, poller: select.poll) -> bool:
        """Wait for a caller; False when the master is gone."""
        return all(fd != self._life_read for fd, _ in poller.poll())

    def _serve_one(self, slot: int) -> bool:
        """Accept and serve one caller; False when another worker was quicker."""
        try:
            fd, _ = self._socket._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.1)
            return False
        self._board[slot] = BUSY
        if self._board[:].count(IDLE) < SPARE:
            self._poke()
        caller = _socket.socket(fileno=fd)
        try:
            serve(self._site, caller)
        except OSError:
            pass  # the caller went away; its message is complete in todo or invisible
        finally:
            caller.close()
            self._board[slot] = IDLE
        return True

    def _poke(self) -> None:
        try:
            os.write(self._poke_write, b"\0")
        except OSError:
            return


def serve(site: Site, caller: _socket.socket) -> None:
    """One request: receive, queue, answer. Raises OSError."""
    request = handover.receive(caller)
    if request is None:
        return
    try:
        env = _trusted(site, request)
        signals.alarm(DEADLINE)
        code = intake.take(site, request.message, request.envelope, request.pid or os.getpid(), request.uid, env)
        signals.alarm(0)
    finally:
        request.close()
    caller.send(bytes([code & 0xFF]))


def _trusted(site: Site, request: handover.Request) -> Mapping[str, str]:
    """The scanner's settings, taken from root, the queue's owner and qmaild only."""
    trusted = (0, site.identities.queue_uid, site.identities.uid("qmaild"))
    return request.env if request.uid in trusted else {}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signals.SIGTERM)
    except ProcessLookupError:
        return
