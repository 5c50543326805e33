"""What a logger writes, seen from outside: where, how much of it lately, and the newest line."""

from __future__ import annotations

import os
import time

from qserver.base import tai64n

MULTILOG = "multilog"
USUAL = "main"
"""The directory that a logger writes to where it does not say."""
TAIL = 8192
"""Bytes at the end of a file in which its last line is looked for."""
LABEL = 25


class Tail:
    """A log directory from look to look."""

    __slots__ = ("_inode", "_size", "_when", "path", "rate")

    def __init__(self, path: str) -> None:
        self.path = path
        self.rate = 0.0
        """Bytes a second between the last two looks."""
        self._inode = self._size = -1
        self._when = time.time_ns()

    def look(self) -> None:
        """Measure the growth since the last look. Raises OSError where there is no `current`."""
        now = time.time_ns()
        current = os.stat(f"{self.path}/current")
        grown = current.st_size
        if current.st_ino == self._inode:
            grown -= self._size
        elif self._inode >= 0:
            grown += self._rotated() - self._size
        seconds = (now - self._when) / tai64n.BILLION
        self.rate = max(0, grown) / seconds if self._inode >= 0 and seconds > 0 else 0.0
        self._inode, self._size, self._when = current.st_ino, current.st_size, now

    def _rotated(self) -> int:
        """Bytes of the files that were finished since the last look."""
        since = os.fsdecode(tai64n.label(self._when))
        names = [name for name in os.listdir(self.path) if name[:1] == "@" and name[:LABEL] >= since]
        return sum(os.stat(f"{self.path}/{name}").st_size for name in names)

    def last_line(self) -> bytes:
        """The newest line, of the newest finished file if `current` is empty. Raises OSError."""
        line = _last_line(f"{self.path}/current")
        if not line:
            finished = max((name for name in os.listdir(self.path) if name[:1] == "@"), default="")
            line = _last_line(f"{self.path}/{finished}") if finished else b""
        return line


def _last_line(path: str) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        return file.read().rstrip(b"\n").rpartition(b"\n")[2]


def readable(line: bytes) -> str:
    """A line for a screen: its TAI64N label as local time, nothing in it that a terminal obeys."""
    try:
        when = tai64n.parse_label(line[:LABEL]) // tai64n.BILLION
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
        line = moment.encode() + line[LABEL:]
    except (ValueError, OverflowError, OSError):
        pass
    text = line.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def directory_of(words: list[str], place: str) -> str:
    """The first log directory in the command line of a logger that was started in `place`; the usual one if it has none.

    The process may be known by a command before multilog in the chain: what counts is what follows the name. Where it is
    now does not tell, for multilog goes to its directories.
    """
    after = [at for at, word in enumerate(words) if word.rpartition("/")[2] == MULTILOG]
    for word in words[after[-1] + 1 :] if after else ():
        if word[:1] in ("/", "."):
            return os.path.join(place, word)
    return os.path.join(place, USUAL)
