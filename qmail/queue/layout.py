"""Lays out an empty queue with the owners and modes of delivery 1.1. What is there already keeps its contents."""

from __future__ import annotations

import os

from qmail.home import Identities
from qmail.queue.names import SPLIT_KINDS, split_of
from qserver.base.privileges import account

DIRECTORIES: tuple[tuple[str, str, int], ...] = (
    # name, owner, mode
    ("pid", "qmailq", 0o700),
    ("mess", "qmailq", 0o750),
    ("intd", "qmailq", 0o700),
    ("todo", "qmailq", 0o750),
    ("info", "qmails", 0o700),
    ("local", "qmails", 0o700),
    ("remote", "qmails", 0o700),
    ("bounce", "qmails", 0o700),
    ("lock", "qmailq", 0o750),
)
TCPTO_SIZE = 1024


def make(home: str, split: int = 23) -> None:
    """Complete `home`/queue and `home`/run. An existing queue keeps its split. Raises OSError.

    As root, with a user qmailq, the parts belong to their roles; otherwise to whoever calls.
    """
    queue = f"{home}/queue"
    owners = _owners()
    _directory(queue, owners.user("qmailq"), 0o750)
    if os.path.isdir(f"{queue}/mess/0"):
        split = split_of(queue)
    for name, role, mode in DIRECTORIES:
        _directory(f"{queue}/{name}", owners.user(role), mode)
        if name in SPLIT_KINDS:
            for number in range(split):
                _directory(f"{queue}/{name}/{number}", owners.user(role), mode)
    _file(f"{queue}/lock/sendmutex", owners.user("qmails"), 0o600, b"")
    _file(f"{queue}/lock/tcpto", owners.user("qmailr"), 0o644, bytes(TCPTO_SIZE))
    _fifo(f"{queue}/lock/trigger", owners.user("qmails"), 0o622)
    _directory(f"{home}/run", owners.user("qmailq"), 0o755)


def _owners() -> Identities:
    entry = account("qmailq") if os.geteuid() == 0 else None
    if entry is None:
        return Identities(os.geteuid(), os.getegid(), False)
    return Identities(entry.uid, entry.gid, True)


def _own(path: str, owner: tuple[int, int], mode: int) -> None:
    """Owner first: chown clears mode bits. Without root, what one owns already is right."""
    there = os.lstat(path)
    if (there.st_uid, there.st_gid) != owner and os.geteuid() == 0:
        os.chown(path, *owner)
    if there.st_uid == os.geteuid() or os.geteuid() == 0:
        os.chmod(path, mode)


def _directory(path: str, owner: tuple[int, int], mode: int) -> None:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    _own(path, owner, mode)


def _file(path: str, owner: tuple[int, int], mode: int, contents: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return
    os.write(fd, contents)
    os.close(fd)
    _own(path, owner, mode)


def _fifo(path: str, owner: tuple[int, int], mode: int) -> None:
    try:
        os.mkfifo(path, mode)
    except FileExistsError:
        return
    _own(path, owner, mode)
