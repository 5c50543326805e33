"""NAME
    svup - check whether a service is up
SYNOPSIS
    svup [ -lL ] dir
DESCRIPTION
    A service is up while it has a process, or when its `start` has set up all there is. Where it has an executable `log`,
    both must be up.
OPTIONS
    -l  the service alone    -L  the log process alone
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 up; 100 not up, or wrong call; 111 one cannot tell (daemontools 9)
"""

from __future__ import annotations

import os

from qserver.base.errors import PERMANENT, Die, fatal
from qserver.base.getopt import getopt
from qserver.service import place, status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

USAGE = "svup: usage: svup [-L] [-l] dir"
UP_STATES = (status.STARTED, status.RUNNING)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Look at dir/supervise/status."""
    options, operands = getopt(argv, "lL", USAGE)
    if not operands:
        raise Die(USAGE, 100)
    only = options[-1][0] if options else ""
    name = operands[0]
    try:
        os.chdir(name)
    except OSError as error:
        raise fatal("svup", f"unable to chdir to {name}", error) from error
    data = _read(env)
    if data is None:
        return PERMANENT
    if len(data) < status.OLD_SIZE:
        raise fatal("svup", "bad data in supervise/status: truncated file")
    return 0 if is_up(data, only) else PERMANENT


def is_up(data: bytes, only: str) -> bool:
    """Whether the processes that `only` ("l", "L" or "" for all there are) names are up, by the bytes of a status file."""
    main_block = status.unpack(data[: status.SIZE])
    log_block = status.unpack(data[status.SIZE :])
    if only == "L":
        return _is_up(log_block)
    return _is_up(main_block) and (only == "l" or log_block is None or _is_up(log_block))


def _is_up(block: status.Status | None) -> bool:
    return block is not None and (block.pid != 0 or block.state in UP_STATES)


def _read(env: Mapping[str, str]) -> bytes | None:
    """The status file; None where supervise does not run. Raises Die."""
    where = "supervise"
    name = "ok"
    try:
        where = place.directory(env)
        if not place.is_running(where):
            return None
        name = "status"
        return status.read(f"{where}/status")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise fatal("svup", f"unable to open {where}/{name}", error) from error
