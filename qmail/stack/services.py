"""The services of the stack as a table: name, port, run script (operations 1.1, 1.7).

While TLS is not on offer, smtpd and pop3d run under tcpserver on the high ports; the other services join with it.
"""

from __future__ import annotations

from typing import NamedTuple

HIGH_PORTS = {"qmail-smtpd": 2525, "qmail-pop3d": 2110}
LOG_SIZE = 2000000


class Service(NamedTuple):
    """One service directory. `greeting` is what a client sees first when the service answers; "" = it has no port."""

    name: str
    greeting: bytes
    line: str


SERVICES = (
    Service(
        "qmail-smtpd",
        b"220 ",
        'exec tcpserver -v -RHl {host} -Xx "$QMAILHOME/control/rules.smtpd.cdb" {drop}{address} {port} qmail-smtpd',
    ),
    Service(
        "qmail-pop3d",
        b"+OK",
        'exec tcpserver -vD -RHl {host} -Xx "$QMAILHOME/control/rules.pop3d.cdb" {address} {port}'
        " qmail-popup {host} qmail-authuser true qmail-pop3d Maildir 5>&1",
    ),
    Service(
        "qmail-send",
        b"",
        'exec env - PATH="$PATH" QMAILHOME="$QMAILHOME" qmail-start {delivery}',
    ),
    Service("guard", b"", "exec qmailctl guard --home {home}"),
)
LOG_OF_SVSCAN = ".svscan"
"""Service directory of svscan's own log; the leading dot keeps it out of the scan."""

PREAMBLE = """\
#!/bin/sh
# Written by qmailctl; your own edits stay: it never overwrites a run script.
exec 2>&1
PATH={path}; export PATH
QMAILHOME={qmail}; export QMAILHOME
"""
LOG_SCRIPT = """\
#!/bin/sh
exec 2>&1
PATH={path}; export PATH
exec multilog t s${{LOG_SIZE:-{size}}} {directory}
"""


def quote(word: str) -> str:
    """A word as the shell reads it back."""
    import shlex

    return shlex.quote(word)
