"""Program delivery (delivery 7.4): `/bin/sh -c COMMAND` with the message as its input; its exit code decides."""

from __future__ import annotations

import errno
import os

from qmail.local.message import Message
from qserver.base import chain
from qserver.base.errors import PERMANENT, TEMPORARY, Die, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

STOP = 99
"""Delivered, and the rest of the instructions is not for this message."""
REFUSALS = (100, 64, 65, 70, 76, 77, 78, 112)
"""djb's permanent failure and those of sysexits.h."""
NO_PROCESS = (errno.EAGAIN, errno.ENOMEM)
"""Errors of making a process rather than of running a program in it."""


def deliver(command: bytes, message: Message, env: Mapping[str, str]) -> bool:
    """Run a command; True when the rest of the instructions is to be ignored. Raises Die."""
    message.rewind()
    fds = {0: message.fd, 1: 1, 2: 2}
    try:
        pid = chain.spawn(["/bin/sh", "-c", os.fsdecode(command)], dict(env), fds)
    except OSError as error:
        doing = "fork" if error.errno in NO_PROCESS else "run /bin/sh"
        raise Die(f"Unable to {doing}: {error_text(error)}. (#4.3.0)") from None
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        raise Die("Aack, child crashed. (#4.3.0)")
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, STOP):  # what there is to say the program has said
        raise Die("", PERMANENT if code in REFUSALS else TEMPORARY)
    return code == STOP
