"""NAME
    qmail-queue - queue a message

SYNOPSIS
    qmail-queue

DESCRIPTION
    Reads a message from descriptor 0 and an envelope from descriptor 1 (`F`sender NUL, `T`recipient NUL …, NUL) and puts
    both into the queue. Prints nothing. Root drops to the queue's owner first; whoever may write the queue writes it;
    anyone else is served by qmail-queued. Follows qmail-queue of qmail 1.03 and s/qmail, without setuid.

ENVIRONMENT
    QMAILHOME; QHPSI, QHPSIRC, QHPSIMINSIZE, QHPSIMAXSIZE, QHPSIARG1 … QHPSIARG3: a scanner for each message

EXIT
    0 queued; 11 address too long; 32 refused by the scanner; 52 time-out; 53 write error or disk full; 54 read error;
    61 home; 62 queue directory or service; 63-66 creating pid, mess, intd, todo; 71 scanner trouble; 81 bug; 91 envelope
"""

from __future__ import annotations

import os

from qmail.home import home as qmail_home
from qmail.queue import codes, handover, intake
from qmail.queue.site import service_socket, site_of, trouble_of
from qserver.base import signals
from qserver.base.privileges import become

DEADLINE = 86400
IGNORED = (signals.SIGPIPE, signals.SIGINT, signals.SIGHUP, signals.SIGQUIT, signals.SIGXFSZ, signals.SIGXCPU)
"""A message half taken is not to be dropped because somebody hung up; a file too big is a write error."""
BUG_SIGNALS = (signals.SIGILL, signals.SIGABRT, signals.SIGFPE, signals.SIGBUS, signals.SIGSEGV, signals.SIGSYS)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Queue the message on 0 with the envelope on 1."""
    os.umask(0o033)
    home = qmail_home(env)
    signals.ignore(*IGNORED)
    signals.handle(signals.SIGALRM, lambda number, frame: os._exit(codes.TIMEOUT))
    for number in BUG_SIGNALS:
        signals.handle(number, lambda number, frame: os._exit(codes.BUG))
    signals.alarm(DEADLINE)
    try:
        site = site_of(home)
    except OSError:
        trouble = trouble_of(home)
        return _by_service(service_socket(home), env) if trouble is None else trouble
    uid = os.getuid()
    try:
        if os.geteuid() == 0:
            become(site.identities.queue_uid, site.identities.queue_gid)
    except OSError:
        return codes.NO_QUEUE
    if site.may_write():
        return intake.take(site, 0, 1, os.getpid(), uid, env)
    return _by_service(service_socket(home), env)


def _by_service(path: str, env: dict[str, str]) -> int:
    """Hand descriptors 0 and 1 to qmail-queued."""
    try:
        sock = handover.connect(path)
    except OSError:
        return codes.NO_QUEUE
    try:
        handover.send(sock, 0, 1, env)
    except OSError:
        return codes.WRITE_ERROR
    return handover.answer(sock)
