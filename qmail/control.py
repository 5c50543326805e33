"""Control files: the reading rules of operations 3.1 and delivery 0.2, cached so that a warm worker sees an edit.

A value is kept as long as (mtime, size, inode) of its file stay the same; asking again costs one stat.
"""

from __future__ import annotations

import errno
import os
import time

from qserver.base.files import read_file
from qserver.base.getopt import scan_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

BLANKS = b" \t\n"
Stamp = tuple[int, int, int]
TICK = 50_000_000
"""Nanoseconds in which a directory may change twice without a new time of change; a value made so soon is not kept."""


def first_line(data: bytes) -> bytes:
    """The bytes before the first LF, trailing blanks, tabs and newlines stripped; CR stays."""
    return data.partition(b"\n")[0].rstrip(BLANKS)


def all_lines(data: bytes) -> list[bytes]:
    """The entries of a list file: lines stripped at the end, empty and `#` lines dropped, a NUL parts two entries."""
    entries: list[bytes] = []
    for line in data.split(b"\n"):
        line = line.rstrip(BLANKS)
        if not line or line[:1] in (b"#", b"\0"):
            continue
        entries += line.split(b"\0") if b"\0" in line else (line,)
    return entries


def split_map(entries: list[bytes]) -> dict[bytes, bytes]:
    """`key:value` entries, keys in lower case; entries without colon ignored; of two equal keys the last line wins."""
    pairs = (entry.partition(b":") for entry in entries)
    return {key.lower(): value for key, colon, value in pairs if colon}


def signed_32(number: int) -> int:
    """A number as a 32-bit signed int holds it (4294967297 → 1); negative counts as 0 for every reader."""
    number &= 0xFFFFFFFF
    return 0 if number >= 0x80000000 else number


class Controls:
    """The control directory of one home. Values are bytes; readers raise OSError for trouble other than "not there"."""

    __slots__ = ("_cache", "_consulted", "_derived", "home")

    def __init__(self, home: str) -> None:
        self.home = home
        self._cache: dict[tuple[str, str], tuple[Stamp | None, Any]] = {}
        self._derived: dict[str, Derived] = {}
        self._consulted: dict[str, Stamp] | None = None

    def derived(self, kind: str, build: Callable[[Controls], T]) -> T:
        """build(self), made again only when a file that it read has changed or one that it missed may have come.

        That costs a stat of the directory and of each file there is, however many files are consulted. What `build`
        raises is not remembered.
        """
        known = self._derived.get(kind)
        if known is not None and known.still_holds(f"{self.home}/control"):
            value: T = known.value
            return value
        directory = _stamp(f"{self.home}/control")
        self._consulted = {}
        try:
            value = build(self)
            if directory is not None and time.time_ns() - directory[0] > TICK:
                self._derived[kind] = Derived(value, directory, self._consulted)
        finally:
            self._consulted = None
        return value

    def parsed(self, name: str, kind: str, parse: Callable[[bytes], Any]) -> Any:
        """parse(contents) of control/NAME, or None when there is no such file; remembered by the file's stamp.

        `kind` tells apart what different readers make of one file. Raises OSError.
        """
        path = f"{self.home}/control/{name}"
        stamp = _stamp(path)
        if stamp is None:
            return None
        if self._consulted is not None:
            self._consulted[name] = stamp
        known = self._cache.get((name, kind))
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            value = parse(read_file(path))
        except FileNotFoundError:
            return None
        self._cache[name, kind] = (stamp, value)
        return value

    def line(self, name: str) -> bytes | None:
        """The first line of a one-line file; None when the file is not there. An empty file has an empty value."""
        value: bytes | None = self.parsed(name, "line", first_line)
        return value

    def line_or_me(self, name: str, default: bytes | None = None) -> bytes | None:
        """The line, else control/me, else `default` (control_rldef with flagme)."""
        value = self.line(name)
        if value is None:
            value = self.line("me")
        return default if value is None else value

    def integer(self, name: str, default: int) -> int:
        """The leading decimal digits of the line; `default` when there is no file or no digit (control_readint)."""
        value = self.line(name)
        number = -1 if value is None else scan_number(value, -1)
        return default if number < 0 else signed_32(number)

    def lines(self, name: str, *, or_me: bool = False) -> list[bytes] | None:
        """The entries of a list file; when not there: the one entry `me` with `or_me`, else None (control_readfile)."""
        value: list[bytes] | None = self.parsed(name, "lines", all_lines)
        if value is None and or_me:
            me = self.line("me")
            return None if me is None else [me]
        return value

    def members(self, name: str, *, or_me: bool = False) -> frozenset[bytes] | None:
        """The entries of a list file in lower case, for constmap look-ups without colon."""
        value: frozenset[bytes] | None = self.parsed(
            name, "members", lambda data: frozenset(entry.lower() for entry in all_lines(data))
        )
        if value is None and or_me:
            me = self.line("me")
            return None if me is None else frozenset((me.lower(),))
        return value

    def mapping(self, name: str) -> dict[bytes, bytes] | None:
        """The `key:value` entries of a map file, keys in lower case; None when not there (constmap with colon)."""
        value: dict[bytes, bytes] | None = self.parsed(name, "mapping", lambda data: split_map(all_lines(data)))
        return value

    def path(self, name: str) -> str:
        """The path of control/NAME, for compiled cdb files."""
        return f"{self.home}/control/{name}"


class Derived:
    """A value, and what the directory and the files were like that it was made from."""

    __slots__ = ("_directory", "_files", "value")

    def __init__(self, value: Any, directory: Stamp, files: dict[str, Stamp]) -> None:
        self.value = value
        self._directory = directory
        self._files = tuple(files.items())

    def still_holds(self, path: str) -> bool:
        """Whether nothing in the directory `path` came, went or was edited. Raises OSError."""
        if _stamp(path) != self._directory:
            return False
        return all(_stamp(f"{path}/{name}") == stamp for name, stamp in self._files)


def _stamp(path: str) -> Stamp | None:
    """What tells a file from an edited one; None when there is none. Raises OSError for other trouble."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


_SHARED: dict[str, Controls] = {}
"""One reader per home of this process. Only a cache: whatever is in it is checked against the files at every use."""


def shared(home: str) -> Controls:
    """The reader that all sessions of a warm worker share, so that an unchanged file is parsed once."""
    controls = _SHARED.get(home)
    if controls is None:
        controls = _SHARED[home] = Controls(home)
    return controls


def is_missing(error: OSError) -> bool:
    """Whether an open failed because there is no such file, the one trouble readers forgive."""
    return error.errno == errno.ENOENT
