"""qmail-local's work from its arguments to its exit code (delivery 7): checks, instructions in order, then forwarding."""

from __future__ import annotations

import os
import time

from qmail.local import dotqmail, instructions, maildir, mbox, program
from qmail.local.delivery import Delivery, environment
from qmail.local.message import Message, Unreadable, header_has, unable_to_read
from qserver.base.errors import PERMANENT, Die, error_text, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.local.instructions import Found

LOOP = "This message is looping: it already has my Delivered-To line. (#5.4.6)"
BLANK = "Uh-oh: first line of .qmail file is blank. (#4.2.1)"
NOT_FILES = "Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)"
NOT_PROGRAMS = "Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)"
SHOWN_AS = {
    dotqmail.MAILDIR: b"maildir ",
    dotqmail.MBOX: b"mbox ",
    dotqmail.PROGRAM: b"program ",
    dotqmail.FORWARD: b"forward ",
}
"""What -n prints."""


def preload() -> None:
    """Import, before deliveries are forked, what not every delivery needs."""
    import qmail.local.forward  # noqa: F401


def deliver(delivery: Delivery, message: Message, env: Mapping[str, str], delivering: bool) -> None:
    """Deliver, or with `delivering` off only print what would be done. Changes to the home. Raises Die."""
    try:
        os.chdir(delivery.home)
    except OSError as error:
        raise Die(f"Unable to switch to {os.fsdecode(delivery.home)}: {error_text(error)}. (#4.3.0)") from None
    unsafe = instructions.unsafe_bits(env)
    instructions.check_home(unsafe, delivering)
    if delivering:
        check_loop(delivery, message)
    found = instructions.find(delivery, unsafe)
    session = Session(delivery, message, env, found, instructions.new_sender(delivery), delivering)
    session.carry_out(dotqmail.parse(found.data))
    session.forward()
    session.report()


def check_loop(delivery: Delivery, message: Message) -> None:
    """A message that has been here goes no further. Raises Die."""
    message.rewind()
    try:
        if header_has(message, delivery.delivered_to()):
            raise Die(LOOP, PERMANENT)
    except Unreadable as trouble:
        raise unable_to_read(trouble) from None


class Session:
    """The instructions of one delivery being carried out; what was done stays done when a later one fails."""

    __slots__ = (
        "_default", "_delivering", "_delivery", "_env", "_files", "_forward_only", "_forwards", "_message", "_now", "_programs",
        "_qp", "_recipients", "_sender", "_variables",
    )  # fmt: skip

    def __init__(
        self, delivery: Delivery, message: Message, env: Mapping[str, str], found: Found, sender: bytes, delivering: bool
    ) -> None:
        """`env` is what the process was given; `sender` is that of what is forwarded."""
        self._delivery = delivery
        self._message = message
        self._env = env
        self._default = found.default
        self._forward_only = found.forward_only
        self._sender = sender
        self._delivering = delivering
        self._now = time.time()
        self._variables: dict[str, str] | None = None
        self._files = self._programs = self._forwards = self._qp = 0
        self._recipients: list[bytes] = []

    def carry_out(self, lines: list[dotqmail.Instruction]) -> None:
        """Every instruction in order; addresses are only collected. Raises Die."""
        for kind, argument in lines:
            if kind == dotqmail.BLANK:
                raise Die(BLANK)
            if kind == dotqmail.FORWARD_ONLY:
                self._forward_only = True
            elif kind != dotqmail.COMMENT:
                self._admit(kind)
                if not self._delivering:
                    say(SHOWN_AS[kind] + argument, 1)
                elif self._do(kind, argument):
                    return

    def _admit(self, kind: int) -> None:
        """Count an instruction, and refuse it where only forwarding is allowed."""
        if kind == dotqmail.FORWARD:
            self._forwards += 1
        elif kind == dotqmail.PROGRAM:
            self._programs += 1
            if self._forward_only:
                raise Die(NOT_PROGRAMS)
        else:
            self._files += 1
            if self._forward_only:
                raise Die(NOT_FILES)

    def _do(self, kind: int, argument: bytes) -> bool:
        """Carry out one instruction; True when the rest is to be ignored."""
        if kind == dotqmail.FORWARD:
            self._recipients.append(argument)
        elif kind == dotqmail.PROGRAM:
            return program.deliver(argument, self._message, self._environment())
        else:
            head = self._delivery.return_path() + self._delivery.delivered_to()
            if kind == dotqmail.MAILDIR:
                maildir.deliver(argument, head, self._message)
            else:
                mbox.deliver(argument, self._delivery.from_line(self._now) + head, self._message)
        return False

    def _environment(self) -> dict[str, str]:
        """What programs get; made for the first of them, because most deliveries have none."""
        if self._variables is None:
            self._variables = environment(self._delivery, self._env, self._now, self._default, self._sender)
        return self._variables

    def forward(self) -> None:
        """One message to all addresses. Raises Die."""
        if not self._recipients:
            return
        from qmail.local.forward import forward

        self._message.rewind()
        try:
            head = self._delivery.delivered_to()
            outcome = forward(head, self._message, self._sender, self._recipients, self._environment())
        except OSError as error:
            raise Die(f"Unable to fork: {error_text(error)}. (#4.3.0)") from None
        if outcome.text:
            raise Die(f"Unable to forward message: {outcome.reason()}.", outcome.code())
        self._qp = outcome.qp

    def report(self) -> None:
        """The counts, for qmail-send's log."""
        counts = b"did %d+%d+%d" % (self._files, self._forwards, self._programs)
        say(counts + b"\nqp %d" % self._qp if self._qp else counts, 1)
