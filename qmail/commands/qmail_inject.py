"""NAME
    qmail-inject - preprocess and send a message

SYNOPSIS
    qmail-inject [ -nNaAhH ] [ -f sender ] [ recip ... ]

DESCRIPTION
    Reads a message from descriptor 0, completes the addresses in its header, adds the fields it lacks (Date, Message-ID,
    From, Cc), and queues it. Follows qmail-inject of qmail 1.03.

OPTIONS
    -a         send to the recipients of the command line only
    -h         send to the recipients of the header only
    -A         to those of the command line if there are any, else to those of the header (default)
    -H         to both
    -f sender  the envelope sender, before Return-Path and the environment
    -n         print the message with its Return-Path instead of queueing it
    -N         queue it (default)

ENVIRONMENT
    QMAILUSER, MAILUSER, USER, LOGNAME; QMAILHOST, MAILHOST; QMAILNAME, MAILNAME, NAME: the From field, the first that is set
    QMAILSUSER, QMAILSHOST: the envelope sender, where it differs from From
    QMAILINJECT: letters: c address-comment style, s delete Return-Path, f delete From, i delete Message-ID, r VERP for each
    recipient, m VERP for each message
    QMAILDEFAULTHOST, QMAILDEFAULTDOMAIN, QMAILPLUSDOMAIN, QMAILIDHOST: instead of the control files of these names
    QMAILMFTFILE: addresses of mailing lists, for Mail-Followup-To
    QMAILHOME, QMAILQUEUE

FILES
    control/defaulthost, control/defaultdomain, control/plusdomain, control/idhost (each: control/me)

EXIT
    0 queued; 100 usage, bad header or permanently refused; 111 temporary trouble
"""

from __future__ import annotations

import os
import time

from qmail.home import home as qmail_home
from qmail.inject.submission import Submission
from qserver.base import signals
from qserver.base.getopt import getopt

USAGE = ""
"""Of a wrong option only getopt complains."""
STRATEGIES = {"a": (True, False), "h": (False, True), "H": (True, True)}
"""Letter → (recipients of the command line, of the header)."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Inject the message on 0."""
    signals.ignore(signals.SIGPIPE)
    submission = Submission(qmail_home(env), env, int(time.time()), os.getpid())
    options, recipients = getopt(argv, "aAhHnNf:", USAGE)
    strategy, queued = "A", True
    for letter, value in options:
        if letter == "f":
            submission.set_sender(os.fsencode(value))
        elif letter in "nN":
            queued = letter == "N"
        else:
            strategy = letter
    arguments, header = STRATEGIES.get(strategy, (bool(recipients), not recipients))
    if arguments:
        submission.add_recipients([os.fsencode(recipient) for recipient in recipients])
    return submission.run(0, 1 if not queued else None, header_recipients=header)
