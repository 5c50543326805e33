"""A Maildir as one POP3 session sees it: a list made once at login, and the few moves that QUIT makes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STALE_SECONDS = 129600
"""Files in tmp/ that nobody has read for 36 hours are rubbish of a broken delivery."""
READ_MESSAGE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
BLOCK = 1 << 18


Found = tuple[float, str, str, int]
"""What the scan knows of a message: mtime in whole seconds, file name, folder (new or cur), st_size.

Plain tuples, because there may be a hundred thousand of them.
"""


def path_of(found: Found) -> str:
    """The file, relative to the Maildir."""
    return f"{found[2]}/{found[1]}"


def uid_of(found: Found) -> str:
    """The unique name: the file name up to the first colon."""
    return found[1].partition(":")[0]


class Maildir:
    """An open Maildir. Everything is relative to its descriptor, so the working directory is never changed."""

    __slots__ = ("_fd",)

    def __init__(self, path: str) -> None:
        """Raises OSError as chdir(path) would: the final `/.` asks for the search permission that chdir asks for."""
        self._fd = os.open(f"{path}/.", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def clean(self, now: int) -> None:
        """Remove stale files from tmp/; trouble of any kind only leaves them there."""
        try:
            fd = self._open_folder("tmp")
        except OSError:
            return
        try:
            with os.scandir(fd) as entries:
                stale = [e.name for e in entries if e.name[0] != "." and _read_long_ago(e, now)]
            for name in stale:
                _unlink_quietly(name, fd)
        except OSError:
            return
        finally:
            os.close(fd)

    def scan(self, now: int) -> list[Found]:
        """The messages of new/ and cur/ that are older than the second `now`, by mtime and unique name.

        One pass and one stat an entry. Raises OSError when a folder cannot be read.
        """
        found: list[Found] = []
        for folder in ("new", "cur"):
            fd = self._open_folder(folder)
            try:
                with os.scandir(fd) as entries:
                    _collect(entries, folder, now, found)
            finally:
                os.close(fd)
        if all(entry[1].isascii() for entry in found):  # then text sorts as its bytes do
            found.sort()
        else:
            found.sort(key=_byte_order)
        return found

    def _open_folder(self, name: str) -> int:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)

    def open(self, message: Found) -> int:
        """A descriptor to read the message from. Raises OSError."""
        return os.open(path_of(message), READ_MESSAGE, dir_fd=self._fd)

    def remove(self, message: Found) -> None:
        """Unlink it. Raises OSError."""
        os.unlink(path_of(message), dir_fd=self._fd)

    def mark_seen(self, message: Found) -> None:
        """Move it from new/ to cur/ with the empty flag list; trouble leaves it where it was."""
        try:
            os.rename(path_of(message), f"cur/{message[1]}:2,", src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError:
            return


def _collect(entries: Iterator[os.DirEntry[str]], folder: str, now: int, found: list[Found]) -> None:
    """Append what counts as a message. Index 8 and 6 of a stat result are mtime in whole seconds and size."""
    for entry in entries:
        name = entry.name
        if name[0] == ".":
            continue
        try:
            status = entry.stat()
        except OSError:
            continue
        if status[8] < now:
            found.append((status[8], name, folder, status[6]))


def _byte_order(found: Found) -> tuple[float, bytes]:
    return found[0], os.fsencode(found[1])


def _read_long_ago(entry: os.DirEntry[str], now: int) -> bool:
    try:
        return entry.stat()[7] + STALE_SECONDS < now
    except OSError:
        return False


def _unlink_quietly(name: str, fd: int) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except OSError:
        return
