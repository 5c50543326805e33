"""One message from two descriptors into the queue: the body of qmail-queue and of a worker of qmail-queued."""

from __future__ import annotations

import os
import time

from qmail.queue import codes
from qmail.queue.codes import QueueError
from qmail.queue.envelope import EnvelopeReader
from qmail.queue.scanner import scan
from qmail.queue.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.queue.site import Site

BLOCK = 1 << 17


def take(site: Site, message: int, envelope: int, pid: int, uid: int, env: Mapping[str, str]) -> int:
    """Read the message to its end, then the envelope, and queue it; returns qmail-queue's exit code.

    `pid` and `uid` are the invoker's; `env` holds the scanner's settings.
    """
    writer = Writer(site.queue, site.split, pid)
    try:
        writer.put(site.received(pid, uid, time.time()))
        while block := _read(message):
            writer.put(block)
        writer.finish_message()
        skip_scanner = _take_envelope(writer, envelope, pid, uid)
        found = codes.OK if skip_scanner else scan(env, site.queue, writer.message_path())
        if found:
            raise QueueError(found)
        writer.commit()
    except QueueError as error:
        if error.code != codes.NO_TODO:
            writer.abandon()
        return error.code
    except MemoryError:
        writer.abandon()
        return codes.NO_MEMORY
    return codes.OK


def _take_envelope(writer: Writer, fd: int, pid: int, uid: int) -> bool:
    """Copy the envelope record by record; returns whether it asked for no scanner. Raises QueueError."""
    reader = EnvelopeReader()
    writer.put_envelope(b"u%d\0p%d\0" % (uid, pid))
    while not reader.done:
        block = _read(fd)
        if not block:
            raise QueueError(codes.READ_ERROR)
        records = reader.feed(block)
        if records:
            writer.put_envelope(records)
    return reader.skip_scanner


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, BLOCK)
    except OSError:
        raise QueueError(codes.READ_ERROR) from None
