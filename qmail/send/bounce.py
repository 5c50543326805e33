"""Failures: the paragraph each failed recipient gets, and the message made of them at the end (delivery 6.7)."""

from __future__ import annotations

import os
import time

from qmail.address import quote, quote2
from qmail.dates import date822
from qmail.queue.client import QueueClient, open_queue
from qmail.send import log as lines
from qmail.send.rewrite import without_verp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.send.log import Log
    from qmail.send.settings import Settings

BLOCK = 1 << 17
PATIENCE = 10
"""Seconds between attempts to write down a failure; nothing else may go on before it is written."""
DOUBLE_BOUNCE_SENDER = b"#@[]"
HEADER = b"Date: %b\nFrom: %b@%b\nTo: %b\nSubject: failure notice\n\nHi. This is the qmail-send program at %b%b"
TO_SENDER = b""".
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

"""
TO_POSTMASTER = b""".
I tried to deliver a bounce message to this address, but the bounce bounced!

"""
COPY_OF_MESSAGE = b"--- Below this line is a copy of the message.\n\n"
COPY_OF_BOUNCE = b"--- Below this line is the original bounce.\n\n"
TRUNCATED = b"\n\n--- Rest of message truncated.\n"
LIFETIME_OVER = b"I'm not going to try again; this message has been in the queue too long.\n"


def paragraph(recipient: bytes, report: bytes) -> bytes:
    """`<RECIPIENT>:`, the report, an empty line; no empty line within."""
    text = b"<%b>:\n%b" % (recipient.replace(b"\n", b"_"), report)
    if not text.endswith(b"\n"):
        text += b"\n"
    body = bytearray(text[:-1])
    at = len(body)
    while (at := body.rfind(b"\n\n", 0, at + 1)) >= 0:
        body[at + 1] = 0x2F
    return bytes(body) + b"\n\n"


def append(path: str, text: bytes, log: Log) -> None:
    """Add a paragraph to a bounce file, trying for as long as it takes."""
    rest = text
    while rest:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                while rest:
                    rest = rest[os.write(fd, rest) :]
            finally:
                os.close(fd)
        except OSError:
            log(lines.NO_BOUNCE_FILE)
            time.sleep(PATIENCE)


class Bouncer:
    """Sends what is in bounce files. The current directory is the queue."""

    __slots__ = ("_home", "_log", "_settings")

    def __init__(self, home: str, settings: Settings, log: Log) -> None:
        self._home = home
        self._settings = settings
        self._log = log

    def send(self, number: int, sender: bytes, bounce: str, message: str) -> bool:
        """Deal with the bounce file of a message, if it has one; False means to try again later."""
        sender = without_verp(sender)
        path = bounce.encode()
        try:
            os.stat(bounce)
        except FileNotFoundError:
            return True
        except OSError:
            self._log(lines.STAT % path)
            return False
        if sender == DOUBLE_BOUNCE_SENDER:
            self._log(lines.TRIPLE_BOUNCE % path)
        elif not sender and self._settings.doublebounceto.startswith(b"@"):
            self._log(lines.DOUBLE_BOUNCE % path)
        elif not self._inject(number, sender, bounce, message):
            return False
        try:
            os.unlink(bounce)
        except OSError:
            self._log(lines.UNLINK % path)
            return False
        return True

    def _inject(self, number: int, sender: bytes, bounce: str, message: str) -> bool:
        try:
            queue = open_queue(self._home, {})
        except OSError:
            self._log(lines.NO_QUEUE_PROGRAM)
            return False
        recipient = sender or self._settings.doublebounceto
        queue.put(self._head(sender, recipient))
        _copy(queue, bounce)
        queue.put(COPY_OF_MESSAGE if sender else COPY_OF_BOUNCE)
        queue.put(b"Return-Path: <%b>\n" % quote2(sender))
        _copy(queue, message, self._settings.bouncemaxbytes)
        queue.envelope(b"" if sender else DOUBLE_BOUNCE_SENDER, [recipient])
        if queue.close() != 0:
            self._log(lines.BOUNCE_TROUBLE)
            return False
        self._log(lines.BOUNCE % (number, queue.qp))
        return True

    def _head(self, sender: bytes, recipient: bytes) -> bytes:
        host = self._settings.bouncehost
        return HEADER % (
            date822(time.time()),
            quote(self._settings.bouncefrom),
            host,
            quote2(recipient),
            host,
            TO_SENDER if sender else TO_POSTMASTER,
        )


def _copy(queue: QueueClient, path: str, most: int = 0) -> None:
    """Put a file into a message, only its first `most` bytes if that is not 0; what cannot be read fails the message."""
    left = most or -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        queue.fail()
        return
    try:
        while left and (block := os.read(fd, BLOCK if left < 0 else min(BLOCK, left))):
            queue.put(block)
            left -= len(block) if most else 0
    except OSError:
        queue.fail()
    finally:
        os.close(fd)
    if most and not left:
        queue.put(TRUNCATED)
