"""A log directory: its files, how it is taken up at start, how it is written and rotated (daemontools 10.4 to 10.6).

The owner-execute bit of a file says that all of it is safely on disk. A crash therefore never loses data: what was being
written or processed is found without the bit at the next start and kept as `@now.u`.
"""

from __future__ import annotations

import fcntl
import os

from qserver.base.errors import fatal
from qserver.base.files import LOCK_OPEN
from qserver.log import processor
from qserver.log.finishing import SAFE, Finishing
from qserver.log.trouble import insist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qserver.log.script import Settings

APPEND = LOCK_OPEN | os.O_CLOEXEC
WRITTEN = 0o644
"""Mode of a file that is being written."""
SAFE_BIT = 0o100
UNFINISHED = b".u"
WINDOW = 2000
"""Bytes below the size limit from which on the end of a line ends the file."""


class LogDirectory:
    """An open log directory. While multilog runs, trouble with it makes it wait, so only `open` raises."""

    __slots__ = ("_directory", "_env", "_fd", "_finishing", "_lock", "_name", "_settings", "size")

    def __init__(self, name: bytes, settings: Settings, env: dict[str, str]) -> None:
        self._name = name
        self._settings = settings
        self._env = env
        self._directory = self._lock = self._fd = -1
        self._finishing = Finishing(name, -1, settings.number)
        self.size = 0
        """Bytes in `current`."""

    def open(self, start: int) -> None:
        """Make and lock the directory, relative to the descriptor `start`, and take it up. Raises Die."""
        self._enter(start)
        self._finishing = Finishing(self._name, self._directory, self._settings.number)
        self._take_lock()
        mode, size = self._stat(b"current")
        if mode & SAFE_BIT:
            self._fd = self._open(b"current", APPEND, "append to")
            self.size = size
        else:
            self._recover()
            os.close(self._open(b"state", os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_NONBLOCK, "write to"))
            self._fd = self._open(b"current", APPEND, "write to")
        try:
            os.fchmod(self._fd, WRITTEN)
        except OSError as error:
            self._die("set mode of", b"current", error)

    def _enter(self, start: int) -> None:
        try:
            os.fchdir(start)
        except OSError as error:
            raise fatal("multilog", "unable to switch to starting directory", error) from None
        try:
            os.mkdir(self._name, 0o700)
        except OSError:
            pass  # opening it tells
        try:
            self._directory = os.open(self._name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.fchdir(self._directory)
        except OSError as error:
            raise fatal("multilog", f"unable to open directory {os.fsdecode(self._name)}", error) from None

    def _take_lock(self) -> None:
        try:
            self._lock = os.open("lock", APPEND, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise fatal("multilog", f"unable to lock directory {os.fsdecode(self._name)}", error) from None

    def _recover(self) -> None:
        """Put away what a crash, or an earlier life, has left."""
        _remove(b"state")
        _remove(b"newstate")
        if self._stat(b"processed")[0] & SAFE_BIT:
            _remove(b"previous")
            self._finishing.finish(b"processed", self._settings.finished)
        else:
            _remove(b"processed")
            self._finishing.finish(b"previous", UNFINISHED)
        self._finishing.finish(b"current", UNFINISHED)

    def _stat(self, name: bytes) -> tuple[int, int]:
        """Mode and size of a file; (0, 0) if there is none."""
        try:
            found = os.stat(name)
        except FileNotFoundError:
            return 0, 0
        except OSError as error:
            self._die("stat", name, error)
        return found.st_mode, found.st_size

    def _open(self, name: bytes, flags: int, doing: str) -> int:
        try:
            return os.open(name, flags | os.O_CLOEXEC, 0o600 if flags & os.O_APPEND else WRITTEN)
        except OSError as error:
            self._die(doing, name, error)

    def _die(self, doing: str, name: bytes, error: OSError) -> NoReturn:
        raise fatal("multilog", f"unable to {doing} {os.fsdecode(self._name + b'/' + name)}", error) from None

    def write(self, data: bytes | memoryview) -> None:
        """Append to `current`, rotating wherever a file is full."""
        self._finishing.mind_trouble()
        rest = memoryview(data)
        while rest:
            if self.size >= self._settings.size:
                self.rotate()
            rest = rest[self._write_some(rest) :]

    def _write_some(self, data: memoryview) -> int:
        """Write what fits into `current`, to the end of a line if that fills it; returns how many bytes it was."""
        limit = self._settings.size
        take = min(len(data), limit - self.size)
        if self.size + take >= limit - WINDOW:
            data = data[:take]
            take = bytes(data).rfind(b"\n") + 1 or take
        written = insist(b"unable to write to %b/current" % self._name, os.write, self._fd, data[:take])
        self.size += written
        if self.size >= limit - WINDOW and data[written - 1] == 10:
            self.rotate()
        return written

    def rotate(self) -> None:
        """Put `current` away, through the processor if there is one, and begin a new one."""
        name = self._name
        self._finishing.wait()
        insist(b"unable to switch to " + name, os.fchdir, self._directory)
        full = self._fd
        if self._settings.processor is not None:
            insist(b"unable to write %b/current to disk" % name, os.fsync, full)
        insist(b"unable to rename current to previous in directory " + name, os.rename, b"current", b"previous")
        self._fd = insist(b"unable to create %b/current" % name, os.open, b"current", APPEND, 0o600)
        self.size = 0
        insist(b"unable to set mode of %b/current" % name, os.fchmod, self._fd, WRITTEN)
        if self._settings.processor is None:
            self._finishing.later(full, self._settings.finished)
            return
        os.close(full)
        insist(b"unable to set mode of %b/previous" % name, os.chmod, b"previous", SAFE)
        processor.process(name, self._settings.processor, self._env)
        self._finishing.finish(b"processed", self._settings.finished)

    def close(self) -> None:
        """Mark `current` as safely written, when what came before it is."""
        self._finishing.wait()
        insist(b"unable to write %b/current to disk" % self._name, os.fsync, self._fd)
        insist(b"unable to set mode of %b/current" % self._name, os.fchmod, self._fd, SAFE)


def _remove(name: bytes) -> None:
    """Remove a file if possible."""
    try:
        os.unlink(name)
    except OSError:
        pass
