"""NAME
    svwait - wait until services are up, ready or down
SYNOPSIS
    svwait [ -u | -U | -d | -D ] [ -a | -o ] [ -t timeout ] dir ...
DESCRIPTION
    Returns when all the services are in the state that is waited for. One that has neither a file `notification-fd` nor
    `notification-socket` never says that it is ready: it is when it is up.
OPTIONS
    -u  up (the default)    -U  up and ready
    -d  down                -D  down, and `finish` and `stop` have ended
    -a  all of them (the default)    -o  one of them is enough
    -t  give up after so many milliseconds; 0, the default, is never
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 reached, or no dir; 99 timed out; 100 wrong call; 102 supervise does not run in one of them; 111 one cannot tell
"""

from __future__ import annotations

import time

from qserver.base.errors import Die, fatal, usage
from qserver.base.getopt import getopt
from qserver.service import readiness
from qserver.service.status import FAILED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.service.status import Status

SYNOPSIS = "svwait [ -u | -U | -d | -D ] [ -a | -o ] [ -t timeout ] dir ..."
USAGE = f"svwait: usage: {SYNOPSIS}"
TIMED_OUT, NOT_SUPERVISED = 99, 102
INTERVAL = 0.1
"""Seconds between two looks."""
ENDED = (STOPPED, FAILED, None)
"""States in which neither finish nor stop runs; 0.76 knows neither."""

REACHED: dict[str, Callable[[str, Status], bool]] = {
    "u": lambda path, told: readiness.is_up(told),
    "U": lambda path, told: readiness.is_ready_by(path, told),
    "d": lambda path, told: told.pid == 0,
    "D": lambda path, told: told.pid == 0 and told.state in ENDED,
}


def main(argv: list[str], env: dict[str, str]) -> int:
    """Look again and again."""
    options, directories = getopt(argv, "uUdDaot:", USAGE)
    letters = [letter for letter, _ in options]
    reached = REACHED[next((letter for letter in reversed(letters) if letter in REACHED), "u")]
    enough = any if next((letter for letter in reversed(letters) if letter in "ao"), "a") == "o" else all
    deadline = _deadline([value for letter, value in options if letter == "t"])
    if not directories:
        return 0
    while not enough([_is(path, reached, env) for path in directories]):
        left = INTERVAL if deadline is None else min(INTERVAL, deadline - time.monotonic())
        if left <= 0:
            raise Die("svwait: fatal: timed out", TIMED_OUT)
        time.sleep(left)
    return 0


def _deadline(given: list[str]) -> float | None:
    """When to give up. Raises Die for what is no number."""
    text = given[-1] if given else "0"
    if not text.isascii() or not text.isdigit():
        raise usage("svwait", SYNOPSIS)
    return time.monotonic() + int(text) / 1000 if int(text) else None


def _is(path: str, reached: Callable[[str, Status], bool], env: dict[str, str]) -> bool:
    """Whether one service is in that state. Raises Die where there is no telling."""
    try:
        told = readiness.status_of(path, env)
    except FileNotFoundError:
        told = None
    except OSError as error:
        raise fatal("svwait", f"unable to read the status of {path}", error, unknown=str(error)) from error
    if told is None:
        raise Die(f"svwait: fatal: supervise not running in {path}", NOT_SUPERVISED)
    return reached(path, told)
