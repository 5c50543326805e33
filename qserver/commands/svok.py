"""NAME
    svok - check whether supervise is running
SYNOPSIS
    svok dir
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
EXIT
    0 supervise runs in dir; 100 it does not, or wrong call; 111 one cannot tell
"""

from __future__ import annotations

import os

from qserver.base.errors import PERMANENT, Die, fatal
from qserver.service import place


def main(argv: list[str], env: dict[str, str]) -> int:
    """Look at dir/supervise/ok."""
    if len(argv) < 2:
        raise Die("svok: usage: svok dir", 100)
    name = argv[1]
    try:
        os.chdir(name)
    except OSError as error:
        raise fatal("svok", f"unable to chdir to {name}", error) from error
    where = "supervise"
    try:
        where = place.directory(env)
        return 0 if place.is_running(where) else PERMANENT
    except FileNotFoundError:
        return PERMANENT
    except OSError as error:
        raise fatal("svok", f"unable to open {place.shown(name, where)}/ok", error) from error
