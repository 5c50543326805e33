"""Limits on a transaction: tarpit, announced size, number of recipients (smtpd 8.4, 8.5, 16.3)."""

from __future__ import annotations

from qmail.smtpd import replies
from qmail.smtpd.policy.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Session, Transaction

NOTORIOUS_DELAY = 999
"""A TARPITDELAY that means: no delay, but no DATA either."""
MOST_RECIPIENTS = 100_000
TOO_MANY = b"Reject::RCPT::Toomany_Rcptto"


def not_too_many_failures(session: Session, _transaction: Transaction, _address: bytes) -> Verdict | None:
    """Who guesses at mailboxes gets no more tries."""
    count = session.settings.tarpitcount
    if count == 0 or session.failed_recipients < count:
        return None
    if session.settings.tarpitdelay == NOTORIOUS_DELAY:
        session.notorious = True
    return Verdict(replies.TOO_MANY_RECIPIENTS, TOO_MANY)


def tarpit(session: Session, transaction: Transaction, _address: bytes) -> Verdict | None:
    """From the TARPITCOUNT-th recipient on, each has to wait."""
    settings = session.settings
    if 0 < settings.tarpitcount <= transaction.attempts and 0 < settings.tarpitdelay < NOTORIOUS_DELAY:
        session.outside.pause(settings.tarpitdelay)
    return None


def size_announced(_session: Session, transaction: Transaction, _address: bytes) -> Verdict | None:
    """MAIL said SIZE=n, and n was too much."""
    return Verdict(replies.TOO_BIG, b"Reject::DATA::Invalid_Size") if transaction.oversize else None


def not_too_many_recipients(session: Session, transaction: Transaction, _address: bytes) -> Verdict | None:
    """MAXRECIPIENTS counts attempts; the hard cap counts what would be in the envelope."""
    most = session.settings.maxrecipients
    if 0 < most < transaction.attempts or len(transaction.recipients) >= MOST_RECIPIENTS:
        return Verdict(replies.TOO_MANY_RECIPIENTS, TOO_MANY)
    return None
