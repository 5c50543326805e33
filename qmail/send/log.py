"""The log of qmail-send: every line it can write, and the one way to write it (delivery 6.5, operations 5.1)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Log = Callable[[bytes], None]

NEW_MESSAGE = b"new msg %d"
INFO_MESSAGE = b"info msg %d: bytes %d from <%b> qp %d uid %d"
STARTING = b"starting delivery %d: msg %d to %b %b"
STATUS = b"status: local %d/%d remote %d/%d"
EXIT_AS_SOON_AS_POSSIBLE = b" exitasap"
EXITING = b"status: exiting"
SUCCESS = b"delivery %d: success: %b"
DEFERRAL = b"delivery %d: deferral: %b"
FAILURE = b"delivery %d: failure: %b"
MANGLED = b"delivery %d: report mangled, will defer"
BOUNCE = b"bounce msg %d qp %d"
END = b"end msg %d"
TRIPLE_BOUNCE = b"triple bounce: discarding %b"
DOUBLE_BOUNCE = b"double bounce: discarding %b"

CANNOT_START = b"alert: cannot start: %b"
NO_HOME = b"unable to switch to home directory"
NO_CONTROLS = b"unable to read controls"
NO_QUEUE = b"unable to switch to queue directory"
NO_MUTEX = b"unable to open mutex"
ALREADY_RUNNING = b"qmail-send is already running"
NO_SPAWNERS = b"hath the daemon spawn no fire?"

LOST_SPAWNER = b"alert: oh no! lost spawn connection! dying..."
LOST_CLEAN = b"alert: oh no! lost qmail-clean connection! dying..."
LOST_CHILD = b"alert: oh no! process %d died of signal %d! dying..."
NO_BOUNCE_FILE = b"alert: unable to append to bounce message; HELP! sleeping..."
NO_DIRECTORY = b"alert: unable to opendir %b, sleeping..."
NOT_BACK = b"alert: unable to switch back to queue directory; HELP! sleeping..."
REREAD_NO_HOME = b"alert: unable to reread controls: unable to switch to home directory"
REREAD = b"alert: unable to reread control/%b"
BUG = b"alert: internal bug: %b"

OUT_OF_RANGE = b"warning: internal error: delivery report out of range"
SELECT_TROUBLE = b"warning: trouble in select"
NOT_MARKED = b"warning: trouble marking %b; message will be delivered twice!"
NOT_CLEANED = b"warning: qmail-clean unable to clean up %b"
STAT_LATER = b"warning: unable to stat %b; will try again later"
STAT = b"warning: unable to stat %b"
UNLINK_LATER = b"warning: unable to unlink %b; will try again later"
UNLINK = b"warning: unable to unlink %b"
UNLINK_INFO = b"warning: unable to unlink %b for info"
UTIME = b"warning: unable to utime %b; message will be retried too soon"
OPENING_LATER = b"warning: trouble opening %b; will try again later"
READING_LATER = b"warning: trouble reading %b; will try again later"
UNKNOWN_RECORD = b"warning: unknown record type in %b!"
UNABLE_TO_OPEN = b"warning: unable to open %b"
CREATE_INFO = b"warning: unable to create %b for info"
CREATE_CHANNEL = b"warning: unable to create %b for delivery"
READING_TODO = b"warning: trouble reading %b for todo"
UNKNOWN_TODO_RECORD = b"warning: unknown record type in %b"
WRITING_INFO = b"warning: trouble writing to %b for info"
WRITING_CHANNEL = b"warning: trouble writing to %b in channel"
FSYNC_INFO = b"warning: trouble fsyncing %b for info"
FSYNC_CHANNEL = b"warning: trouble fsyncing %b in channel"
NO_QUEUE_PROGRAM = b"warning: unable to start qmail-queue, will try later"
BOUNCE_TROUBLE = b"warning: trouble injecting bounce message, will try later"

SAFE = bytes(47 if byte == 10 else 95 if byte < 33 or byte > 126 or byte == 37 else byte for byte in range(256))


def safe(text: bytes) -> bytes:
    """What strangers wrote as it may stand in a line: LF → `/`; blanks, `%` and bytes outside 33 … 126 → `_`."""
    return text.translate(SAFE)


def writer(fd: int) -> Log:
    """A log on a descriptor: one write per line; one that nobody reads any more is no trouble."""

    def log(line: bytes) -> None:
        try:
            os.write(fd, line + b"\n")
        except OSError:
            return

    return log
