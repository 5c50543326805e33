"""Checks of a recipient's address: rcpthosts and badrcptto (smtpd 8.3, 8.5)."""

from __future__ import annotations

from qmail.smtpd import grammar, replies
from qmail.smtpd.policy.verdict import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmail.smtpd.session import Session, Transaction
    from qmail.smtpd.settings import AddressList


def in_rcpthosts(session: Session, _transaction: Transaction, address: bytes) -> Verdict | None:
    """Strangers may only write to the domains we receive mail for."""
    try:
        if accepts(session, address):
            return None
    except OSError:
        return Verdict(replies.NO_CONTROLS, final=True)
    return Verdict(replies.refusal(replies.NO_GATEWAY, session.env), b"Reject::SNDR::Invalid_Relay")


def accepts(session: Session, address: bytes) -> bool:
    """Whether rcpthosts or morercpthosts.cdb name the address's domain (rcpthosts.c). Raises OSError."""
    rcpthosts = session.settings.rcpthosts
    host = grammar.domain(address)
    if rcpthosts is None or host is None:
        return True
    names = list(domains(host.lower()))
    return not rcpthosts.isdisjoint(names) or _in_cdb(session.settings.morercpthosts, names)


def domains(host: bytes) -> Iterator[bytes]:
    """A host and each of its suffixes that begin with a dot."""
    yield host
    at = host.find(b".", 1)
    while at >= 0:
        yield host[at:]
        at = host.find(b".", at + 1)


def _in_cdb(path: str, names: list[bytes]) -> bool:
    from qserver.base.cdb import Cdb

    try:
        cdb = Cdb.open(path)
    except FileNotFoundError:
        return False
    try:
        return any(cdb.get(name) is not None for name in names)
    finally:
        cdb.close()


def not_in_badrcptto(session: Session, _transaction: Transaction, address: bytes) -> Verdict | None:
    """Addresses that nobody may write to."""
    badrcptto = session.settings.badrcptto
    if badrcptto is None or not _is_listed(badrcptto, address):
        return None
    return Verdict(replies.refusal(replies.BAD_RCPTTO, session.env), b"Reject::RCPT::Bad_Rcptto")


def _is_listed(badrcptto: AddressList, address: bytes) -> bool:
    name = address.lower()
    host = grammar.domain(name)
    if name in badrcptto.members or (host is not None and b"@" + host in badrcptto.members):
        return True
    return badrcptto.patterns.match(address)
