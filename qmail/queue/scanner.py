"""The QHPSI hook: an outside scanner that sees each message before it is accepted (delivery 2)."""

from __future__ import annotations

import os

from qmail.queue import codes
from qserver.base import chain
from qserver.base.getopt import scan_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("QHPSI", "QHPSIRC", "QHPSIMINSIZE", "QHPSIMAXSIZE", "QHPSIARG1", "QHPSIARG2", "QHPSIARG3", "PATH")
"""What the hook reads; qmail-queued takes these from a caller it trusts."""


def scan(env: Mapping[str, str], queue: str, message: str) -> int:
    """Run $QHPSI on a message (path relative to the queue directory), if it is set and the size within its bounds.

    Returns 0 to go on, 32 when the scanner refused, 71 when it failed.
    """
    program = env.get("QHPSI")
    if not program:
        return codes.OK
    try:
        size = os.stat(f"{queue}/{message}").st_size
    except OSError:
        return codes.SCANNER_TROUBLE
    least, most = (scan_number(env.get(name, "")) for name in ("QHPSIMINSIZE", "QHPSIMAXSIZE"))
    if size < least or (most and size > most):
        return codes.OK
    arguments = [env[name] for name in ("QHPSIARG1", "QHPSIARG2", "QHPSIARG3") if env.get(name)]
    status = _run([program, message, *arguments], env, queue)
    if status == 0:
        return codes.OK
    return codes.SCANNER_REFUSED if status == scan_number(env.get("QHPSIRC", ""), 1) else codes.SCANNER_TROUBLE


def _run(argv: list[str], env: Mapping[str, str], cwd: str) -> int:
    """Exit code of the scanner run in `cwd` with nothing of ours on 0 and 1; -1 if it could not run or crashed."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    line = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', cwd, *argv]
    try:
        pid = chain.spawn(line, dict(env), {0: null, 1: null})
    except OSError:
        return -1
    finally:
        os.close(null)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return -1
