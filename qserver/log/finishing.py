"""How full files of a log directory get their final names, and old ones are removed (daemontools 10.5).

A full file goes to the disk while input is already read for the next one: an fsync takes as long as several files full of
lines. There is never more than one on its way, and as soon as there is trouble with it multilog waits. A crash meanwhile is
one as ever: `previous` without its final name becomes a `.u` file.
"""

from __future__ import annotations

import _thread
import os

from qserver.base import tai64n
from qserver.log.trouble import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

SAFE = 0o744
"""Mode of a file that is safely on disk."""
LABEL = 25
"""Bytes of an external TAI64N label; old files are told apart by so many of their names."""
STACK = 1 << 18
"""Bytes of stack for the thread that waits for the disk."""


class Finishing:
    """The files of one directory (an open descriptor of it) that are not written any more; `number` of files to keep."""

    __slots__ = ("_busy", "_directory", "_name", "_number", "_troubled")

    def __init__(self, name: bytes, directory: int, number: int) -> None:
        self._name = name
        self._directory = directory
        self._number = number
        self._busy = _thread.allocate_lock()
        self._troubled = False

    def later(self, fd: int, suffix: bytes) -> None:
        """Begin to put `previous`, open as `fd`, away."""
        self._busy.acquire()
        _thread.stack_size(STACK)
        try:
            _thread.start_new_thread(self._sync_and_finish, (fd, suffix))
        except RuntimeError:  # no thread to be had: do it at once
            self._sync_and_finish(fd, suffix)

    def wait(self) -> None:
        """Until nothing is on its way."""
        self._busy.acquire()
        self._busy.release()

    def mind_trouble(self) -> None:
        """If there is trouble with what is on its way, wait until it is over."""
        if self._troubled:
            self.wait()

    def _sync_and_finish(self, fd: int, suffix: bytes) -> None:
        try:
            self._insist(b"unable to write %b/current to disk" % self._name, os.fsync, fd)
            os.close(fd)
            doing = b"unable to set mode of %b/previous" % self._name
            self._insist(doing, os.chmod, b"previous", SAFE, dir_fd=self._directory)
            self.finish(b"previous", suffix)
        finally:
            self._troubled = False
            self._busy.release()

    def finish(self, name: bytes, suffix: bytes) -> None:
        """Give a full file its final name, and make room for the next one."""
        links = self._insist(b"unable to stat %b/%b" % (self._name, name), self._links, name)
        if not links:
            return
        while links == 1:  # with two, a crash came between link and unlink
            final = tai64n.label(tai64n.now()) + suffix
            try:
                os.link(name, final, src_dir_fd=self._directory, dst_dir_fd=self._directory)
                break
            except OSError as error:
                self._troubled = True
                pause(b"unable to link to %b/%b" % (self._name, final), error)
        self._insist(b"unable to remove %b/%b" % (self._name, name), os.unlink, name, dir_fd=self._directory)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        """Leave one old file fewer than the number that is to be kept."""
        names = self._insist(b"unable to read " + self._name, os.listdir, self._directory)
        old = sorted(name for name in map(os.fsencode, names) if name.startswith(b"@") and len(name) >= LABEL)
        for name in old[: max(0, len(old) - self._number + 1)]:
            self._insist(b"unable to remove %b/%b" % (self._name, name), self._remove_if_there, name)

    def _links(self, name: bytes) -> int:
        """The file's number of links; 0 if there is no such file."""
        try:
            return os.stat(name, dir_fd=self._directory).st_nlink
        except FileNotFoundError:
            return 0

    def _remove_if_there(self, name: bytes) -> None:
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return

    def _insist(self, doing: bytes, call: Callable[P, T], *args: P.args, **keywords: P.kwargs) -> T:
        """The call's result, however often it must be tried."""
        while True:
            try:
                return call(*args, **keywords)
            except OSError as error:
                self._troubled = True
                pause(doing, error)
