"""The conversation: bytes in, replies out. Owns the input buffer; knows no sockets."""

from __future__ import annotations

from qmail.smtpd import grammar, replies
from qmail.smtpd.body import BareLineFeed
from qmail.smtpd.session import Leave
from qmail.smtpd.verbs import UNKNOWN, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qmail.smtpd.session import Session

LINE_LIMIT = 4096
AUTH_LINE_LIMIT = 12288
MOST_KEPT = AUTH_LINE_LIMIT + 2
"""Of a line whose end has not come: one byte too many to be accepted, and a CR."""
MOST_ERRORS = 20


class Dialogue:
    """Drives a session. All commands of one block are answered in one piece, in order (RFC 2920)."""

    __slots__ = ("_at", "_errors", "_input", "_met", "code", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.code: int | None = None
        """The exit code once the conversation is over."""
        self._input = b""
        self._at = 0
        self._met = False
        self._errors = 0

    def greeting(self) -> bytes:
        """The first line."""
        return b"220 %s ESMTP\r\n" % self.session.settings.greeting

    def feed(self, block: bytes) -> bytes:
        """Take what the client sent; returns the replies to it, perhaps none yet. Look at `code` afterwards."""
        self._input = self._input[self._at :] + block
        self._at = 0
        answers: list[bytes] = []
        try:
            while (answer := self._step()) is not None:
                answers.append(answer)
        except Leave as leaving:
            answers.append(leaving.reply)
            self.code = leaving.code
        return b"".join(answers)

    def disconnected(self) -> None:
        """The client is gone: what it was sending is dropped."""
        if self.session.message is not None:
            self.session.message.abandon()
            self.session.message = None
        self.code = 1

    def _step(self) -> bytes | None:
        """The answer to the next whole thing in the input (which may be empty); None when more has to come."""
        if self.session.message is not None:
            return self._body()
        line = self._line()
        if line is None:
            return None
        if not self._met:
            self._meet(line)
        reply = self._command(line) if len(line) <= _limit(line) else replies.LINE_TOO_LONG
        if replies.is_error(reply):
            self._errors += 1
            if self._errors >= MOST_ERRORS:
                raise Leave(reply + replies.TOO_MANY_ERRORS)
        return reply

    def _body(self) -> bytes | None:
        """Hand the input to the message under way."""
        session = self.session
        message = session.message
        if message is None or self._at == len(self._input):
            return None
        block = self._input[self._at :] if self._at else self._input
        self._input, self._at = b"", 0
        try:
            rest = message.feed(block)
        except BareLineFeed:
            self.disconnected()
            raise Leave(replies.BARE_LF) from None
        if rest is None:
            return None
        self._input = rest
        reply = message.finish()
        session.message = session.transaction = None
        return reply

    def _line(self) -> bytes | None:
        """The next line without its end; None when it has not come. Of an overlong one only the beginning is kept."""
        end = self._input.find(b"\n", self._at)
        if end < 0:
            self._input = self._input[self._at : self._at + MOST_KEPT]
            self._at = 0
            return None
        line = self._input[self._at : end]
        self._at = end + 1
        return line.removesuffix(b"\r")

    def _meet(self, line: bytes) -> None:
        """Hang up on a first line that is an HTTP request, however long."""
        self._met = True
        if grammar.command(line)[0] in grammar.BROWSER_VERBS:
            raise Leave(replies.UNIMPLEMENTED)

    def _command(self, line: bytes) -> bytes:
        word, argument = grammar.command(line)
        verb = VERBS.get(word, UNKNOWN)
        if not grammar.is_clean(line):
            return verb.garbled
        refusal = verb.check(self.session)
        return verb.act(self.session, argument) if refusal is None else refusal


def _limit(line: bytes) -> int:
    return AUTH_LINE_LIMIT if line[:5].upper() == b"AUTH " else LINE_LIMIT
