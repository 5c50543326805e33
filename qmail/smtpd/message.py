"""One message on its way from the client to the queue, and the reply it earns (smtpd 12, 14)."""

from __future__ import annotations

from qmail.received import rbl_info, received
from qmail.smtpd import log, replies
from qmail.smtpd.body import Body, HopCounter
from qmail.smtpd.results import outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Queue, Session, Transaction


class Message:
    """Streams a body to the queue; a message that is found wanting is read to its end and dropped."""

    __slots__ = ("_body", "_fields", "_hops", "_limit", "_queue", "_refused", "_session", "_transaction")

    def __init__(self, session: Session, transaction: Transaction, queue: Queue) -> None:
        self._session = session
        self._transaction = transaction
        self._queue = queue
        self._body = Body()
        self._hops = HopCounter()
        self._limit = session.settings.databytes
        self._refused = False
        self._fields = trace_fields(session)

    def feed(self, block: bytes) -> bytes | None:
        """Take a block; returns what follows the message once its end has come, else None. Raises BareLineFeed."""
        stored = self._body.feed(block)
        self._hops.see(stored)
        if self._hops.looping or self._too_big:
            self._refuse()
        if not self._refused and (stored or self._body.rest is not None):
            self._queue.put(self._fields + stored)
            self._fields = b""
        return self._body.rest

    @property
    def _too_big(self) -> bool:
        return 0 < self._limit < self._body.size

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self._queue.fail()

    def finish(self) -> bytes:
        """Hand over the envelope, wait for the queue, and put its answer into a reply."""
        transaction, session = self._transaction, self._session
        if not self._refused:
            deliverto = session.settings.deliverto
            also = [] if deliverto is None else [deliverto]
            self._queue.envelope(transaction.sender, also + transaction.recipients)
        code = self._queue.close()
        if code == 0 and not self._refused:
            return b"250 ok %d qp %d\r\n" % (session.outside.now(), self._queue.qp)
        if self._hops.looping:
            return replies.LOOPING
        if self._too_big:
            self._log(b"Reject::DATA::Invalid_Size")
            return replies.TOO_BIG
        # the content checks (smtpd 13) put their refusals here
        result = outcome(code, session.env)
        if result.event:
            self._log(result.event, result.info)
        return result.reply

    def _log(self, event: bytes, info: bytes = b"") -> None:
        session = self._session
        sender, first = self._transaction.sender, self._transaction.recipients[0]
        session.outside.log(log.line(session.outside.pid, event, session, sender, first, info))

    def abandon(self) -> None:
        """The client broke off: the queue gets no envelope, so nothing is queued."""
        self._queue.fail()
        self._queue.close()


def trace_fields(session: Session) -> bytes:
    """What we put before the message. Received-SPF (smtpd 9.7) will stand before Received."""
    settings = session.settings
    return received(
        session.protocol,
        settings.local,
        settings.remoteip,
        settings.remotehost,
        session.outside.now(),
        remoteinfo=session.remoteinfo,
        helo=session.helo,
        tls=None if session.tls is None else session.tls.text,
    ) + rbl_info(settings.rblsmtpd)
