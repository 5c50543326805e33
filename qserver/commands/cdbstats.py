"""NAME
    cdbstats - print how well a constant database is hashed
SYNOPSIS
    cdbstats
DESCRIPTION
    Prints the number of records in the database on descriptor 0, which must be a file, and how many of them are found in
    the place they belong to (d0), the next one (d1), and so on.
EXIT
    0; 111 that is no database, or trouble (ucspi 2.2)
"""

from __future__ import annotations

import os

from qserver.base.cdb import HEADER_SIZE, Cdb
from qserver.base.errors import Die, fatal
from qserver.base.files import write_all

FIFO = 0o010000
FARTHEST = 10
"""Distances from here on are counted together."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Count."""
    try:
        if os.fstat(0).st_size < HEADER_SIZE and os.fstat(0).st_mode & 0o170000 != FIFO:
            raise Die("cdbstats: fatal: unable to read input: truncated file")
        with Cdb.from_fd(0) as cdb:
            text = report(sum(1 for _ in cdb.records()), cdb.distances())
    except OSError as error:
        raise fatal("cdbstats", "unable to read input", error, unknown=None) from error
    try:
        write_all(1, text.encode("ascii"))
    except OSError as error:
        raise fatal("cdbstats", "unable to write output", error, unknown=None) from error
    return 0


def report(count: int, distances: list[int]) -> str:
    """The lines."""
    numbers = [0] * (FARTHEST + 1)
    for distance in distances:
        numbers[min(distance, FARTHEST)] += 1
    names = ["records", *(f"d{distance}" for distance in range(FARTHEST)), f">{FARTHEST - 1}"]
    return "".join(f"{name:<8} {number:9}\n" for name, number in zip(names, [count, *numbers], strict=True))
