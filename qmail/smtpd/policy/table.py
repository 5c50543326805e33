"""The order of the checks at RCPT (smtpd 8.1), from top to bottom; the first that answers decides.

no MAIL 503, syntax 555, count the attempt: qmail.smtpd.verbs
    │
 ┌──┴── STRANGER            RELAY ──┐     one of the two, by RELAYCLIENT
 └──┬───────────────────────────────┘     (then a relay client's suffix is put on)
 EVERYONE
    │
 250 ok
"""

from __future__ import annotations

from qmail.smtpd.policy import helo, limits, recipient, sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.smtpd.policy.verdict import Verdict
    from qmail.smtpd.session import Session, Transaction

    Check = Callable[[Session, Transaction, bytes], Verdict | None]

STRANGER: tuple[Check, ...] = (
    helo.given,  # 1
    helo.acceptable,  # 2 badhelo, 3 DNS and "="
    sender.host_exists,  # 4
    recipient.in_rcpthosts,  # 5
    limits.not_too_many_failures,  # 6
    limits.tarpit,  # 7 only delays
    # 8 recipients: policy/mailboxes.py
    # 9 SPF: policy/spf.py
    # 10 POSTGREY: policy/greylist.py
)
RELAY: tuple[Check, ...] = (
    # a "+" in BADMIMETYPE and BADLOADERTYPE is off: known when the message is opened
    # b MAV: policy/mav.py
)
EVERYONE: tuple[Check, ...] = (
    sender.not_in_badmailfrom,  # 11
    recipient.not_in_badrcptto,  # 12
    limits.size_announced,  # 13
    limits.not_too_many_recipients,  # 14
)


def judge(checks: tuple[Check, ...], session: Session, transaction: Transaction, address: bytes) -> Verdict | None:
    """The first objection of these checks, in order."""
    for check in checks:
        verdict = check(session, transaction, address)
        if verdict is not None:
            return verdict
    return None
