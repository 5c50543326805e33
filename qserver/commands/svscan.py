"""NAME
    svscan - start and watch a collection of services
SYNOPSIS
    svscan [ directory [ log-service ] ]
DESCRIPTION
    Starts a supervise for every subdirectory of the (current) directory whose name does not begin with a dot, and one for
    its `log` subdirectory, joined by a pipe that outlives both. Looks for new services every five seconds and starts again
    what died. The output of svscan itself goes to log-service, if one is named. TERM and INT end all services, then their
    logs, then svscan; HUP scans at once.
ENVIRONMENT
    PATH  where supervise is found
EXIT
    0 after TERM; 111 directory cannot be entered
"""

from __future__ import annotations

import os

from qserver.base.errors import fatal
from qserver.service.scanner import Scanner


def main(argv: list[str], env: dict[str, str]) -> int:
    """Scan the directory."""
    if len(argv) > 1:
        try:
            os.chdir(argv[1])
        except OSError as error:
            raise fatal("svscan", f"unable to chdir to {argv[1]}", error) from error
    scanner = Scanner(env)
    if len(argv) > 2:
        scanner.start_log_service(argv[2])
    return scanner.run()
