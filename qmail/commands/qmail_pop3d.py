"""NAME
    qmail-pop3d - serve a Maildir over POP3 after the login (qmail 1.03, s/qmail)
SYNOPSIS
    qmail-pop3d maildirname
DESCRIPTION
    Speaks the TRANSACTION state of POP3 (RFC 1939) on descriptors 0 and 1: STAT LIST UIDL RETR TOP DELE LAST RSET NOOP
    CAPA QUIT. The messages are those that lay in new/ and cur/ of maildirname at the start, oldest first. maildirname
    is relative to the current directory, the home that the checkpassword program changed to. Nothing is removed or
    moved before QUIT. No lock is taken.
FILES
    maildirname/tmp   files that nobody read for 36 hours are removed
    maildirname/new   moved to cur by QUIT
    maildirname/cur
EXIT
    0 always
"""

from __future__ import annotations

from qmail.pop3d.mailbox import serve_maildir
from qserver.base import signals
from qserver.net.connection import Connection


def serve(argv: list[str], env: dict[str, str], connection: Connection) -> int:
    """Serve one session on `connection`."""
    serve_maildir(argv[1] if len(argv) > 1 else None, connection)
    return 0


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve on descriptors 0 and 1."""
    signals.ignore(signals.SIGPIPE)
    return serve(argv, env, Connection.from_fds(0, 1))
