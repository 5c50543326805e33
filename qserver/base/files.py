"""Small file operations that several rooms share: whole writes, durable replacement, locks."""

from __future__ import annotations

import errno
import fcntl
import os

LOCK_OPEN = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
"""How lock files are opened (daemontools 1.5): created 0600, never truncated, never removed."""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte. Raises OSError."""
    rest = data
    while rest:
        done = os.write(fd, rest)
        if done == len(rest):
            return
        rest = memoryview(rest)[done:]


def read_file(path: str | bytes) -> bytes:
    """The whole file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        blocks = []
        while block := os.read(fd, 1 << 18):
            blocks.append(block)
        return b"".join(blocks)
    finally:
        os.close(fd)


def fsync_directory(path: str) -> None:
    """Make the entries of a directory durable; needed because Linux file systems do not make link and rename so."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(path: str, temporary: str, data: bytes, mode: int = 0o644) -> None:
    """Write `temporary`, fsync, rename to `path`, fsync the directory: the old file or the new one, always."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    fsync_directory(os.path.dirname(path) or ".")


def detach() -> None:
    """Descriptors 0 and 1 are not a server's to keep; the numbers stay taken, so that no connection gets them."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if null > 1:
        os.close(null)


def open_lock(path: str) -> int:
    """Open a lock file; the descriptor is close-on-exec. Raises OSError."""
    return os.open(path, LOCK_OPEN | os.O_CLOEXEC, 0o600)


def lock_exclusive(fd: int, *, wait: bool = True) -> bool:
    """flock the descriptor. True when it is ours; False when another has it and `wait` is off. Raises OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES) and not wait:
            return False
        raise
    return True
