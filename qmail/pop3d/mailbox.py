"""The loop of qmail-pop3d: reads the connection, feeds the session, moves messages to the client."""

from __future__ import annotations

import os
import time

from qmail.pop3d.grammar import OKAY, Lines, LineTooLong, err
from qmail.pop3d.maildir import BLOCK, Found, Maildir
from qmail.pop3d.transaction import Retrieve, Transaction, Update
from qmail.pop3d.transfer import Transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qserver.net.connection import Connection

TIMEOUT = 1200
"""Seconds that each read and each write may take (access 2.3)."""
FLUSH = 1 << 16
NO_MAILDIR = err(b"this user has no $HOME/Maildir")
NO_SCAN = err(b"unable to scan $HOME/Maildir")
NO_OPEN = err(b"unable to open that message")
NO_UNLINK = err(b"unable to unlink all deleted messages")


class Unreadable(Exception):
    """A message that opened but cannot be read; the session ends (access 3.3)."""


class Replies:
    """Collects the replies to one batch of commands, so that the client gets them in as few packets as they fit."""

    __slots__ = ("_connection", "_parts", "_size")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parts: list[bytes] = []
        self._size = 0

    def put(self, data: bytes) -> None:
        """Add bytes; they are sent when enough have come together. Raises OSError when the client is gone."""
        self._parts.append(data)
        self._size += len(data)
        if self._size >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Send what there is, in one write."""
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._connection.write(data)


def serve_maildir(path: str | None, connection: Connection) -> None:
    """Serve one session on the Maildir `path`; None when the program was called without one."""
    connection.set_timeout(TIMEOUT)
    try:
        try:
            maildir = Maildir(path) if path is not None else None
        except (OSError, ValueError):  # ValueError: a NUL in the name
            maildir = None
        if maildir is None:
            connection.write(NO_MAILDIR)
            return
        try:
            _session(maildir, connection)
        finally:
            maildir.close()
    except OSError:  # the client is gone, or too slow
        return


def _session(maildir: Maildir, connection: Connection) -> None:
    now = int(time.time())
    maildir.clean(now)
    try:
        session = Transaction(maildir.scan(now))
    except OSError:
        connection.write(NO_SCAN)
        return
    replies = Replies(connection)
    replies.put(OKAY)
    replies.flush()
    for line in _commands(connection, replies):
        answer = session.command(line)
        if isinstance(answer, bytes):
            replies.put(answer)
        elif isinstance(answer, Retrieve):
            try:
                _send_message(maildir, answer, replies)
            except Unreadable:
                replies.flush()
                return
        else:
            _update(maildir, answer, replies)
            replies.flush()
            return


def _commands(connection: Connection, replies: Replies) -> Iterator[bytes]:
    """Every line the client sends; whatever it must wait for has been flushed before the next read."""
    lines = Lines()
    while data := connection.read():
        try:
            yield from lines.feed(data)
        except LineTooLong:
            return
        replies.flush()


def _send_message(maildir: Maildir, wanted: Retrieve, replies: Replies) -> None:
    """RETR or TOP. Raises Unreadable."""
    try:
        fd = maildir.open(wanted.message)
    except OSError:
        replies.put(NO_OPEN)
        return
    try:
        replies.put(OKAY)
        transfer = Transfer(wanted.lines)
        for block in _blocks(fd, wanted.message):
            replies.put(transfer.feed(block))
            if transfer.done:
                break
        replies.put(transfer.finish())
    finally:
        os.close(fd)


def _blocks(fd: int, message: Found) -> Iterator[bytes]:
    """The file in blocks; for a small one the buffer is no larger than it needs to be. Raises Unreadable."""
    size = min(message[3] + 1, BLOCK)
    try:
        while block := os.read(fd, size):
            yield block
    except OSError as error:
        raise Unreadable from error


def _update(maildir: Maildir, work: Update, replies: Replies) -> None:
    """QUIT: one complaint per file that could not be removed, then okay (access 3.4)."""
    for message in work.deleted:
        try:
            maildir.remove(message)
        except OSError:
            replies.put(NO_UNLINK)
    for message in work.kept:
        maildir.mark_seen(message)
    replies.put(OKAY)
