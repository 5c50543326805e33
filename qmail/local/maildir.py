"""The Maildir writer (delivery 7.7).

    create tmp/T (exclusively); write Return-Path, Delivered-To, the message; fsync; close
    link tmp/T to new/N: delivered; unlink tmp/T; fsync the directory new

Whatever happens in between, a reader of new/ sees a whole message or none. A delivery that was killed leaves a file in
tmp/, which readers remove after 36 hours. The C original does this in a child because it changes its working directory
and its alarm kills it; here everything is relative to the Maildir's descriptor and the alarm raises.
"""

from __future__ import annotations

import os
import time

from qmail.local.durable import sync_directory
from qmail.local.message import Message, Unreadable
from qserver.base import signals
from qserver.base.errors import Die, is_temporary
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

DEADLINE = 86400
"""Seconds a delivery may take, so that a file in tmp/ older than that is nobody's."""
ATTEMPTS = 3
PAUSE = 2.0
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
LONGEST_HOST = 63

NO_MAILDIR = "Unable to chdir to maildir. (#4.2.1)"
TIMEOUT = "Timeout on maildir delivery. (#4.3.0)"
UNREADABLE = "Unable to read message. (#4.3.0)"
TROUBLE = "Temporary error on maildir delivery. (#4.3.0)"


class TimedOut(Exception):
    """The deadline has passed."""


def deliver(directory: bytes, head: bytes, message: Message) -> None:
    """Put `head` and the message into the Maildir, durably. Raises Die."""
    message.rewind()
    try:
        maildir = os.open(directory + b"/.", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Die(TROUBLE if is_temporary(error) else NO_MAILDIR) from None
    signals.handle(signals.SIGALRM, _time_out)
    signals.alarm(DEADLINE)
    try:
        _store(maildir, head, message)
    except TimedOut:
        raise Die(TIMEOUT) from None
    except Unreadable:
        raise Die(UNREADABLE) from None
    except OSError:
        raise Die(TROUBLE) from None
    finally:
        signals.alarm(0)
        signals.default(signals.SIGALRM)
        os.close(maildir)


def _time_out(_number: int, _frame: object) -> NoReturn:
    raise TimedOut


def _store(maildir: int, head: bytes, message: Message) -> None:
    """One message into tmp, then into new. Raises OSError, Unreadable, TimedOut."""
    name, fd = _create(maildir)
    try:
        try:
            _copy(fd, head, message)
            os.fsync(fd)
            final = name.final(os.fstat(fd))
        finally:
            os.close(fd)
        os.link(name.temporary(), final, src_dir_fd=maildir, dst_dir_fd=maildir)
    finally:
        _unlink(name.temporary(), maildir)
    sync_directory("new", maildir)


def _copy(fd: int, head: bytes, message: Message) -> None:
    """`head` goes out together with the first block: a small message is one write."""
    for block in message.blocks():
        write_all(fd, head + block if head else block)
        head = b""
    write_all(fd, head)


def _create(maildir: int) -> tuple[Name, int]:
    """A new file in tmp. Raises OSError."""
    for left in range(ATTEMPTS - 1, -1, -1):
        name = Name(time.time_ns() // 1000, os.getpid(), host_part(os.uname().nodename))
        try:
            return name, os.open(name.temporary(), NEW_FILE, 0o644, dir_fd=maildir)
        except FileExistsError:
            if not left:
                raise
        time.sleep(PAUSE)
    raise AssertionError


def _unlink(name: str, maildir: int) -> None:
    """What cannot be removed is removed by a reader after 36 hours."""
    try:
        os.unlink(name, dir_fd=maildir)
    except OSError:
        return


class Name:
    """The unique name of a delivery: time in microseconds, process and host, and in new/ also the file's inode and device."""

    __slots__ = ("_host", "_pid", "_seconds", "_unit")

    def __init__(self, microseconds: int, pid: int, host: str) -> None:
        self._seconds, self._unit = divmod(microseconds, 1_000_000)
        self._pid = pid
        self._host = host

    def temporary(self) -> str:
        """`tmp/SEC.MUSECPPID.HOST`."""
        return f"tmp/{self._seconds}.M{self._unit}P{self._pid}.{self._host}"

    def final(self, status: os.stat_result) -> str:
        """`new/SEC.IinodeVdeviceMUSECPPID.HOST`, inode and device in hexadecimal."""
        file = f"I{status.st_ino:x}V{status.st_dev:x}"
        return f"new/{self._seconds}.{file}M{self._unit}P{self._pid}.{self._host}"


def host_part(host: str) -> str:
    """A host name as part of a file name."""
    return host[:LONGEST_HOST].replace("/", "057").replace(":", "072")
