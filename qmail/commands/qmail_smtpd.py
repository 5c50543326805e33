"""NAME
    qmail-smtpd - receive mail by SMTP (qmail-smtpd of s/qmail and of djb's qmail)
SYNOPSIS
    qmail-smtpd [ checkprogram [ arg ... ] ]
DESCRIPTION
    Talks ESMTP with the client on descriptors 0 and 1 and puts its messages into the queue. Run it under tcpserver or
    sslserver, which tell it about the connection in its environment; what it refuses and accepts is logged on
    descriptor 2. The arguments are the command that verifies passwords.
ENVIRONMENT
    TCPREMOTEIP, TCPREMOTEHOST, TCPREMOTEINFO, TCPLOCALHOST, TCPLOCALIP, TCPLOCALPORT (and TCP6...)
                    the connection
    RELAYCLIENT     if set, the client may send anywhere; its value is appended to every recipient
    DATABYTES       largest message, 0 for no limit; overrides control/databytes
    MAXRECIPIENTS   most recipients of a message
    TARPITCOUNT, TARPITDELAY
                    from that recipient on, wait that many seconds for each
    HELOCHECK       how HELO is checked: "", ".", "!", "=", "A" or "M"
    MFDNSCHECK      if set, the sender's domain must exist in the DNS
    DELIVERTO       an address that gets a copy of every message
    RBLSMTPD        what rblsmtpd found, for X-RBL-Info
    UTF8            if set, SMTPUTF8 is offered
    QMAILQUEUE      the program that queues, instead of qmail-queue
    QMAILHOME       the home, instead of /var/qmail
    REPLY_HELO, REPLY_BADMAILFROM, REPLY_BADRCPTTO, REPLY_SENDEREXIST, REPLY_NOGATEWAY, REPLY_CONTENT
                    extra text in refusals
    SSL_PROTOCOL, SSL_CIPHER, SSL_CLIENT_S_DN ...
                    TLS that was there before the greeting
FILES
    control/me, smtpgreeting, localiphost, timeoutsmtpd, databytes, rcpthosts, morercpthosts.cdb, badmailfrom,
    badrcptto, badhelo
EXIT
    0 after QUIT; 1 otherwise
"""

from __future__ import annotations

from qmail.smtpd import serve as loop
from qserver.base.signals import SIGPIPE, ignore
from qserver.net.connection import Connection

ALPN = ("smtp", "esmtp")
"""What a client may call this protocol in TLS (RFC 7301)."""
REHEARSAL = b"EHLO localhost\r\n"
"""What the visitor says with whom a server tries it out before it forks."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Serve the client on descriptors 0 and 1."""
    ignore(SIGPIPE)
    return serve(argv, env, Connection.from_fds(0, 1))


def serve(_argv: list[str], env: dict[str, str], connection: Connection) -> int:
    """Serve one client."""
    return loop.serve(env, connection)
