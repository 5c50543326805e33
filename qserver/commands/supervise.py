"""NAME
    supervise - start a service and keep it running
SYNOPSIS
    supervise dir
DESCRIPTION
    Starts ./run in dir unless dir/down exists, and again a second later whenever it ends. Takes commands from svc through
    dir/supervise/control and tells svstat what it does in dir/supervise/status. Executable files `start`, `stop`, `log`
    and `notify` in dir are run as in daemontools-encore. TERM and INT stop the service and end supervise. A service that
    outlived its supervise (kill -9) is taken over, not started a second time.
ENVIRONMENT
    SUPERVISEDIR  another name or place for dir/supervise
FILES
    dir/supervise/lock, control, ok, status
EXIT
    0 told to exit and the service is down; 100 wrong call; 111 trouble at start, another supervise runs there
"""

from __future__ import annotations

import os

from qserver.base.errors import Die, fatal
from qserver.service.supervisor import Supervisor


def main(argv: list[str], env: dict[str, str]) -> int:
    """Supervise the directory."""
    if len(argv) != 2:
        raise Die("supervise: usage: supervise dir", 100)
    base = _here()
    try:
        os.chdir(argv[1])
    except OSError as error:
        raise fatal("supervise", f"unable to chdir to {argv[1]}", error) from error
    return Supervisor(argv[1], env, base).run()


def _here() -> str:
    """The directory we were started in, which names of other services are relative to."""
    try:
        return os.getcwd()
    except OSError:  # it is gone
        return ""
