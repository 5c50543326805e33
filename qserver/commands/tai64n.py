"""NAME
    tai64n - put a precise time stamp before each line

SYNOPSIS
    tai64n

DESCRIPTION
    Copies descriptor 0 to descriptor 1 with a TAI64N label and a space before each line: the time when the line's first
    byte was read. Whatever is read is written before waiting for more (daemontools 11).

EXIT
    0 at the end of input; 111 trouble reading or writing
"""

from __future__ import annotations

import os

from qserver.base import heap
from qserver.base.errors import TEMPORARY
from qserver.base.files import write_all
from qserver.log import stamps

BLOCK = 65536
WORKING_SPACE = 12
"""Blocks of memory that a block passes through on its way, generously."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Copy to the end of the input."""
    within_line = False
    _kept = heap.reserve(BLOCK, WORKING_SPACE)
    try:
        while block := os.read(0, BLOCK):
            write_all(1, stamps.before_lines(stamps.tai64n(), block, within_line=within_line))
            within_line = not block.endswith(b"\n")
    except OSError:
        return TEMPORARY
    return 0
