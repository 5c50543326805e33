"""NAME
    multilog - read lines, and append selected ones to any number of logs

SYNOPSIS
    multilog action ...

DESCRIPTION
    Reads lines from descriptor 0 and for each of them does the actions in their order. Logs are directories that rotate
    by themselves: current is being written, @LABEL.s are older files safely on disk, @LABEL.u were cut off by a crash.
    Of a line, patterns, e and = see the first 1000 bytes; directories get all of it. Trouble, such as a full disk, is
    said on descriptor 2 and the same operation tried again every 5 seconds; no line is dropped (daemontools 10).

ACTIONS
    t         (first) put a TAI64N label and a space before each line
    T         (first) put the time as SECONDS.MICROS and a space before each line
    d         (first) put the local time as YYYY-MM-DD HH:MM:SS.NNNNNNNNN and a space before each line
    -pattern  deselect lines that match; every line begins selected
    +pattern  select lines that match
    F, S      following patterns are fnmatch(3) patterns; simple patterns again. In a simple one, * goes to the first of
              the character after it, at the end to the end of the line
    e         selected lines, 200 bytes of each, to descriptor 2
    =file     the newest selected line, padded with newlines to 1001 bytes, to file
    dir       (begins with . or /) append selected lines to the log in this directory
    sSIZE     of a file in following directories, 4096 bytes or more; default 99999
    nNUM      files to keep in following directories, 2 or more; default 10
    !command  shell command that full files of following directories go through
    wCODE     .CODE instead of .s for finished files in following directories

SIGNALS
    TERM  read to the end of the line and leave as at the end of input
    ALRM  rotate the logs now

FILES
    DIR/lock DIR/current DIR/state DIR/previous DIR/processed DIR/newstate DIR/@LABEL.s DIR/@LABEL.u

EXIT
    0 at the end of input; 111 a directory or file cannot be opened at start
"""

from __future__ import annotations

import os

from qserver.base import signals
from qserver.base.errors import fatal
from qserver.log import loop, stamps
from qserver.log.directory import LogDirectory
from qserver.log.feed import Feeder
from qserver.log.patterns import Selection
from qserver.log.script import parse
from qserver.log.status import Interleaved, StandardError, StatusFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.log.feed import Taker


def main(argv: list[str], env: dict[str, str]) -> int:
    """Open everything, log to the end of the input, and mark the logs as complete."""
    os.umask(0o022)
    signals.default(signals.SIGCHLD)
    try:
        start = os.open(".", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fatal("multilog", "unable to switch to current directory", error) from None
    wakeup = signals.WakeUp(loop.CAUGHT)  # not before: descriptor 0 may be closed, and must not be taken for the input
    script = parse(argv[1:])
    if script.stamp == "d":
        from qserver.log.localtime import use_zone

        use_zone(env)
    takers: list[tuple[Selection, Taker]] = []
    for action in script.actions:
        if action.kind == "=":
            status = StatusFile(action.path)
            status.open()
            takers.append((action.selection, status))
    takers += _to_standard_error([action.selection for action in script.actions if action.kind == "e"])
    logs = [
        (action.selection, LogDirectory(action.path, action.settings, env)) for action in script.actions if action.kind == "/"
    ]
    for _, log in logs:
        log.open(start)

    def rotate() -> None:
        for _, log in logs:
            if log.size > 0:
                log.rotate()

    loop.run(Feeder(stamps.KINDS[script.stamp], takers, [*logs]), rotate, wakeup)
    for _, log in logs:
        log.close()
    return 0


def _to_standard_error(selections: list[Selection]) -> list[tuple[Selection, Taker]]:
    """The actions `e`."""
    if len(selections) < 2:
        return [(selection, StandardError()) for selection in selections]
    return [(Selection(()), Interleaved(selections))]
