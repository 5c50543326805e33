"""The SMTP dialogue of one delivery (delivery 8.3, RFC 5321) over a connection that is already there."""

from __future__ import annotations

import os

from qmail.dotted import DotStuffer
from qmail.remote.reports import NO_MESSAGE, PARTIAL_LINE, Verdict, connection_died, remote_said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qserver.net.connection import Connection

TEXT_LIMIT = 5000
"""Bytes of a reply that a report may quote."""
REPLY_LIMIT = 1 << 20
"""A reply longer than this is no reply."""
BLOCK = 1 << 16
MALFORMED = 400
"""A reply without a code is held to be a temporary refusal."""
GREYLISTING = (421, 450)


class NextAddress(Exception):
    """The server is not ready now; another of the host's addresses may be."""


class Lost(Exception):
    """Time-out, error or end of the connection."""


class Reply:
    """The first line's code, and all lines as reports quote them."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: bytes) -> None:
        self.code = code
        self.text = text


class Peer:
    """Commands to and replies from the server."""

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Write it all. Raises Lost."""
        try:
            self._connection.write(data)
        except OSError as error:
            raise Lost from error

    def command(self, line: bytes) -> Reply:
        """Send a command line and wait for its reply. Raises Lost."""
        self.send(line + b"\r\n")
        return self.reply()

    def reply(self) -> Reply:
        """The next reply, continuation lines included. Raises Lost."""
        code: int | None = None
        text, size = b"", 0
        while True:
            line = self._line()
            if code is None:
                code = int(line[:3]) if len(line) > 3 and line[:3].isdigit() else MALFORMED
            size += len(line)
            if size > REPLY_LIMIT:
                raise Lost
            if len(text) < TEXT_LIMIT:
                text += line.replace(b"\r", b"").replace(b"\0", b"?")
            if line[3:4] != b"-":
                return Reply(code, text[:TEXT_LIMIT])

    def _line(self) -> bytes:
        """One line with its LF. Raises Lost."""
        while b"\n" not in self._buffer:
            try:
                block = self._connection.read()
            except OSError as error:
                raise Lost from error
            if not block or len(self._buffer) > REPLY_LIMIT:
                raise Lost
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def quit(self) -> None:
        """Say QUIT and wait for nothing."""
        try:
            self.send(b"QUIT\r\n")
        except Lost:
            return


class Delivery:
    """What is to be delivered: quoted addresses, and the message on a descriptor (offset at its beginning)."""

    __slots__ = ("fd", "helohost", "recipients", "sender")

    def __init__(self, helohost: bytes, sender: bytes, recipients: list[bytes], fd: int) -> None:
        self.helohost = helohost
        self.sender = sender
        self.recipients = recipients
        self.fd = fd

    @property
    def is_ascii(self) -> bool:
        """Whether every address can be sent without SMTPUTF8 (RFC 6531)."""
        return self.sender.isascii() and all(recipient.isascii() for recipient in self.recipients)

    def blocks(self) -> Iterator[bytes]:
        """The message. Raises Verdict when it cannot be read."""
        try:
            while block := os.read(self.fd, BLOCK):
                yield block
        except OSError as error:
            raise Verdict(NO_MESSAGE) from error


class Dialogue:
    """One SMTP session with the server at `ip`. `reports` receives the recipient reports."""

    __slots__ = ("_delivery", "_extensions", "_in_data", "_ip", "_last", "_peer", "_reports", "_sent")

    def __init__(self, ip: str, connection: Connection, delivery: Delivery, reports: list[bytes]) -> None:
        self._ip = ip
        self._peer = Peer(connection)
        self._delivery = delivery
        self._reports = reports
        self._last = Reply(0, b"")
        self._extensions: dict[bytes, bytes] = {}
        self._in_data = False
        self._sent = False

    def run(self) -> Verdict:
        """Deliver. Returns the message report; raises NextAddress."""
        try:
            for step in STEPS:
                step(self)
        except Lost:
            return connection_died(self._ip, maybe_delivered=self._sent)
        except Verdict as verdict:
            if not self._in_data or self._sent:
                self._peer.quit()
            return verdict
        except NextAddress:
            self._peer.quit()
            raise
        self._peer.quit()
        return self._verdict(b"K", b"%b accepted message")

    def greeting(self) -> None:
        """Wait for 220."""
        self._last = self._peer.reply()
        code = self._last.code
        if code >= 500:
            raise self._verdict(b"D", b"Connected to %b but sender was rejected")
        if code in GREYLISTING:
            raise self._verdict(b"Z", b"Connected to %b but greylisted")
        if code >= 400:
            raise NextAddress
        if code != 220:
            raise self._verdict(b"Z", b"Connected to %b but greeting failed")

    def hello(self) -> None:
        """EHLO, else HELO."""
        self._say(b"EHLO " + self._delivery.helohost)
        if self._last.code == 250:
            self._extensions = parse_extensions(self._last.text)
            return
        code = self._say(b"HELO " + self._delivery.helohost)
        if code != 250:
            raise self._verdict(b"D" if code >= 500 else b"Z", b"Connected to %b but my name was rejected")

    def mail(self) -> None:
        """MAIL FROM with the parameters that the server understands."""
        code = self._say(b"MAIL FROM:<%b>%b" % (self._delivery.sender, self._mail_parameters()))
        if code >= 500:
            raise self._verdict(b"D", b"Connected to %b but sender was rejected")
        if code >= 400:
            raise self._verdict(b"Z", b"Connected to %b but sender was greylisted")

    def recipients(self) -> None:
        """RCPT TO for each; without one accepted there is nothing to send."""
        accepted = False
        for recipient in self._delivery.recipients:
            code = self._say(b"RCPT TO:<%b>" % recipient)
            accepted |= code < 400
            self._reports.append(self._recipient_report(code))
        if not accepted:
            raise Verdict(b"DGiving up on %b.\n" % self._ip.encode())

    def data(self) -> None:
        """DATA, the message, the final dot."""
        code = self._say(b"DATA")
        if code >= 500:
            raise self._verdict(b"D", b"%b failed on DATA command")
        if code == 451:
            raise self._verdict(b"Z", b"%b message was greylisted")
        if code >= 400:
            raise self._verdict(b"Z", b"%b failed on DATA command")
        self._send_message()
        self._last = self._peer.reply()
        if self._last.code >= 400:
            letter = b"D" if self._last.code >= 500 else b"Z"
            raise self._verdict(letter, b"%b failed after I sent the message")

    def _send_message(self) -> None:
        """The last block and the dot travel together. From then on a lost connection may mean a delivered message."""
        self._in_data = True
        stuffer = DotStuffer()
        waiting = b""
        for block in self._delivery.blocks():
            if waiting:
                self._peer.send(waiting)
            waiting = stuffer.feed(block)
        if not stuffer.at_line_start:
            raise Verdict(PARTIAL_LINE)
        self._sent = True
        self._peer.send(waiting + b".\r\n")

    def _say(self, line: bytes) -> int:
        self._last = self._peer.command(line)
        return self._last.code

    def _mail_parameters(self) -> bytes:
        parameters = b""
        if b"SIZE" in self._extensions:
            size = _size(self._delivery.fd)
            parameters += b" SIZE=%d" % size if size is not None else b""
        if b"SMTPUTF8" in self._extensions and not self._delivery.is_ascii:
            parameters += b" SMTPUTF8"
        return parameters

    def _recipient_report(self, code: int) -> bytes:
        if code < 400:
            return b"r"
        letter = b"h" if code >= 500 else b"s"
        text = b"probably greylisting" if code in GREYLISTING else b"does not like recipient"
        return b"%b%b %b.\n" % (letter, self._ip.encode(), text) + remote_said(self._last.text)

    def _verdict(self, letter: bytes, text: bytes) -> Verdict:
        """A message report that quotes the last reply."""
        return Verdict(letter + text % self._ip.encode() + b".\n" + remote_said(self._last.text))


STEPS = (Dialogue.greeting, Dialogue.hello, Dialogue.mail, Dialogue.recipients, Dialogue.data)
"""The dialogue in its order; each step raises what ends it."""


def parse_extensions(text: bytes) -> dict[bytes, bytes]:
    """The EHLO reply as {KEYWORD: parameters}; its first line is the server's name (RFC 5321 4.1.1.1)."""
    words = (line[4:].strip().partition(b" ") for line in text.split(b"\n")[1:])
    return {keyword.upper(): parameters for keyword, _, parameters in words if keyword}


def _size(fd: int) -> int | None:
    """The size of the message if it is a file; RFC 1870 asks for an estimate."""
    status = os.fstat(fd)
    return status.st_size if status.st_mode & 0o170000 == 0o100000 else None
