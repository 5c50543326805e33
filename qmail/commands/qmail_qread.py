"""NAME
    qmail-qread - list the messages in the queue

SYNOPSIS
    qmail-qread

DESCRIPTION
    For each preprocessed message: date, number, size, sender, and `bouncing` if it has failures; then its recipients,
    those that are done marked so. Messages still in todo are not shown. Follows qmail-qread.c.

ENVIRONMENT
    QMAILHOME

EXIT
    0; 111 when the queue cannot be entered
"""

from __future__ import annotations

import os

from qmail.dates import date822
from qmail.home import home as qmail_home
from qmail.queue.names import Names, numbers, split_of
from qserver.base.errors import error_text
from qserver.base.files import read_file, write_all

SAFE = bytes(byte if 32 <= byte <= 126 else ord("_") for byte in range(256))


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print every message."""
    queue = f"{qmail_home(env)}/queue"
    try:
        names = Names(split_of(queue))
    except OSError as error:
        write_all(1, os.fsencode(f"fatal: unable to chdir: {error_text(error)}\n"))
        return 111
    for part in range(names.split):
        for number in _in_part(queue, part):
            write_all(1, _message(queue, names, number))
    return 0


def _in_part(queue: str, part: int) -> list[int]:
    try:
        return list(numbers(f"{queue}/info/{part}"))
    except OSError:
        return []


def _message(queue: str, names: Names, number: int) -> bytes:
    """The lines of one message; a warning when it changes under our hands."""
    try:
        info = f"{queue}/{names.info(number)}"
        sender = read_file(info)[1:].partition(b"\0")[0]
        birth = os.stat(info).st_mtime
        size = os.stat(f"{queue}/{names.mess(number)}").st_size
        bouncing = b" bouncing" if os.path.exists(f"{queue}/{names.bounce(number)}") else b""
        head = b"%b GMT  #%d  %d  <%b> %b\n" % (date822(birth)[:-6], number, size, sender.translate(SAFE), bouncing)
        return head + b"".join(_recipients(f"{queue}/{names.path(kind, number)}", kind) for kind in ("local", "remote"))
    except FileNotFoundError:
        return b""
    except OSError as error:
        return os.fsencode(f"warning: trouble with #{number}: {error_text(error)}\n")


def _recipients(path: str, kind: str) -> bytes:
    """One line per recipient of a channel file."""
    try:
        records = read_file(path).split(b"\0")
    except FileNotFoundError:
        return b""
    lines = []
    for record in records:
        if record:
            done = b"  done" if record[:1] == b"D" else b""
            lines.append(b"%b\t%b\t%b\n" % (done, kind.encode(), record[1:].translate(SAFE)))
    return b"".join(lines)
