"""NAME
    qmail-send - deliver mail messages from the queue

SYNOPSIS
    qmail-send

DESCRIPTION
    Started by qmail-start. Preprocesses the messages in todo, hands their recipients to qmail-lspawn and qmail-rspawn,
    tries again what failed for the moment, bounces what failed for good. Descriptors: 0 log; 1 and 2 to and from
    qmail-lspawn; 3 and 4 qmail-rspawn; 5 and 6 qmail-clean. Follows qmail-send of qmail 1.03 and s/qmail.

    TERM: finish the running deliveries and exit. ALRM: try everything again now. HUP: read locals, virtualdomains,
    concurrencylocal, concurrencyremote and queuelifetime again.

ENVIRONMENT
    QMAILHOME

FILES
    control/bouncefrom, bouncehost, bouncemaxbytes, concurrencylocal, concurrencyremote, doublebouncehost, doublebounceto,
    envnoathost, locals, percenthack, queuelifetime, virtualdomains

EXIT
    0 at TERM or when a helper is lost; 111 cannot start
"""

from __future__ import annotations

import os

from qmail.home import home as qmail_home
from qmail.send import log as lines
from qmail.send.loop import LOG_FD, CannotStart, prepare
from qserver.base import signals
from qserver.base.errors import TEMPORARY

FILE_MODES = 0o033
"""Bounces go into the queue in-process, whose files are 0644; our own files are made 0600 each."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Run until the end."""
    signals.ignore(signals.SIGPIPE)
    os.umask(FILE_MODES)
    log = lines.writer(LOG_FD)
    try:
        return prepare(qmail_home(env), log).run()
    except CannotStart as trouble:
        log(lines.CANNOT_START % trouble.reason)
    except Exception as error:  # noqa: BLE001 - descriptor 2 leads to qmail-lspawn: only the log can tell of a bug
        log(lines.BUG % lines.safe(f"{type(error).__name__}: {error}".encode("utf-8", "replace")))
    return TEMPORARY
