"""NAME
    svtop - a live table of services
SYNOPSIS
    svtop [ --once ] [ -1t ] [ -d seconds ] [ dir ... ]
DESCRIPTION
    Shows every service of the directories (of svscan, or single services; without any, of the current directory): state,
    whether it has said that it is ready, for how long it is up or down, how often supervise has started it again, its pid,
    how many processes it consists of, their CPU (percent of a core) and memory (PSS: what is shared counts in proportion),
    how many bytes a second its log grows, and the last line there. q ends it. Where the output is no terminal the table is
    printed once, as with --once.
OPTIONS
    --once, -1  print the table once, plain; blanks only in the last column
    -t          below each service its processes
    -d          seconds between two looks; 2, and with --once 0.5
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
    TERM          the terminal
EXIT
    0; 100 wrong call; 111 the output cannot be written
"""

from __future__ import annotations

import os
import sys
import time

from qserver.base import signals
from qserver.base.errors import Die, fatal
from qserver.base.files import write_all
from qserver.base.getopt import getopt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

USAGE = "svtop: usage: svtop [ --once ] [ -1t ] [ -d seconds ] [ dir ... ]"
ONCE = "--once"
LIVE_INTERVAL, ONCE_INTERVAL = 2.0, 0.5
ENDS = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Look, and show."""
    once = ONCE in argv[1:2]
    options, directories = getopt([argv[0], *argv[2:]] if once else argv, "1td:", USAGE)
    letters = [letter for letter, _ in options]
    once = once or "1" in letters or not os.isatty(1)
    interval = _seconds([value for letter, value in options if letter == "d"], ONCE_INTERVAL if once else LIVE_INTERVAL)

    import curses

    from qserver.service import screen
    from qserver.service.table import Table

    table = Table(directories or ["."], env)
    if once:
        table.look()
        time.sleep(interval)
        return _print(screen.lines(table.look(), tree="t" in letters))
    for number in ENDS:
        signals.handle(number, _leave)
    try:
        screen.live(table.look, interval, tree="t" in letters)
    except curses.error as error:
        raise Die(f"svtop: fatal: unable to use the terminal: {error}", 111) from None
    return 0


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


def _seconds(given: list[str], default: float) -> float:
    if not given:
        return default
    try:
        seconds = float(given[-1])
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86400:
        raise Die(USAGE, 100)
    return seconds


def _print(text: list[str]) -> int:
    try:
        write_all(1, os.fsencode("".join(f"{line}\n" for line in text)))
    except OSError as error:
        raise fatal("svtop", "unable to write output", error) from error
    return 0
