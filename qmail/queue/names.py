"""Names and record formats of the queue on disk (delivery 1.1, 1.2); qmail's own, with todo and intd split too."""

from __future__ import annotations

import os

SPLIT_KINDS = ("mess", "intd", "todo", "info", "local", "remote")
"""Directories that are split into subdirectories 0 … split-1."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Names:
    """Paths relative to the queue directory. An ID is the inode number of the mess file."""

    __slots__ = ("split",)

    def __init__(self, split: int) -> None:
        self.split = split

    def path(self, kind: str, number: int) -> str:
        """`mess/17/40`; bounce is not split."""
        return f"{kind}/{number}" if kind == "bounce" else f"{kind}/{number % self.split}/{number}"

    def mess(self, number: int) -> str:
        """The message."""
        return f"mess/{number % self.split}/{number}"

    def intd(self, number: int) -> str:
        """The envelope under construction."""
        return f"intd/{number % self.split}/{number}"

    def todo(self, number: int) -> str:
        """The complete envelope, not yet preprocessed."""
        return f"todo/{number % self.split}/{number}"

    def info(self, number: int) -> str:
        """The sender; its mtime is the message's birth."""
        return f"info/{number % self.split}/{number}"

    def local(self, number: int) -> str:
        """Local recipients."""
        return f"local/{number % self.split}/{number}"

    def remote(self, number: int) -> str:
        """Remote recipients."""
        return f"remote/{number % self.split}/{number}"

    def bounce(self, number: int) -> str:
        """Failure paragraphs."""
        return f"bounce/{number}"


def split_of(queue: str) -> int:
    """How many subdirectories the queue has: what is on disk decides, not conf-split. Raises OSError.

    The link count of a directory tells on most file systems; where it does not, or there are other directories as well
    (lost+found), the directory is read.
    """
    links = os.stat(f"{queue}/mess").st_nlink - 2
    if links > 0 and os.path.isdir(f"{queue}/mess/{links - 1}"):
        return links
    return max(1, sum(1 for name in os.listdir(f"{queue}/mess") if name.isdigit()))


def numbers(directory: str) -> Iterator[int]:
    """The IDs in a directory, in its order; names that are not all digits are skipped silently. Raises OSError."""
    for name in os.listdir(directory):
        if name.isascii() and name.isdigit():
            yield int(name)


class Envelope:
    """A todo record."""

    __slots__ = ("pid", "recipients", "sender", "uid")

    def __init__(self, uid: int, pid: int, sender: bytes, recipients: list[bytes]) -> None:
        self.uid = uid
        self.pid = pid
        self.sender = sender
        self.recipients = recipients


def format_todo(uid: int, pid: int, sender: bytes, recipients: Iterable[bytes]) -> bytes:
    """`u0\\0p4711\\0Fa@x.org\\0Tb@y.org\\0`: no extra NUL at the end."""
    return b"u%d\0p%d\0F%b\0%b" % (uid, pid, sender, b"".join(b"T%b\0" % recipient for recipient in recipients))


def parse_todo(data: bytes) -> Envelope:
    """The envelope in a todo file. Raises ValueError, naming the first bad record."""
    records = data.split(b"\0")
    if records.pop() != b"":
        raise ValueError("last record is not ended by NUL")
    envelope = Envelope(0, 0, b"", [])
    for record in records:
        kind, value = record[:1], record[1:]
        if kind == b"T":
            envelope.recipients.append(value)
        elif kind == b"F":
            envelope.sender = value
        elif kind == b"u" and value.isdigit():
            envelope.uid = int(value)
        elif kind == b"p" and value.isdigit():
            envelope.pid = int(value)
        else:
            raise ValueError(f"unknown record type: {record[:20]!r}")
    return envelope
