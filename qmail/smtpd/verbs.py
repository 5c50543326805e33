"""The verbs: one row each, its check (may refuse, changes nothing) and its act (smtpd 4)."""

from __future__ import annotations

import os

from qmail.ipme import canonical
from qmail.received import printable
from qmail.smtpd import grammar, log, replies
from qmail.smtpd.message import Message
from qmail.smtpd.policy import helo as helo_policy
from qmail.smtpd.policy import sender as sender_policy
from qmail.smtpd.policy.table import EVERYONE, RELAY, STRANGER, judge
from qmail.smtpd.session import Leave, Transaction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.smtpd.policy.verdict import Verdict
    from qmail.smtpd.session import Session


class Verb:
    """`check` returns a refusal or None, `act` works and returns the reply; `garbled` answers a CR or NUL inside."""

    __slots__ = ("act", "check", "garbled")

    def __init__(
        self,
        check: Callable[[Session], bytes | None],
        act: Callable[[Session, bytes], bytes],
        garbled: bytes = replies.UNIMPLEMENTED,
    ) -> None:
        self.check = check
        self.act = act
        self.garbled = garbled


# Checks


def always(_session: Session) -> None:
    """Nothing stands in the way."""


def may_mail(_session: Session) -> None:
    """Here TLS and AUTH are demanded where they are required (535), before the address is looked at."""


def may_rcpt(session: Session) -> bytes | None:
    """A recipient needs a sender."""
    return replies.MAIL_FIRST if session.transaction is None else None


def may_data(session: Session) -> bytes | None:
    """A message needs a sender and a recipient, from a client that was not caught guessing."""
    if session.transaction is None:
        return replies.MAIL_FIRST
    if not session.transaction.recipients:
        return replies.RCPT_FIRST
    if session.notorious:
        raise Leave(replies.NOTORIOUS)
    return None


def may_auth(_session: Session) -> bytes:
    """No authentication is offered."""
    return replies.NO_AUTH


def may_starttls(_session: Session) -> bytes:
    """STARTTLS is not offered."""
    return replies.UNIMPLEMENTED


# Acts


def helo(session: Session, argument: bytes) -> bytes:
    """HELO: take the name down, forget the transaction."""
    _meet(session, argument)
    return replies.lines(b"250", (session.settings.greeting,))


def ehlo(session: Session, argument: bytes) -> bytes:
    """EHLO: the same, and what we can do (smtpd 4.1)."""
    _meet(session, argument)
    settings = session.settings
    offers = [settings.greeting, b"PIPELINING", b"8BITMIME"]
    if settings.utf8:
        offers.append(b"SMTPUTF8")
    # STARTTLS and AUTH stand here
    offers.append(b"SIZE %d" % settings.databytes)
    return replies.lines(b"250", offers)


def _meet(session: Session, argument: bytes) -> None:
    session.helo = argument
    session.transaction = None
    session.helo_verdict = helo_policy.judge(session, argument)
    session.export("HELOHOST", argument)


def mail(session: Session, argument: bytes) -> bytes:
    """MAIL: a new transaction. What its sender did wrong is mostly said at RCPT (smtpd 7.1)."""
    parsed = grammar.path(argument)
    if parsed is None:
        return replies.SYNTAX
    address, rest = parsed
    sender = _with_local_host(session, address)
    session.transaction = transaction = Transaction(sender)
    if rest:
        _parameters(session, transaction, rest)
    session.export("MAILFROM", sender)
    verdict = sender_policy.judge(session, transaction)
    if verdict is not None:
        session.transaction = None
        return verdict.reply
    return replies.OK


def _parameters(session: Session, transaction: Transaction, text: bytes) -> None:
    """SIZE, AUTH, SMTPUTF8 of MAIL; others mean nothing to us (smtpd 7.5)."""
    limit = session.settings.databytes
    for keyword, value in grammar.parameters(text):
        if keyword == b"SIZE":
            transaction.oversize = 0 < limit < grammar.number(value)
        elif keyword == b"AUTH" and session.remoteinfo is None:
            _claim(session, b"unknown" if value == b"<>" else grammar.unxtext(value))
        elif keyword == b"SMTPUTF8":
            transaction.utf8 = session.settings.utf8


def _claim(session: Session, submitter: bytes) -> None:
    """MAIL AUTH=: shown in Received and to the programs we run, but it proves nothing."""
    session.remoteinfo = printable(submitter)
    session.export("TCPREMOTEINFO", session.remoteinfo)
    session.export("TCP6REMOTEINFO", session.remoteinfo)


def _with_local_host(session: Session, address: bytes) -> bytes:
    """`u@[one of our addresses]` is `u@localiphost`."""
    box, at, host = address.rpartition(b"@[")
    localiphost = session.settings.localiphost
    if not at or localiphost is None or not host.endswith(b"]"):
        return address
    text = host[:-1]
    if text[:5].lower() == b"ipv6:":
        text = text[5:] if b":" in text[5:] else b""
    literal = canonical(os.fsdecode(text))
    if literal is None or literal not in session.outside.interface_addresses():
        return address
    return box + b"@" + localiphost


def rcpt(session: Session, argument: bytes) -> bytes:
    """RCPT: the checks of smtpd 8.1 in order, then one line in the log."""
    transaction = session.transaction
    parsed = grammar.path(argument)
    if parsed is None or transaction is None:
        return replies.SYNTAX
    address = _with_local_host(session, parsed[0])
    transaction.attempts += 1
    stranger = session.relay is None
    verdict = judge(STRANGER if stranger else RELAY, session, transaction, address)
    if verdict is None:
        address += session.relay or b""
        verdict = judge(EVERYONE, session, transaction, address)
    if verdict is not None:
        return _refuse(session, transaction, address, verdict)
    transaction.recipients.append(address)
    event, info = _accepted_as(session)
    _log(session, transaction, address, event, info)
    return replies.OK


def _refuse(session: Session, transaction: Transaction, address: bytes, verdict: Verdict) -> bytes:
    if verdict.event:
        _log(session, transaction, address, verdict.event, verdict.info)
    if verdict.final:
        raise Leave(verdict.reply)
    return verdict.reply


def _accepted_as(session: Session) -> tuple[bytes, bytes]:
    """Event and info of an accepted recipient, first applicable (smtpd 8.8; MAV stands before, SPF before the last)."""
    if session.authenticated is not None:
        method, user = session.authenticated
        return b"Accept::AUTH::" + method, user
    if session.relay is not None:
        return b"Accept::SNDR::Relay_Client", b""
    return b"Accept::RCPT::Rcpthosts_Rcptto", b""


def _log(session: Session, transaction: Transaction, address: bytes, event: bytes, info: bytes) -> None:
    outside = session.outside
    outside.log(log.line(outside.pid, event, session, transaction.sender, address, info))


def data(session: Session, _argument: bytes) -> bytes:
    """DATA: open the queue. Whatever comes of it, the transaction ends with it."""
    transaction = session.transaction
    if transaction is None:
        return replies.MAIL_FIRST
    deliverto = [] if session.settings.deliverto is None else [session.settings.deliverto]
    session.export("RCPTTO", b"".join([address + b" " for address in deliverto + transaction.recipients]))
    try:
        queue = session.outside.open_queue(session.env)
    except OSError:
        session.transaction = None
        return replies.NO_QUEUE
    session.message = Message(session, transaction, queue)
    return replies.GO_AHEAD


def rset(session: Session, _argument: bytes) -> bytes:
    """RSET: forget the transaction, and nothing else."""
    session.transaction = None
    return replies.FLUSHED


def noop(_session: Session, _argument: bytes) -> bytes:
    """NOOP."""
    return replies.OK


def vrfy(_session: Session, _argument: bytes) -> bytes:
    """VRFY tells nothing."""
    return replies.VRFY


def help_(_session: Session, _argument: bytes) -> bytes:
    """HELP."""
    return replies.HELP


def quit_(session: Session, _argument: bytes) -> bytes:
    """QUIT: the only way out with exit code 0."""
    raise Leave(replies.lines(b"221", (session.settings.greeting,)), 0)


def unknown(_session: Session, _argument: bytes) -> bytes:
    """Any other word, and the empty line."""
    return replies.UNIMPLEMENTED


VERBS: dict[bytes, Verb] = {
    b"HELO": Verb(always, helo),
    b"EHLO": Verb(always, ehlo),
    b"MAIL": Verb(may_mail, mail, garbled=replies.SYNTAX),
    b"RCPT": Verb(may_rcpt, rcpt, garbled=replies.SYNTAX),
    b"DATA": Verb(may_data, data),
    b"RSET": Verb(always, rset),
    b"NOOP": Verb(always, noop),
    b"VRFY": Verb(always, vrfy),
    b"HELP": Verb(always, help_),
    b"QUIT": Verb(always, quit_),
    b"AUTH": Verb(may_auth, unknown),
    b"STARTTLS": Verb(may_starttls, unknown),
}
UNKNOWN = Verb(always, unknown)
