"""NAME
    forward - forward a message, for .qmail files

SYNOPSIS
    forward address ...

DESCRIPTION
    `|forward address ...` in a .qmail file sends the message on to the addresses, with a Delivered-To line, from the sender
    that qmail-local gives: that of the message, or the owner of the list. Follows forward of qmail 1.03 and s/qmail.

ENVIRONMENT
    NEWSENDER, DTLINE: from qmail-local, needed; QMAILHOME, QMAILQUEUE

EXIT
    0 queued (`forward: qp N` on descriptor 2); 100 refused, or not run by qmail-local; 111 trouble, try later
"""

from __future__ import annotations

import os

from qmail.local.forward import forward
from qmail.local.message import Message
from qserver.base import signals
from qserver.base.errors import PERMANENT, fatal, say


def main(argv: list[str], env: dict[str, str]) -> int:
    """Queue the message on descriptor 0 again."""
    signals.ignore(signals.SIGPIPE)
    for name in ("NEWSENDER", "DTLINE"):
        if name not in env:
            raise fatal("forward", f"{name} not set", code=PERMANENT)
    head, sender = os.fsencode(env["DTLINE"]), os.fsencode(env["NEWSENDER"])
    try:
        outcome = forward(head, Message(0), sender, [os.fsencode(address) for address in argv[1:]], env)
    except OSError as error:
        raise fatal("forward", "unable to fork", error, unknown=None) from None
    if outcome.trouble is not None:
        raise fatal("forward", "unable to read message", outcome.trouble.error, unknown=None)
    if outcome.text:
        raise fatal("forward", outcome.reason(), code=outcome.code())
    say(f"forward: qp {outcome.qp}")
    return 0
