"""HELO and EHLO arguments: HELOCHECK and control/badhelo (smtpd 5). Judged at HELO, enforced at RCPT."""

from __future__ import annotations

from qmail.smtpd import replies
from qmail.smtpd.policy.names import HARD, SOFT, has_address, has_mail_host
from qmail.smtpd.policy.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Session, Transaction

BAD = b"Reject::SNDR::Bad_Helo"
DNS = b"Reject::SNDR::DNS_Helo"
NO_EMPTY = (b".", b"!")
WITH_BADHELO = (b"", b".", b"=", b"A", b"M")
LOOKUPS = {b"A": has_address, b"M": has_mail_host}


def judge(session: Session, helo: bytes) -> Verdict | None:
    """The verdict on a HELO argument, to be kept until RCPT."""
    value = session.settings.helocheck
    if value is None:
        return None
    if not helo and value in NO_EMPTY:
        return _refusal(session, BAD, b"!")
    whitelisted = False
    if value in WITH_BADHELO or len(value) > 1:
        info, whitelisted = _by_list(session, helo)
        if info is not None:
            return _refusal(session, BAD, info)
    if value == b"=" and helo.lower() != session.settings.remotehost:
        return _refusal(session, DNS, b"=")
    look_up = LOOKUPS.get(value)
    if look_up is None or whitelisted:
        return None
    found = look_up(session.outside.resolver(), helo)
    if found == SOFT:
        return Verdict(replies.DNS_FAILURE)
    return _refusal(session, DNS, value) if found == HARD else None


def _by_list(session: Session, helo: bytes) -> tuple[bytes | None, bool]:
    """(info of the rule of badhelo that hits, whether `h!` whitelists)."""
    badhelo = session.settings.badhelo
    if badhelo is None:
        return None, False
    name = helo.lower()
    if name + b"!" in badhelo.members:
        return None, True
    if name in badhelo.members:
        return b".", False
    return (b"*" if badhelo.patterns.match(helo) else None), False


def _refusal(session: Session, event: bytes, info: bytes) -> Verdict:
    return Verdict(replies.refusal(replies.BAD_HELO, session.env), event, info)


def given(session: Session, _transaction: Transaction, _address: bytes) -> Verdict | None:
    """A one-character HELOCHECK wants a HELO before RCPT."""
    if session.helo is None and session.settings.helocheck is not None and len(session.settings.helocheck) == 1:
        return _refusal(session, BAD, b"0")
    return None


def acceptable(session: Session, _transaction: Transaction, _address: bytes) -> Verdict | None:
    """What was found at HELO."""
    return session.helo_verdict
