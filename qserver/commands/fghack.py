"""NAME
    fghack - keep a program that puts itself into the background in the foreground
SYNOPSIS
    fghack child [ args ... ]
DESCRIPTION
    Runs child with many descriptors of a pipe open, and waits until no descendant holds one any more, then for child. A
    descendant that closes all of its descriptors escapes. There are no options (daemontools 14).
EXIT
    child's own exit code; 100 wrong call; 111 child was killed, or cannot be run
"""

from __future__ import annotations

import os

from qserver.base import chain
from qserver.base.errors import fatal, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

COPIES = 30
"""Further descriptors of the pipe: most programs close only a few."""
BLOCK = 65536


def main(argv: list[str], env: dict[str, str]) -> int:
    """Start the child, then wait for all that descends from it."""
    if len(argv) < 2:
        raise usage("fghack", "fghack child")
    try:
        reader, writer = os.pipe()
    except OSError as error:
        raise fatal("fghack", "unable to create pipe", error) from error
    try:
        pid = os.fork()
    except OSError as error:
        raise fatal("fghack", "unable to fork", error) from error
    if pid == 0:
        _become(argv[1:], env, reader, writer)
    os.close(writer)
    while os.read(reader, BLOCK):
        pass
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise fatal("fghack", "child crashed")
    return code


def _become(child: list[str], env: dict[str, str], reader: int, writer: int) -> NoReturn:
    os.close(reader)
    for fd in (writer, *(os.dup(writer) for _ in range(COPIES))):
        os.set_inheritable(fd, True)
    chain.execute(child, env, "fghack")
