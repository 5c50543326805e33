"""NAME
    qmail-queued - the queue service

SYNOPSIS
    qmail-queued

DESCRIPTION
    Queues messages for local callers who may not write the queue themselves, in place of C's setuid qmail-queue. Listens
    on QMAILHOME/run/queue.sock; learns each caller's uid and pid from the kernel. Runs as the queue's owner, started by
    qmail-start or as a service of its own. A second copy finds the first one answering and ends silently.

ENVIRONMENT
    QMAILHOME

FILES
    QMAILHOME/run/queue.sock; queue.lock, held by the one that serves

EXIT
    0 at TERM, when its starter ended, or when another copy serves; 111 no queue or no socket
"""

from __future__ import annotations

import os

from qmail.home import home as qmail_home
from qmail.queue import service
from qmail.queue.site import service_socket, site_of
from qserver.base import signals
from qserver.base.errors import TEMPORARY
from qserver.base.privileges import become


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve until the end."""
    os.umask(0o033)
    signals.ignore(signals.SIGPIPE, signals.SIGXFSZ)
    try:
        site = site_of(qmail_home(env))
        run = f"{site.home}/run"
        if not os.path.isdir(run):
            os.mkdir(run)
            os.chmod(run, 0o755)
        if os.geteuid() == 0:
            if os.stat(run).st_uid != site.identities.queue_uid:
                os.chown(run, site.identities.queue_uid, site.identities.queue_gid)
            become(site.identities.queue_uid, site.identities.queue_gid)
        path = service_socket(site.home)
        lock = service.claim(path)
        if lock is None:
            return 0
        sock = service.listen(path)
    except OSError:
        return TEMPORARY
    inode = os.stat(path).st_ino
    try:
        return service.Service(site, sock, lock).run()
    finally:
        _remove(path, inode)


def _remove(path: str, inode: int) -> None:
    """Take our socket away, not one that a successor made."""
    try:
        if os.stat(path).st_ino == inode:
            os.unlink(path)
    except OSError:
        return
