"""Checks of the envelope sender: badmailfrom and MFDNSCHECK (smtpd 7.4, 7.6). Judged at MAIL, enforced at RCPT."""

from __future__ import annotations

from qmail.smtpd import grammar, replies
from qmail.smtpd.policy.badmailfrom import EXEMPT
from qmail.smtpd.policy.names import HARD, SOFT, has_mail_host
from qmail.smtpd.policy.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Session, Transaction


def judge(session: Session, transaction: Transaction) -> Verdict | None:
    """Judge a new sender; what is found is kept for RCPT. A verdict means that MAIL itself is refused."""
    badmailfrom = session.settings.badmailfrom
    if badmailfrom is not None:
        transaction.bad_sender = badmailfrom.verdict(
            transaction.sender, session.settings.remotehost, relay=session.relay is not None
        )
    if session.settings.mfdnscheck and transaction.sender and transaction.bad_sender != EXEMPT:
        host = grammar.domain(transaction.sender)
        found = has_mail_host(session.outside.resolver(), transaction.sender if host is None else host)
        if found == SOFT:
            return Verdict(replies.DNS_FAILURE)
        transaction.sender_host_missing = found == HARD
    return None


def host_exists(session: Session, transaction: Transaction, _address: bytes) -> Verdict | None:
    """The sender's host must exist in the DNS."""
    if transaction.sender_host_missing:
        return Verdict(replies.refusal(replies.NO_SENDER_HOST, session.env), b"Reject::ORIG::DNS_MF")
    return None


def not_in_badmailfrom(session: Session, transaction: Transaction, _address: bytes) -> Verdict | None:
    """A hit in badmailfrom refuses every recipient, also of relay clients."""
    sign = transaction.bad_sender
    if sign is None or sign == EXEMPT:
        return None
    return Verdict(replies.refusal(replies.BAD_MAILFROM, session.env), b"Reject::ORIG::Bad_Mailfrom", sign)
