"""NAME
    mconnect-io - the two halves of a conversation with a server
SYNOPSIS
    mconnect-io
DESCRIPTION
    Copies descriptor 0 to descriptor 7 with a CR before every LF, and descriptor 6 to descriptor 1 unchanged. Ends when
    descriptor 6 does; the end of descriptor 0 does not end it.
EXIT
    0; 111 trouble (ucspi 9)
"""

from __future__ import annotations

import os

from qserver.base import signals
from qserver.base.errors import fatal
from qserver.base.files import write_all
from qserver.net.newlines import AddCr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

BLOCK = 65536
FROM_SERVER, TO_SERVER = 6, 7


def main(argv: list[str], env: dict[str, str]) -> int:
    """Copy until the server ends."""
    try:
        pid = os.fork()
    except OSError as error:
        raise fatal("mconnect-io", "(111) unable to fork", error, unknown=None) from error
    if pid == 0:
        _talk()
    try:
        while block := os.read(FROM_SERVER, BLOCK):
            write_all(1, block)
    except OSError as error:
        raise fatal("mconnect-io", "(111) unable to copy", error, unknown=None) from error
    finally:
        os.kill(pid, signals.SIGTERM)
        os.waitpid(pid, 0)
    return 0


def _talk() -> NoReturn:
    """In the child: what is typed goes to the server."""
    conversion = AddCr()
    try:
        while block := os.read(0, BLOCK):
            write_all(TO_SERVER, conversion.convert(block))
    finally:
        os._exit(0)
