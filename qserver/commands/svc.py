"""NAME
    svc - control services
SYNOPSIS
    svc [ -+=Lludopchaitkwxq12 ] dir ...
DESCRIPTION
    Gives commands to the supervise of each dir, in the order of the letters. Returns before they have taken effect.
OPTIONS
    -u up: start, and start again whenever it ends    -d down: TERM, CONT, and leave it down
    -o once: start it, do not start it again          -x exit: supervise ends when the service is down
    -p pause: STOP                                    -c continue: CONT
    -h HUP  -a ALRM  -i INT  -t TERM  -k KILL  -q QUIT  -1 USR1  -2 USR2  -w WINCH
    -+ signals to the process group                   -= signals to the process
    -L the letters that follow are for the log        -l for the service
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 also after warnings; 100 wrong call
"""

from __future__ import annotations

import errno
import os

from qserver.base import signals
from qserver.base.errors import Die, warn
from qserver.base.files import write_all
from qserver.base.getopt import getopt
from qserver.service import place

LETTERS = "+=Lludopchaitkwxq12"
USAGE = (
    "svc options: + kill process group, = kill parent process, L kill log, l kill main, u up, d down, o once, x exit, "
    "p pause, c continue, h hup, a alarm, i interrupt, t term, k kill, q quit, 1 SIGUSR1, 2 SIGUSR2, w SIGWINCH"
)
MOST = 32
"""Bytes sent at most, with the first `l`."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Send the letters to every directory."""
    options, directories = getopt(argv, LETTERS, USAGE)
    commands = letters([letter for letter, _ in options])
    signals.ignore(signals.SIGPIPE)
    start = place.starting_point("svc")
    for directory in directories:
        _control(directory, commands, env)
        place.go_back("svc", start)
    return 0


def letters(given: list[str]) -> bytes:
    """`l` and the letters; one that occurs already since the last L or l is not repeated. Raises Die for too many."""
    said = seen = "l"
    for letter in given:
        if len(said) >= MOST:
            raise Die("svc: fatal: too many options", 100)
        if letter in "Ll":
            seen = ""
        elif letter in seen:
            continue
        seen += letter
        said += letter
    return said.encode("ascii")


def _control(directory: str, commands: bytes, env: dict[str, str]) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        warn("svc", f"unable to chdir to {directory}", error)
        return
    try:
        fd = os.open(f"{place.directory(env)}/control", place.SPEAK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            warn("svc", f"unable to control {directory}: supervise not running")
        else:
            warn("svc", f"unable to control {directory}", error)
        return
    try:
        os.set_blocking(fd, True)
        write_all(fd, commands)
    except OSError as error:
        warn("svc", f"error writing commands to {directory}", error)
    finally:
        os.close(fd)
