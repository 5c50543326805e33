"""Log lines: one table from event to format, one function that writes a line (smtpd 15.1)."""

from __future__ import annotations

from qmail.received import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Session

HOST, GENERIC, INFO, AUTH_OK, AUTH_FAIL = range(5)

FORMATS: dict[bytes, int] = {
    b"Reject::TLS::missing": HOST,
    b"Reject::AUTH::missing": HOST,
    b"Reject::AUTH::setup": HOST,
    b"Accept::ORIG::Local_Sender": GENERIC,
    b"Accept::SNDR::Relay_Client": GENERIC,
    b"Reject::ORIG::Invalid_Mailfrom": GENERIC,
    b"Reject::ORIG::DNS_MF": GENERIC,
    b"Reject::SNDR::Invalid_Relay": GENERIC,
    b"Reject::RCPT::Toomany_Rcptto": GENERIC,
    b"Reject::RCPT::Failed_Rcptto": GENERIC,
    b"Reject::RCPT::Bad_Rcptto": GENERIC,
    b"Reject::SPF::Fail": GENERIC,
    b"Reject::DATA::Invalid_Size": GENERIC,
    b"Deferred::SNDR::Grey_Listed": GENERIC,
    b"Reject::SNDR::Bad_Helo": INFO,
    b"Reject::SNDR::DNS_Helo": INFO,
    b"Reject::ORIG::Bad_Mailfrom": INFO,
    b"Reject::DATA::Bad_MIME": INFO,
    b"Reject::DATA::Bad_Loader": INFO,
    b"Reject::DATA::Spam_Message": INFO,
    b"Reject::DATA::MIME_Attach": INFO,
    b"Reject::DATA::Virus_Infected": INFO,
}
FAMILIES: tuple[tuple[bytes, int], ...] = (
    (b"Accept::RCPT::", GENERIC),
    (b"Accept::SPF::", GENERIC),
    (b"Accept::AUTH::", AUTH_OK),
    (b"Reject::AUTH::", AUTH_FAIL),
)
"""Events that end in a method or a result."""


def format_of(event: bytes) -> int:
    """Which fields an event shows. Raises KeyError for an unknown event."""
    found = FORMATS.get(event)
    if found is None:
        for family, fields in FAMILIES:
            if event.startswith(family):
                return fields
        raise KeyError(event)
    return found


def line(pid: int, event: bytes, session: Session, sender: bytes = b"", recipient: bytes = b"", info: bytes = b"") -> bytes:
    """The line, newline included. `info` is the reject's detail or the user's name."""
    settings = session.settings
    fields = format_of(event)
    text = b"qmail-smtpd: pid %d %s P:%s S:%s:%s H:%s" % (
        pid,
        event,
        session.protocol,
        settings.remoteip,
        settings.remotehost,
        session.helo or b"",
    )
    if fields in (GENERIC, INFO, AUTH_OK):
        text += b" F:%s T:%s" % (sender, recipient)
    if fields == INFO:
        text += b" '%s'" % info
    elif fields in (AUTH_OK, AUTH_FAIL):
        text += b" ?~ '%s'" % info
    return printable(text) + b"\n"
