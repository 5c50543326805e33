"""NAME
    qmail-remote - deliver a message by SMTP (qmail 1.03, s/qmail)
SYNOPSIS
    qmail-remote host sender recip [ recip ... ]
DESCRIPTION
    Sends the message on descriptor 0 to the recipients at host: to the relay that control/smtproutes names, else to the
    mail exchangers of host, best first. Prints reports on descriptor 1, each ended by a NUL: for each recipient r
    (accepted), h (permanent failure) or s (temporary failure), then for the message K, Z or D.
ENVIRONMENT
    QMAILHOME    the qmail home
    DNSCACHEIP   name servers to ask instead of those in resolv.conf: addresses between blanks, with %interface where that
                 is needed, and with #port for a server that is not on port 53
FILES
    control/helohost (default me), timeoutconnect (60), timeoutremote (1200), smtproutes, domainips, outgoingip
    queue/lock/tcpto   hosts that did not answer lately
EXIT
    0 always
"""

from __future__ import annotations

import os

from qmail.home import home
from qmail.remote import reports
from qmail.remote.delivery import deliver
from qserver.base import signals
from qserver.base.files import write_all


def main(argv: list[str], env: dict[str, str]) -> int:
    """Deliver the message on descriptor 0, report on descriptor 1."""
    signals.ignore(signals.SIGPIPE)
    said = _run([os.fsencode(word) for word in argv[1:]], env)
    try:
        write_all(1, b"".join(report + b"\0" for report in said))
    except OSError:  # nobody listens
        return 0
    return 0


def _run(words: list[bytes], env: dict[str, str]) -> list[bytes]:
    if len(words) < 3:
        return [reports.IMPROPER]
    where = home(env)
    try:
        os.chdir(where)
    except OSError:
        return [reports.NO_HOME]
    return deliver(words[0], words[1], words[2:], where, env)
