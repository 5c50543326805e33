"""`qmailctl log`: follows a multilog directory across rotations, with times in local time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from qserver.base.tai64n import parse_label

LAST_LINES = 20
BLOCK = 65536


def local(line: bytes) -> bytes:
    """A stamped line with its label as local time; any other line as it is."""
    try:
        ns = parse_label(line[:25])
    except ValueError:
        return line
    seconds, rest = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)).encode() + b".%09d" % rest + line[25:]


def lines(directory: Path, *, follow: bool, last: int = LAST_LINES) -> Iterator[bytes]:
    """The last lines of `current`, then, with `follow`, every new one for ever, through each rotation.

    Raises OSError when there is no log.
    """
    file = open(directory / "current", "rb")
    held = b""
    tail = file.read().split(b"\n")
    held = tail.pop()
    yield from (local(line) for line in tail[-last:])
    while follow:
        block = file.read(BLOCK)
        if block:
            *whole, held = (held + block).split(b"\n")
            yield from (local(line) for line in whole)
        elif (replacement := _rotated(directory, file.fileno())) is not None:
            held += file.read()  # what was written between the last read and the rotation
            *whole, held = held.split(b"\n")
            yield from (local(line) for line in whole)
            file.close()
            file = open(replacement, "rb")
        else:
            time.sleep(0.2)
    file.close()


def _rotated(directory: Path, fd: int) -> Path | None:
    """`current` when it is no longer the open file."""
    current = directory / "current"
    try:
        there = current.stat()
    except FileNotFoundError:
        return None
    ours = os.fstat(fd)
    return current if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) else None
