"""NAME
    qmail-popup - greet POP3 clients, take their login, have it checked (qmail 1.03, s/qmail)
SYNOPSIS
    qmail-popup hostname subprogram [ args ... ]
DESCRIPTION
    Speaks the AUTHORIZATION state of POP3 (RFC 1939) on descriptors 0 and 1: USER PASS APOP STLS CAPA NOOP QUIT. The
    first login is given to subprogram by the checkpassword protocol: login NUL password or digest NUL <pid.time@host>
    NUL on descriptor 3, the network on 0, 1 and 2. One failed login ends the session. When subprogram is our
    qmail-authuser and becomes our qmail-pop3d, no process is started for it unless it must change identity.
ENVIRONMENT
    POP3AUTH           +apop: timestamp in the greeting; apop: no USER and PASS either
    UCSPITLS           STLS: - off, ! required, anything else offered
    SSLCTLFD SSLREADFD SSLWRITEFD   the server's TLS channel
    TCP6REMOTEIP, TCPREMOTEIP, ...REMOTEHOST, ...LOCALPORT, SSL_PROTOCOL   for the log
    QSERVER_EXEC       1: always start processes
FILES
    descriptor 5       one log line a session, if open
EXIT
    1 always
"""

from __future__ import annotations

from qmail.auth import schemes
from qmail.pop3d.popup import serve_login
from qserver.base import signals
from qserver.net.connection import Connection

ALPN = ("pop3",)
"""What a client may call this protocol in TLS (RFC 7301)."""
REHEARSAL = b"CAPA\r\n"
"""What the visitor says with whom a server tries it out before it forks."""


def preload() -> None:
    """Import, before a pool forks, what every session would import."""
    schemes.preload()


def serve(argv: list[str], env: dict[str, str], connection: Connection) -> int:
    """Serve one session on `connection`."""
    return serve_login(argv, env, connection)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve on descriptors 0 and 1."""
    signals.ignore(signals.SIGPIPE)
    return serve(argv, env, Connection.from_fds(0, 1))
