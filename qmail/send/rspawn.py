"""qmail-rspawn's part: starting qmail-remote, and what its reports amount to (delivery 4.2)."""

from __future__ import annotations

import os

from qmail.home import sibling
from qmail.send.crew import Errand
from qmail.send.spawn import Agent, Order, is_own
from qserver.base import chain
from qserver.base.errors import TEMPORARY, Die

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROGRAM = "qmail-remote"
CRASHED = b"Zqmail-remote crashed.\n"
NOT_RUN_NOW = b"ZUnable to run qmail-remote.\n"
NOT_RUN = b"DUnable to run qmail-remote.\n"
NO_OUTPUT = b"Zqmail-remote produced no output.\n"
TCPTO = "../lock/tcpto"
TCPTO_SIZE = 1024
RANK = {b"K": 1, b"Z": 0, b"D": -1}
"""How good a report is."""
RECIPIENT_RANK = {b"s": 0, b"h": -1}


class Remote(Agent):
    """Deliveries by qmail-remote; spawner and children have one identity."""

    __slots__ = ()

    def errand(self, order: Order) -> Errand | None:
        """For our own qmail-remote."""
        return Errand(None, PROGRAM, _words(order)) if is_own(PROGRAM, self.env) else None

    def deliver(self, order: Order) -> NoReturn:
        """A child of its own: become qmail-remote."""
        words = [os.fsdecode(word) for word in _words(order)]
        try:
            chain.execute([sibling(PROGRAM, self.env), *words], self.env, "qmail-rspawn")
        except Die:
            os._exit(TEMPORARY)

    def report(self, status: int, output: bytes) -> bytes:
        """Letter and text."""
        if os.WIFSIGNALED(status):
            return CRASHED
        code = os.waitstatus_to_exitcode(status)
        if code:
            return NOT_RUN_NOW if code == TEMPORARY else NOT_RUN
        return interpret(output) if output else NO_OUTPUT


def _words(order: Order) -> list[bytes]:
    """qmail-remote's arguments."""
    return [order.recipient.rpartition(b"@")[2], order.sender, order.recipient]


def interpret(output: bytes) -> bytes:
    """qmail-remote's reports, ended by NULs, as one: the message's verdict may be worsened by the recipient's."""
    pieces = output.split(b"\0")
    result = next((RANK[report[:1]] for report in pieces[:-1] if report[:1] in RANK), -1)
    verdict = RECIPIENT_RANK.get(output[:1], result)
    text = next(letter for letter, rank in RANK.items() if rank == verdict) + pieces[0][1:]
    if result <= verdict and len(pieces) > 1 and pieces[1][:1] in RANK:
        text += pieces[1][1:]
    return text


def forget_timeouts() -> None:
    """A new start tries every host again. The current directory is queue/mess."""
    try:
        fd = os.open(TCPTO, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, bytes(TCPTO_SIZE))
    except OSError:
        return
    finally:
        os.close(fd)
