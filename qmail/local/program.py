"""Program delivery (delivery 7.4): `/bin/sh -c COMMAND` with the message as its input; its exit code decides.

A command that is one of our own, in words that mean to the shell just what they are, such as `forward joe@example.org`,
runs in a fork of this process: a tenth of the time that the shell and a new interpreter take.
"""

from __future__ import annotations

import errno
import os

from qmail.local.message import Message
from qserver.base import chain, signals
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
PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+-_.,:/ ")
"""Bytes that no shell treats specially, wherever in a command they stand."""


def deliver(command: bytes, message: Message, env: Mapping[str, str]) -> bool:
    """Run a command; True when the rest of the instructions is to be ignored. Raises Die."""
    message.rewind()
    try:
        pid = _start(os.fsdecode(command), message, dict(env), PLAIN.issuperset(command))
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


def _start(command: str, message: Message, env: dict[str, str], plain: bool) -> int:
    """The process that runs the command. Raises OSError."""
    words = command.split(" ")
    name = _own(words, env) if plain else None
    if name is None:
        return chain.spawn(["/bin/sh", "-c", command], env, {0: message.fd, 1: 1, 2: 2})
    pid = os.fork()
    if pid == 0:
        try:
            signals.default(*signals.changed())
            os.dup2(message.fd, 0)
            chain.run_own(name, [word for word in words if word], env)
        finally:
            os._exit(TEMPORARY)
    return pid


def _own(words: list[str], env: Mapping[str, str]) -> str | None:
    """The name of our command that the first word is, or None; as everywhere, $QSERVER_EXEC asks for real programs."""
    first = next((word for word in words if word), None)
    if first is None or env.get("QSERVER_EXEC") == "1":
        return None
    try:
        return chain.own_command(chain.find(first, env.get("PATH")))
    except OSError:
        return None
