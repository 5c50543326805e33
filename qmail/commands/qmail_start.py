"""NAME
    qmail-start - turn on mail delivery

SYNOPSIS
    qmail-start [ defaultdelivery [ logger arg ... ] ]

DESCRIPTION
    Starts qmail-lspawn, qmail-rspawn, qmail-clean and qmail-queued and becomes qmail-send. Mail for users without a
    .qmail file is delivered by the instructions `defaultdelivery`; without arguments by those of
    control/defaultdelivery, and without that file to ./Mailbox. The log goes to descriptor 1, or to the logger.
    Follows qmail-start of qmail 1.03 and s/qmail.

ENVIRONMENT
    QMAILHOME; all of it is passed on to the programs that deliver

EXIT
    111, silently, when the set-up fails; else qmail-send's
"""

from __future__ import annotations

from qmail.send.start import start
from qserver.base.errors import TEMPORARY, Die


def main(argv: list[str], env: dict[str, str]) -> int:
    """Start the daemons; becomes qmail-send."""
    try:
        start(argv[1:], env)
    except OSError:
        return TEMPORARY
    except Die as death:
        return death.code
