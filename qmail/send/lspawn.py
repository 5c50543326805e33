"""qmail-lspawn's part: whose address it is, becoming that user, what qmail-local's exit code means (delivery 4.1)."""

from __future__ import annotations

import os

from qmail.home import home, sibling
from qmail.local import users
from qmail.send.crew import Errand
from qmail.send.spawn import Agent, Order, is_own
from qserver.base import chain
from qserver.base.errors import Die, is_temporary
from qserver.base.privileges import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qmail.local.users import User

PROGRAM = "qmail-local"
USAGE = 112
ROOT = 113
NO_MEMORY = 119
NO_PROGRAM = 126
NO_PROGRAM_NOW = 120
LONGEST_OUTPUT = 3000
TOO_LONG = b"\nError report too long, sorry.\n"
KEPT = LONGEST_OUTPUT - len(TOO_LONG) - 3

CRASHED = b"Zqmail-local crashed.\n"
TEXTS: dict[int, bytes] = {
    112: b"ZInternal qmail-lspawn bug.\n",
    113: b"ZNot allowed to perform deliveries as root.\n",
    115: b"ZNFS failure in qmail-local.\n",
    116: b"ZUnable to find alias user!\n",
    117: b"ZTrouble reading users/cdb in qmail-lspawn.\n",
    118: b"ZTemporary failure in qmail-lspawn.\n",
    119: b"ZOut of memory in qmail-lspawn.\n",
    120: b"ZUnable to run qmail-local.\n",
    121: b"ZUnable to run qmail-getpw.\n",
    126: b"DUnable to run qmail-local.\n",
}
"""Exit codes that have a text of their own; the output is thrown away."""
SOFT = (111, 71, 74, 75)


class Local(Agent):
    """Deliveries by qmail-local, each as the recipient's user."""

    __slots__ = ("_home", "_instructions")

    def __init__(self, instructions: str, env: dict[str, str]) -> None:
        """`instructions` are for users without a .qmail file."""
        super().__init__(env)
        self._instructions = os.fsencode(instructions)
        self._home = home(env)

    def at_once(self, order: Order) -> bytes | None:
        """Mail to nobody is delivered."""
        return b"K" if order.recipient.rpartition(b"@")[0] == b"" else None

    def errand(self, order: Order) -> Errand | None:
        """For our own qmail-local and users of users/cdb: asking for an account may take long, so a child does that."""
        if not is_own(PROGRAM, self.env):
            return None
        try:
            user = users.assigned(self._home, order.recipient.rpartition(b"@")[0])
        except users.UserTrouble:
            return None
        if user is None or user.uid == 0 or os.geteuid() not in (0, user.uid):
            return None
        return Errand((user.uid, user.gid), PROGRAM, self._words(user, order))

    def _words(self, user: User, order: Order) -> list[bytes]:
        """qmail-local's arguments."""
        local, _, host = order.recipient.rpartition(b"@")
        return [b"--", user.name, user.home, local, user.dash, user.extension, host, order.sender, self._instructions]

    def deliver(self, order: Order) -> NoReturn:
        """A child of its own: find the user, become it, become qmail-local."""
        try:
            os.chdir(self._home)
        except OSError:
            os._exit(USAGE)
        user = self._find(order.recipient.rpartition(b"@")[0])
        program = sibling(PROGRAM, self.env)
        try:
            become(user.uid, user.gid)
        except OSError:
            os._exit(USAGE)
        if os.getuid() == 0:
            os._exit(ROOT)
        try:
            chain.execute([program, *map(os.fsdecode, self._words(user, order))], self.env, "qmail-lspawn")
        except Die as death:
            cause = death.__cause__
            os._exit(NO_PROGRAM_NOW if isinstance(cause, OSError) and is_temporary(cause) else NO_PROGRAM)

    def _find(self, local: bytes) -> User:
        """The user an address belongs to; ends the child where there is none."""
        try:
            return users.lookup(self._home, local, self.env)
        except users.UserTrouble as trouble:
            os._exit(trouble.code)
        except MemoryError:
            os._exit(NO_MEMORY)

    def shorten(self, output: bytes) -> bytes:
        """A long report is cut."""
        return output[:KEPT] + TOO_LONG if len(output) > LONGEST_OUTPUT else output

    def report(self, status: int, output: bytes) -> bytes:
        """Letter and text."""
        if os.WIFSIGNALED(status):
            return CRASHED
        code = os.waitstatus_to_exitcode(status)
        if code in TEXTS:
            return TEXTS[code]
        text = output.partition(b"\0")[0]
        return (b"K" if code == 0 else b"Z" if code in SOFT else b"D") + text
