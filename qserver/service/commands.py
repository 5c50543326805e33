"""The bytes that svc writes to the fifo `control` (daemontools 5.2), and the signals that stand for some of them (5.7)."""

from __future__ import annotations

import os
import select

from qserver.base import signals
from qserver.service import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.service.process import Process

AS_COMMANDS: dict[int, bytes] = {
    signals.SIGTERM: b"dx",
    signals.SIGINT: b"dx",
    signals.SIGTSTP: b"p",
    signals.SIGCONT: b"c",
}
"""Signals to supervise and the commands they stand for."""

SIGNALS: dict[int, int] = {
    ord("h"): signals.SIGHUP,
    ord("a"): signals.SIGALRM,
    ord("i"): signals.SIGINT,
    ord("t"): signals.SIGTERM,
    ord("k"): signals.SIGKILL,
    ord("q"): signals.SIGQUIT,
    ord("1"): signals.SIGUSR1,
    ord("2"): signals.SIGUSR2,
    ord("w"): signals.SIGWINCH,
}
WANTS: dict[int, int] = {ord("u"): machine.WANT_UP, ord("d"): machine.WANT_DOWN, ord("o"): machine.WANT_ONCE}
PAUSES: dict[int, bool] = {ord("p"): True, ord("c"): False}
GROUPS: dict[int, bool] = {ord("+"): True, ord("="): False}
PREFIXES = b"+=Ll"
PREFIX_PATIENCE = 50
"""Milliseconds to wait for the rest of a batch that ends in a prefix: C's svc writes byte by byte."""
BLOCK = 512
MOST_BLOCKS = 64
"""Blocks of commands that are read before signals and the ends of children get their turn."""


class Commands:
    """Reads batches of commands from `fd` and has the processes carry them out; bytes that mean nothing are passed over.

    `leave` is called for `x`; `log` is None where there is no log process.
    """

    __slots__ = ("_fd", "_group", "_leave", "_log", "_main", "_target")

    def __init__(self, fd: int, main: Process, log: Process | None, leave: Callable[[], None]) -> None:
        self._fd = fd
        self._main = main
        self._log = log
        self._leave = leave
        self._target: Process | None = main
        """Whom the next command addresses; None where there is no log process."""
        self._group = False
        """Whether signals go to its process group."""

    def heed(self, number: int) -> None:
        """A signal to supervise."""
        batch = self._target, self._group
        self._end_of_batch()
        self._obey(AS_COMMANDS.get(number, b""))
        self._target, self._group = batch

    def read(self) -> None:
        """The commands in the fifo; a batch ends when it is empty, but not right behind a prefix."""
        for _ in range(MOST_BLOCKS):
            try:
                block = os.read(self._fd, BLOCK)
            except OSError:
                block = b""
            if not block:
                self._end_of_batch()
                return
            self._obey(block)
            if block[-1] in PREFIXES:
                self._await_more()

    def _end_of_batch(self) -> None:
        self._target, self._group = self._main, False

    def _await_more(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.poll(PREFIX_PATIENCE)

    def _obey(self, commands: bytes) -> None:
        for byte in commands:
            if byte in GROUPS:
                self._group = GROUPS[byte]
            elif byte in b"Ll":
                self._target = self._main if byte == ord("l") else self._log
            elif byte == ord("x"):
                self._leave()
            elif self._target is not None:
                self._address(self._target, byte)

    def _address(self, target: Process, byte: int) -> None:
        if byte in WANTS:
            target.happen(WANTS[byte], group=self._group)
        elif byte in PAUSES:
            target.pause(PAUSES[byte], self._group)
        elif byte in SIGNALS:
            target.kill(SIGNALS[byte], self._group)
