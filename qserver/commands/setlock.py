"""NAME
    setlock - run a program with a file locked
SYNOPSIS
    setlock [ -nNxX ] file program [ arg ... ]
DESCRIPTION
    Opens file for appending, creating it if need be, locks it and becomes program. The lock lives as long as program, or
    anything it started, holds the descriptor.
OPTIONS
    -n  do not wait when file is locked     -N  wait (the default)
    -x  exit 0, silently, when file cannot be opened or locked     -X  complain (the default)
EXIT
    100 wrong call; 111 unable to open, lock or run; otherwise program's own status
"""

from __future__ import annotations

import errno
import os

from qserver.base import chain
from qserver.base.errors import Die, fatal
from qserver.base.files import lock_exclusive, open_lock
from qserver.base.getopt import getopt

USAGE = "setlock: usage: setlock [ -nNxX ] file program [ arg ... ]"


def main(argv: list[str], env: dict[str, str]) -> int:
    """Lock, then become the program."""
    options, rest = getopt(argv, "nNxX", USAGE)
    letters = [letter for letter, _ in options]
    if len(rest) < 2:
        raise Die(USAGE, 100)
    try:
        _lock(rest[0], wait=_last_of("nN", letters) != "n")
    except Die:
        if _last_of("xX", letters) == "x":
            return 0
        raise
    return chain.execute(rest[1:], env, "setlock")


def _last_of(pair: str, letters: list[str]) -> str:
    return next((letter for letter in reversed(letters) if letter in pair), "")


def _lock(path: str, *, wait: bool) -> None:
    """Lock the file on a descriptor that the program inherits. Raises Die."""
    try:
        fd = open_lock(path)
    except OSError as error:
        raise fatal("setlock", f"unable to open {path}", error) from error
    try:
        if not lock_exclusive(fd, wait=wait):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    except OSError as error:
        raise fatal("setlock", f"unable to lock {path}", error) from error
    os.set_inheritable(fd, True)
