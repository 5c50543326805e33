"""NAME
    svstat - print the status of services
SYNOPSIS
    svstat [ -lL ] dir ...
    svstat -o field,... [ -lL ] dir ...
    svstat --json dir ...
DESCRIPTION
    One line per dir: up or down, for how many seconds, and what is unusual about it. For a service with an executable
    `log` file a second line tells of the log process.
OPTIONS
    -l  the service alone    -L  the log process alone
    -o  these fields of each dir, for programs: up wantedup normallyup ready paused (true or false), pid (-1 if down),
        updownsince (TAI64N), updownfor (seconds), state, starts (of run, by this supervise), exitcode (of the last run; 256
        if a signal ended it), signal, waits (backoff, needs or -), backoff (milliseconds)
    --json  an object with service and all fields for each dir, a line each
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 whatever the states; 1 with -o and --json where supervise does not run; 100 wrong call; 111 the output cannot be written
"""

from __future__ import annotations

import errno
import os

from qserver.base.errors import Die, error_text, fatal, say
from qserver.base.files import write_all
from qserver.base.getopt import getopt
from qserver.service import detail, place, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.service.detail import Detail

    Teller = Callable[["Found"], list[str]]

USAGE = "svstat: usage: svstat [-L] [-l] dir [dir ...]"
TROUBLE = 1
JSON = "--json"


class Found:
    """What a service directory holds: its status file, or the trouble that there is with it."""

    __slots__ = ("data", "detail", "name", "normally_up", "trouble")

    def __init__(self, name: str) -> None:
        self.name = name
        self.trouble = ""
        self.data = b""
        self.detail: Detail | None = None
        self.normally_up = True


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print a line for every directory."""
    as_json = argv[1:2] == [JSON]
    options, directories = getopt([argv[0], *argv[2:]] if as_json else argv, "lLo:", USAGE)
    if not directories:
        raise Die(USAGE, 100)
    only = next((letter for letter, _ in reversed(options) if letter in "lL"), "")
    asked = next((value for letter, value in reversed(options) if letter == "o"), None)
    tell = _json if as_json else _fields(asked, only) if asked is not None else lambda found: _lines(found, only)
    start, code = place.starting_point("svstat"), 0
    for directory in directories:
        found = look(directory, env)
        _print(tell(found))
        if found.trouble and (as_json or asked is not None):
            code = TROUBLE
        place.go_back("svstat", start)
    return code


def _print(lines: list[str]) -> None:
    try:
        write_all(1, os.fsencode("".join(f"{line}\n" for line in lines)))
    except OSError as error:
        raise fatal("svstat", "unable to write output", error) from error


def look(name: str, env: dict[str, str]) -> Found:
    """Look at one directory, which becomes the current one."""
    found = Found(name)
    found.trouble = _enter(found) or _read(found, env)
    return found


def _enter(found: Found) -> str:
    try:
        os.chdir(found.name)
    except OSError as error:
        return f"unable to chdir: {_text(error)}"
    try:
        os.stat("down")
        found.normally_up = False
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"unable to stat down: {_text(error)}"
    return ""


def _read(found: Found, env: dict[str, str]) -> str:
    """Take in the status file; returns what is wrong with it."""
    try:
        where = place.directory(env)
    except OSError as error:
        return f"unable to find its path: {_text(error)}"
    try:
        if not place.is_running(where):
            return "supervise not running"
    except OSError as error:
        return f"unable to open {where}/ok: {_text(error)}"
    try:
        found.data = status.read(f"{where}/status")
    except OSError as error:
        verb = "read" if error.errno == errno.EISDIR else "open"
        return f"unable to {verb} {where}/status: {_text(error)}"
    if len(found.data) < status.OLD_SIZE:
        return f"unable to read {where}/status: bad format"
    if len(found.data) >= status.SIZE:  # 0.76 may have come after us, and leaves our file as it was
        found.detail = detail.read(where)
    return ""


def _lines(found: Found, only: str) -> list[str]:
    """daemontools' words. `only` is "l", "L" or ""."""
    if found.trouble:
        return [f"{found.name}: {found.trouble}"]
    main_block = status.unpack(found.data[: status.SIZE])
    log_block = status.unpack(found.data[status.SIZE :])
    told = []
    if main_block is not None and only != "L":
        waits = found.detail.phrase() if found.detail is not None and not main_block.pid else ""
        told.append(f"{found.name}: {status.phrase(main_block, found.normally_up)}{waits}")
    if log_block is not None and only != "l":
        told.append(f"{found.name} log: {status.phrase(log_block, found.normally_up)}")
    return told or [f"{found.name}: no log service"]


def _fields(asked: str, only: str) -> Teller:
    """What prints the fields that were asked for. Raises Die for one that is none."""
    from qserver.service import fields

    try:
        names = fields.split(asked)
    except ValueError as error:
        raise Die(f"svstat: fatal: no such field: {error}\nsvstat: fields: {' '.join(fields.FIELDS)}", 100) from None

    def tell(found: Found) -> list[str]:
        block = found.data[status.SIZE :] if only == "L" else found.data[: status.SIZE]
        told = status.unpack(block)
        if told is None:
            found.trouble = found.trouble or "no log service"
            say(f"svstat: warning: {found.name}: {found.trouble}")
            return []
        return [fields.words(names, fields.Seen(told, None if only == "L" else found.detail, found.normally_up))]

    return tell


def _json(found: Found) -> list[str]:
    from qserver.service import fields

    told = status.unpack(found.data[: status.SIZE])
    if told is None:
        return [fields.dumps({"service": found.name, "error": found.trouble})]
    return [fields.as_json(found.name, fields.Seen(told, found.detail, found.normally_up))]


def _text(error: OSError) -> str:
    return error_text(error, unknown="unknown error")
