"""The trigger: a fifo by which qmail-queue wakes qmail-send (delivery 1.4, trigger.c)."""

from __future__ import annotations

import os


def pull(queue: str) -> None:
    """Wake qmail-send. Nobody there, or any other trouble, is no error: the message is found at the next scan."""
    try:
        fd = os.open(f"{queue}/lock/trigger", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"\0")
    except OSError:
        pass
    finally:
        os.close(fd)


class Trigger:
    """qmail-send's end. Readable = pulled. It also holds a write end, so that it never sees the end of file."""

    __slots__ = ("_path", "_read", "_write")

    def __init__(self, queue: str) -> None:
        """Raises OSError."""
        self._path = f"{queue}/lock/trigger"
        self._read = self._write = -1
        self.arm()

    def fileno(self) -> int:
        """The descriptor to poll for reading; another one after each `arm`."""
        return self._read

    def arm(self) -> None:
        """Close and open again, which throws away what was written; to be called *before* todo is scanned."""
        self.close()
        self._read = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._write = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Close both ends."""
        for fd in (self._read, self._write):
            if fd >= 0:
                os.close(fd)
        self._read = self._write = -1
