"""What of its process a program may change, and how it is put back."""

from __future__ import annotations

import os

from qserver.base import signals

RESTORED = (signals.SIGCHLD, signals.SIGTERM, signals.SIGPIPE, signals.SIGALRM, signals.SIGHUP, signals.SIGINT)

NOWHERE = -1


class Standing:
    """What of the process a program may change: directory, umask, alarm, dispositions of signals."""

    __slots__ = ("_directory", "_dispositions", "_umask")

    def __init__(self) -> None:
        try:
            self._directory = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:  # who may not enter it could not come back
            self._directory = NOWHERE
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._dispositions = [signals.disposition(number) for number in RESTORED]

    def restore(self) -> None:
        """As it was."""
        signals.alarm(0)
        os.umask(self._umask)
        if self._directory != NOWHERE:
            os.fchdir(self._directory)
        for number, handler in zip(RESTORED, self._dispositions, strict=True):
            if signals.disposition(number) is not handler:
                signals.handle(number, handler)

    def close(self) -> None:
        """It will not be restored again."""
        if self._directory != NOWHERE:
            os.close(self._directory)
