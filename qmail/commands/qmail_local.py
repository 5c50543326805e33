"""NAME
    qmail-local - deliver a message to a user of this host

SYNOPSIS
    qmail-local [ -nN ] user homedir local dash ext domain sender defaultdelivery

DESCRIPTION
    Delivers the message on descriptor 0, a file, to the user, in the home, as the user's .qmail files say: .qmail for the
    user's own address, .qmail DASH EXT or the nearest .qmail…default for another. Without a file, and for an empty one,
    defaultdelivery counts. Instructions, one a line: `./Maildir/`, `./mbox`, `|command`, `&address`, `# comment`; `+list`
    allows only addresses from there on, as the owner's x bit does for the whole file. qmail-lspawn runs it as the user.
    Follows qmail-local of qmail 1.03 and s/qmail.

OPTIONS
    -n    only print what would be done
    -N    deliver (the default)

ENVIRONMENT
    QMAILHOME, QMAILQUEUE: where forwarded messages go. Commands find HOST HOME USER LOCAL SENDER RECIPIENT DTLINE RPLINE
    UFLINE EXT EXT2 EXT3 EXT4 HOST2 HOST3 HOST4 DEFAULT NEWSENDER.

FILES
    .qmail*; conf/conf-patrn: mode bits that a home and its .qmail files must not have

EXIT
    0 delivered (`did FILES+FORWARDS+PROGRAMS` on descriptor 1); 100 refused for good, or usage; 111 trouble, try later.
    A command's 99 means delivered, ignore the rest; 100, 64, 65, 70, 76, 77, 78, 112 refuse for good; others are trouble.
"""

from __future__ import annotations

import os

from qmail.local.deliver import deliver
from qmail.local.delivery import Delivery
from qmail.local.message import Message
from qserver.base import signals
from qserver.base.errors import PERMANENT, Die
from qserver.base.getopt import getopt

USAGE = "qmail-local: usage: qmail-local [ -nN ] user homedir local dash ext domain sender aliasempty"
OPERANDS = 8


def main(argv: list[str], env: dict[str, str]) -> int:
    """Deliver the message on descriptor 0."""
    os.umask(0o077)
    signals.ignore(signals.SIGPIPE, signals.SIGXFSZ)  # a file too large is an error like others, to be cleaned up after
    signals.default(signals.SIGCHLD)
    options, operands = getopt(argv, "nN", USAGE)
    words = [os.fsencode(operand) for operand in operands]
    if len(words) != OPERANDS or not words[1].startswith(b"/"):
        raise Die(USAGE, PERMANENT)
    try:
        deliver(Delivery(*words), Message(0), env, not options or options[-1][0] == "N")
    except MemoryError:
        raise Die("Out of memory. (#4.3.0)") from None
    return 0
