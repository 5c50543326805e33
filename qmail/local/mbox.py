"""Delivery to an mbox file (delivery 7.6): lock, append with `>From ` quoting, fsync; on trouble cut it off again."""

from __future__ import annotations

import fcntl
import os

from qmail.local.durable import sync_directory
from qmail.local.message import Message, Unreadable, unable_to_read
from qserver.base import signals
from qserver.base.errors import Die, error_text
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

PATIENCE = 30
"""Seconds to wait for the lock."""
APPEND = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
FROM = b"From "
GREATER, NEWLINE = 0x3E, 0x0A
BUFFER = 1 << 17
LOCKED = "File has been locked for 30 seconds straight. (#4.3.0)"


def deliver(name: bytes, head: bytes, message: Message) -> None:
    """Append `head` (the From line and the header lines of the delivery) and the message to a file. Raises Die."""
    message.rewind()
    fd, created = _open(name)
    try:
        locked = _lock(fd)
        end = _end(fd)
        try:
            _append(fd, head, message)
            os.fsync(fd)
            if created:
                sync_directory(os.path.dirname(name) or b".")
        except (OSError, Unreadable) as trouble:
            if locked and end >= 0:
                _truncate(fd, end)
            if isinstance(trouble, Unreadable):
                raise unable_to_read(trouble) from None
            raise Die(f"Unable to write {os.fsdecode(name)}: {error_text(trouble)}. (#4.3.0)") from None
    finally:
        os.close(fd)


def _open(name: bytes) -> tuple[int, bool]:
    """(descriptor, whether the file is new). Raises Die."""
    try:
        try:
            return os.open(name, APPEND), False
        except FileNotFoundError:
            return os.open(name, APPEND | os.O_CREAT, 0o600), True
    except OSError as error:
        raise Die(f"Unable to open {os.fsdecode(name)}: {error_text(error)}. (#4.2.1)") from None


def _lock(fd: int) -> bool:
    """Wait for the lock; False where the file system has none. Raises Die."""
    signals.handle(signals.SIGALRM, _too_slow)
    signals.alarm(PATIENCE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        return False
    finally:
        signals.alarm(0)
        signals.default(signals.SIGALRM)
    return True


def _too_slow(_number: int, _frame: object) -> NoReturn:
    raise Die(LOCKED)


def _end(fd: int) -> int:
    """Where the file ends now; -1 for what is not a file."""
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return -1


def _truncate(fd: int, end: int) -> None:
    """Take back a part of a message; what cannot be taken back stays, and the message will come again."""
    try:
        os.ftruncate(fd, end)
    except OSError:
        return


def _append(fd: int, head: bytes, message: Message) -> None:
    """Write it all, in large blocks. Raises OSError, Unreadable."""
    held, size = [head], 0
    for piece in quoted(message.blocks()):
        held.append(piece)
        size += len(piece)
        if size >= BUFFER:
            write_all(fd, b"".join(held))
            held, size = [], 0
    write_all(fd, b"".join(held) + b"\n")


def quoted(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The message with a `>` more in every line that is `From ` after any number of them; its last line gets its newline.

    The `>` goes in just before `From `, which makes the same bytes; so at the end of a block only a beginning of
    `From ` must be kept for the next, however long the lines are.
    """
    opens = True
    held = b""
    last = NEWLINE
    for block in blocks:
        last = block[-1]
        data = held + block
        held = _beginning(data)
        data = data[: len(data) - len(held)]
        yield from _quote(data, opens)
        opens = _opens(data, len(data), opens)
    yield held if last == NEWLINE else held + b"\n"


def _beginning(data: bytes) -> bytes:
    """The bytes at the end of `data` that may become `From `."""
    for size in range(len(FROM) - 1, 0, -1):
        if data.endswith(FROM[:size]):
            return FROM[:size]
    return b""


def _quote(data: bytes, opens: bool) -> Iterator[bytes]:
    """`data` in pieces, parted by the `>` that are added. `opens`: only `>` stand before it in its line."""
    done = 0
    at = data.find(FROM)
    while at >= 0:
        if _opens(data, at, opens):
            yield data[done:at]
            yield b">"
            done = at
        at = data.find(FROM, at + len(FROM))
    yield data[done:] if done else data


def _opens(data: bytes, at: int, opens: bool) -> bool:
    """Whether between the beginning of the line and `at` there is nothing but `>`."""
    while at > 0 and data[at - 1] == GREATER:
        at -= 1
    return data[at - 1] == NEWLINE if at > 0 else opens
