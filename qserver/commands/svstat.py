"""NAME
    svstat - print the status of services
SYNOPSIS
    svstat [ -lL ] dir ...
DESCRIPTION
    One line per dir: up or down, for how many seconds, and what is unusual about it. For a service with an executable
    `log` file a second line tells of the log process.
OPTIONS
    -l  the service alone    -L  the log process alone
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 whatever the states; 100 wrong call; 111 the output cannot be written
"""

from __future__ import annotations

import errno
import os

from qserver.base.errors import Die, error_text, fatal
from qserver.base.files import write_all
from qserver.base.getopt import getopt
from qserver.service import place, status

USAGE = "svstat: usage: svstat [-L] [-l] dir [dir ...]"


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print a line for every directory."""
    options, directories = getopt(argv, "lL", USAGE)
    if not directories:
        raise Die(USAGE, 100)
    only = options[-1][0] if options else ""
    start = place.starting_point("svstat")
    for directory in directories:
        text = "".join(f"{line}\n" for line in lines(directory, only, env))
        try:
            write_all(1, os.fsencode(text))
        except OSError as error:
            raise fatal("svstat", "unable to write output", error) from error
        place.go_back("svstat", start)
    return 0


def lines(name: str, only: str, env: dict[str, str]) -> list[str]:
    """What is said of one directory, which becomes the current one. `only` is "l", "L" or ""."""
    try:
        os.chdir(name)
    except OSError as error:
        return [f"{name}: unable to chdir: {_text(error)}"]
    try:
        os.stat("down")
        normally_up = False
    except FileNotFoundError:
        normally_up = True
    except OSError as error:
        return [f"{name}: unable to stat down: {_text(error)}"]
    try:
        data = _read(name, place.directory(env))
    except OSError as error:
        return [f"{name}: unable to find its path: {_text(error)}"]
    return [data] if isinstance(data, str) else _blocks(name, only, data, normally_up)


def _read(name: str, where: str) -> bytes | str:
    """The status file, or the line that says why not."""
    try:
        if not place.is_running(where):
            return f"{name}: supervise not running"
    except OSError as error:
        return f"{name}: unable to open {where}/ok: {_text(error)}"
    try:
        data = status.read(f"{where}/status")
    except OSError as error:
        verb = "read" if error.errno == errno.EISDIR else "open"
        return f"{name}: unable to {verb} {where}/status: {_text(error)}"
    return data if len(data) >= status.OLD_SIZE else f"{name}: unable to read {where}/status: bad format"


def _blocks(name: str, only: str, data: bytes, normally_up: bool) -> list[str]:
    main_block = status.unpack(data[: status.SIZE])
    log_block = status.unpack(data[status.SIZE :])
    told = []
    if main_block is not None and only != "L":
        told.append(f"{name}: {status.phrase(main_block, normally_up)}")
    if log_block is not None and only != "l":
        told.append(f"{name} log: {status.phrase(log_block, normally_up)}")
    return told or [f"{name}: no log service"]


def _text(error: OSError) -> str:
    return error_text(error, unknown="unknown error")
