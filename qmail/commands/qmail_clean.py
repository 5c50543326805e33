"""NAME
    qmail-clean - remove queue files for qmail-send

SYNOPSIS
    qmail-clean

DESCRIPTION
    Reads NUL-terminated commands from descriptor 0 and answers one byte each on descriptor 1: `foop/ID` removes intd and
    mess, `todo/ID` or `todo/N/ID` removes intd and todo. `+` done, `!` could not, `x` not understood. At start and after
    every 30 commands it removes files of 36 hours and more from pid/. Started by qmail-start; follows qmail-clean.c.

ENVIRONMENT
    QMAILHOME

EXIT
    0 at the end of input; 111 no home or queue; 100 the answer cannot be written
"""

from __future__ import annotations

import os
import time

from qmail.home import home as qmail_home
from qmail.queue.names import Names, split_of
from qserver.base import signals
from qserver.base.errors import PERMANENT, TEMPORARY

OSSIFIED = 129600
"""Seconds after which a file in pid/ belongs to nobody."""
COMMANDS_BETWEEN_SCANS = 30
SHORTEST, LONGEST = 7, 100


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve qmail-send until it closes the pipe."""
    signals.ignore(signals.SIGPIPE)
    queue = f"{qmail_home(env)}/queue"
    try:
        os.chdir(queue)
        names = Names(split_of("."))
    except OSError:
        return TEMPORARY
    held = b""
    left = 0
    while True:
        if left == 0:
            collect_pid_files()
            left = COMMANDS_BETWEEN_SCANS
        block = _read(held)
        if not block:
            return 0
        *commands, held = (held + block).split(b"\0")
        for command in commands:
            left = max(0, left - 1)
            try:
                os.write(1, clean(names, command))
            except OSError:
                return PERMANENT


def _read(held: bytes) -> bytes:
    """The next input; a command that never ends is the end."""
    try:
        return os.read(0, 4096) if len(held) <= 1 << 16 else b""
    except OSError:
        return b""


def clean(names: Names, command: bytes) -> bytes:
    """Carry out one command (without its NUL); returns the answer."""
    number = command.rpartition(b"/")[2]
    if not SHORTEST <= len(command) + 1 <= LONGEST or not number.isdigit():
        return b"x"
    if command.startswith(b"foop/"):
        kinds = ("intd", "mess")
    elif command.startswith(b"todo/"):
        kinds = ("intd", "todo")
    else:
        return b"x"
    for kind in kinds:
        try:
            os.unlink(names.path(kind, int(number)))
        except FileNotFoundError:
            continue
        except OSError:
            return b"!"
    return b"+"


def collect_pid_files() -> None:
    """Remove what a qmail-queue that died left in pid/."""
    now = time.time()
    try:
        entries = os.listdir("pid")
    except OSError:
        return
    for name in entries:
        try:
            if name[:1] != "." and now >= os.stat(f"pid/{name}").st_atime + OSSIFIED:
                os.unlink(f"pid/{name}")
        except OSError:
            continue
