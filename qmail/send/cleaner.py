"""The connection to qmail-clean, who removes the files that qmail-send may not (delivery 4.3).

Commands are answered in order, so that several may be on their way: nobody waits for an unlink.
"""

from __future__ import annotations

import errno
import os

from qmail.send import log as lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.send.log import Log

    Then = Callable[[bool], None]

MOST_PENDING = 500
"""Commands that may wait for their answer; all of them together fit into a pipe."""


class Cleaner:
    """qmail-send's end. `alive` turns False when qmail-clean is gone."""

    __slots__ = ("_log", "_pending", "_rfd", "_wfd", "alive")

    def __init__(self, wfd: int, rfd: int, log: Log) -> None:
        self._wfd = wfd
        self._rfd = rfd
        self._log = log
        self._pending: list[tuple[bytes, Then]] = []
        self.alive = True

    def fileno(self) -> int:
        """The descriptor to poll for answers."""
        return self._rfd

    def has_room(self) -> bool:
        """Whether another command may be sent."""
        return self.alive and len(self._pending) < MOST_PENDING

    def remove(self, what: str, then: Then | None = None) -> None:
        """Send `foop/17/40` or `todo/17/40`; `then` is told whether it was done. Never waits; only with `has_room`."""
        command = what.encode()
        try:
            os.write(self._wfd, command + b"\0")
        except OSError:
            self._lost()
            return
        self._pending.append((command, then or _nothing))

    def read(self) -> None:
        """Take the answers that are there."""
        try:
            answers = os.read(self._rfd, MOST_PENDING)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return
            answers = b""
        if not answers:
            self._lost()
            return
        answered, self._pending = self._pending[: len(answers)], self._pending[len(answers) :]
        for (command, then), letter in zip(answered, answers, strict=False):
            done = letter == 0x2B
            if not done:
                self._log(lines.NOT_CLEANED % command)
            then(done)

    def _lost(self) -> None:
        if self.alive:
            self.alive = False
            self._log(lines.LOST_CLEAN)


def _nothing(_done: bool) -> None:
    """For commands whose outcome only the log wants to know."""
