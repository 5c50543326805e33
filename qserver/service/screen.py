"""svtop's table as text, and on a terminal that is kept up to date."""

from __future__ import annotations

import curses
import time
from collections.abc import Callable

from qserver.service.logtail import readable
from qserver.service.table import Row

HEAD = ("SERVICE", "STATE", "READY", "UPTIME", "RESTARTS", "PID", "PROCS", "%CPU", "MEMORY", "LOG/s", "LAST LINE")
RIGHT = (3, 4, 5, 6, 7, 8, 9)
"""Columns whose values end below each other."""
UNKNOWN = "-"
UNITS = ("", "K", "M", "G", "T")
QUIT = (ord("q"), ord("Q"))


def cells(row: Row) -> tuple[str, ...]:
    """A row in words; blanks in none but the last."""
    return (
        readable(row.name.encode("utf-8", "surrogateescape")).replace(" ", "/"),
        row.state.replace(" ", "-"),
        UNKNOWN if row.ready is None else "yes" if row.ready else "no",
        UNKNOWN if row.seconds is None else duration(row.seconds),
        UNKNOWN if row.restarts is None else str(row.restarts),
        str(row.pid) if row.pid else UNKNOWN,
        str(len(row.tree)),
        UNKNOWN if row.cpu is None else f"{row.cpu:.1f}",
        UNKNOWN if row.memory is None else size(row.memory),
        UNKNOWN if row.log_rate is None else size(row.log_rate),
        readable(row.last_line) or UNKNOWN,
    )


def lines(rows: list[Row], *, tree: bool) -> list[str]:
    """The table, a head first; with `tree` every service's processes below it."""
    table = [HEAD, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD) - 1)]
    text = [_aligned(HEAD, widths)]
    for row, line in zip(rows, table[1:], strict=True):
        text.append(_aligned(line, widths))
        if tree:
            text += [f"{'  ' * (depth + 1)}{pid} {readable(name.encode())}" for depth, pid, name in row.tree]
    return text


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    parts = [
        cell.rjust(width) if column in RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=False))
    ]
    return "  ".join([*parts, line[-1]])


def duration(seconds: int) -> str:
    """`59s`, `12m05s`, `3h07m`, `12d03h`."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not minutes:
        return f"{seconds}s"
    if not hours:
        return f"{minutes}m{seconds % 60:02}s"
    return f"{hours}h{minutes % 60:02}m" if not days else f"{days}d{hours % 24:02}h"


def size(number: float) -> str:
    """`0`, `999`, `1.5K`, `23M`: three digits at most, powers of 1024."""
    power = 0
    while number >= 999.5 and power < len(UNITS) - 1:
        number /= 1024
        power += 1
    return f"{number:.1f}{UNITS[power]}" if power and number < 9.95 else f"{number:.0f}{UNITS[power]}"


def live(look: Callable[[], list[Row]], interval: float, *, tree: bool) -> None:
    """Show the table on the terminal until `q` is pressed; the terminal is as before whatever ends it."""
    curses.wrapper(_show, look, interval, tree)


def _show(window: curses.window, look: Callable[[], list[Row]], interval: float, tree: bool) -> None:
    try:
        curses.curs_set(0)
    except curses.error:
        pass  # a terminal that cannot hide its cursor
    while True:
        text = lines(look(), tree=tree)
        until = time.monotonic() + interval
        while True:
            _draw(window, text)
            window.timeout(max(0, int((until - time.monotonic()) * 1000)))
            key = window.getch()
            if key in QUIT:
                return
            if key == -1 or time.monotonic() >= until:
                break


def _draw(window: curses.window, text: list[str]) -> None:
    height, width = window.getmaxyx()
    window.erase()
    head = f"{time.strftime('%H:%M:%S')}  {len(text) - 1} lines; q quits"
    for row, line in enumerate([head, *text][:height]):
        try:
            window.addnstr(row, 0, line, width - 1, curses.A_REVERSE if row == 1 else curses.A_NORMAL)
        except curses.error:
            continue  # the terminal has become smaller meanwhile
    window.refresh()
