"""Warm children of a spawner: each takes one identity for life and makes one delivery after another with it.

A fork of a Python process costs more than a whole delivery, so a child that has delivered is kept for the next message to
the same uid and gid. It never changes identity again, holds nothing but its socket between deliveries, and is replaced
from time to time. An errand goes to it as one datagram: the words of the program, with the message and the pipe for its
output as descriptors; one byte comes back, the exit code. A child that dies counts as a crash of its delivery.
"""

from __future__ import annotations

import _socket
import array
import gc
import os
import time

from qserver.base import chain, signals
from qserver.base.errors import TEMPORARY, Die, say
from qserver.base.privileges import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Identity = tuple[int, int]

DELIVERIES = 200
"""After so many a child makes room for a fresh one."""
IDLE_SECONDS = 10.0
MOST_IDLE = 20
LARGEST_ERRAND = 131072
"""Bytes of one datagram; longer ones are for a child of their own."""


class Errand:
    """What a warm child is to do: as whom (None: as we are), which command of ours, its words."""

    __slots__ = ("identity", "name", "words")

    def __init__(self, identity: Identity | None, name: str, words: list[bytes]) -> None:
        self.identity = identity
        self.name = name
        self.words = words

    def pack(self) -> bytes:
        """As a datagram."""
        return b"\0".join([os.fsencode(self.name), *self.words])


class Worker:
    """A warm child, as its spawner sees it."""

    __slots__ = ("identity", "idle_since", "pid", "served", "socket")

    def __init__(self, pid: int, sock: _socket.socket, identity: Identity | None) -> None:
        self.pid = pid
        self.socket = sock
        self.identity = identity
        self.served = 0
        self.idle_since = 0.0

    def send(self, errand: bytes, message: int, out: int) -> bool:
        """Hand over an errand; False when the child cannot take it."""
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [message, out]).tobytes())]
        try:
            self.socket.sendmsg([errand], rights)
        except OSError:
            return False
        self.served += 1
        return True

    def answer(self) -> int | None:
        """The exit code; None when there is none (yet, or any more)."""
        try:
            byte = self.socket.recv(1)
        except OSError:
            return None
        return byte[0] if byte else None


class Crew:
    """The idle children."""

    __slots__ = ("_env", "_idle", "_leave")

    def __init__(self, env: dict[str, str], leave: Callable[[], None]) -> None:
        """`env` is what programs get; a child begins by calling `leave`, which undoes what only the spawner needs."""
        self._env = env
        self._leave = leave
        self._idle: list[Worker] = []

    def __len__(self) -> int:
        return len(self._idle)

    def take(self, identity: Identity | None) -> Worker | None:
        """The child of that identity which was idle for the shortest time; it is not idle any more."""
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].identity == identity:
                return self._idle.pop(at)
        return None

    def hire(self, identity: Identity | None) -> Worker:
        """A new child. Raises OSError when it cannot be made."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _live(theirs, identity, self._env, self._leave)
        theirs.close()
        ours.setblocking(False)
        return Worker(pid, ours, identity)

    def rest(self, worker: Worker) -> None:
        """Its delivery is over."""
        if worker.served >= DELIVERIES:
            worker.socket.close()
            return
        worker.idle_since = time.monotonic()
        self._idle.append(worker)
        if len(self._idle) > MOST_IDLE:
            self._idle.pop(0).socket.close()

    def died(self, pid: int) -> None:
        """Forget an idle child that is dead."""
        self._idle = [worker for worker in self._idle if worker.pid != pid]

    def dismiss_idle(self) -> float | None:
        """Let those go who had nothing to do for long; returns the seconds until the next one is to go."""
        now = time.monotonic()
        while self._idle and self._idle[0].idle_since + IDLE_SECONDS <= now:
            self._idle.pop(0).socket.close()
        return self._idle[0].idle_since + IDLE_SECONDS - now if self._idle else None


def close_all_but(*kept: int) -> None:
    """In a forked child: close every descriptor from 3 on that is not to be kept."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue  # the one that read the directory


def _live(sock: _socket.socket, identity: Identity | None, env: dict[str, str], leave: Callable[[], None]) -> NoReturn:
    """The child's life: nothing but its socket stays open; it ends when its spawner closes the other side."""
    code = TEMPORARY
    try:
        leave()
        signals.default(signals.SIGPIPE)
        _rest()
        close_all_but(sock.fileno())
        if identity is not None:
            become(*identity)
        gc.freeze()
        while (errand := _receive(sock)) is not None:
            sock.send(bytes([_run(*errand, env) & 0xFF]))
        code = 0
    finally:
        os._exit(code)


def _rest() -> None:
    """Between deliveries there is nothing on 0, 1 and 2, and nobody's home is the working directory."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.chdir("/")


def _receive(sock: _socket.socket) -> tuple[str, list[str], int, int] | None:
    """(command, words, message, pipe); None when the spawner has let us go."""
    data, ancillary, _, _ = sock.recvmsg(LARGEST_ERRAND, _socket.CMSG_SPACE(4 * 4), _socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    message, out = array.array("i", ancillary[0][2])
    name, *words = [os.fsdecode(word) for word in data.split(b"\0")]
    return name, words, message, out


def _run(name: str, words: list[str], message: int, out: int, env: dict[str, str]) -> int:
    """One delivery; returns the exit code that the program would have ended with."""
    os.dup2(message, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(message)
    os.close(out)
    try:
        return int(chain.load(name).main([name, *words], dict(env)))
    except Die as death:
        if death.text:
            say(death.text)
        return death.code
    except Exception as error:  # noqa: BLE001 - a bug is a temporary failure, and the report says what it is
        say(f"{name}: fatal: internal bug: {type(error).__name__}: {error}".replace("\n", " "))
        return TEMPORARY
    finally:
        _rest()
