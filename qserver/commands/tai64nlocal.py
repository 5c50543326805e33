"""NAME
    tai64nlocal - make the time stamps of tai64n and multilog readable

SYNOPSIS
    tai64nlocal

DESCRIPTION
    Copies descriptor 0 to descriptor 1 with the TAI64N label at the start of a line replaced by local time,
    YYYY-MM-DD HH:MM:SS.NNNNNNNNN. Other lines, and labels of no representable time, are copied as they are. Whatever is
    read is written before waiting for more (daemontools 12).

ENVIRONMENT
    TZ  the time zone

EXIT
    0 at the end of input; 111 trouble reading or writing
"""

from __future__ import annotations

import os

from qserver.base import heap
from qserver.base.errors import TEMPORARY
from qserver.base.files import write_all
from qserver.log.localtime import LocalTimes, use_zone

BLOCK = 65536
WORKING_SPACE = 12
"""Blocks of memory that a block passes through on its way, generously."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Copy to the end of the input."""
    use_zone(env)
    times = LocalTimes()
    _kept = heap.reserve(BLOCK, WORKING_SPACE)
    try:
        while block := os.read(0, BLOCK):
            write_all(1, times.convert(block))
    except OSError:
        return TEMPORARY
    return 0
