"""One run of qmail-inject: settings, message, queue (delivery 9)."""

from __future__ import annotations

import os
from itertools import chain

from qmail.address import quote2
from qmail.inject import settings
from qmail.inject.header import BadField, Header, Moment
from qmail.inject.reading import Message
from qmail.inject.rewrite import Rewriter, RewriterTrouble
from qmail.inject.tokens import Unparsable
from qmail.queue.client import open_queue
from qmail.queue.codes import result_text
from qserver.base.errors import PERMANENT, TEMPORARY, Die
from qserver.base.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.queue.client import QueueClient

PROG = "qmail-inject"
BLOCK = 1 << 17


class Submission:
    """Made of the environment; told the sender and recipients of the command line; then `run`. All raise Die."""

    __slots__ = ("_env", "_header", "_recipients", "_rewriter")

    def __init__(self, home: str, env: Mapping[str, str], now: int, pid: int) -> None:
        self._env = env
        self._recipients: list[bytes] = []
        try:
            follow_ups = settings.follow_ups(env)
            _enter(home)
            values = settings.defaults(".", env)
        except OSError:
            raise _fatal("read error", TEMPORARY) from None
        try:
            self._rewriter = Rewriter(values["defaulthost"], values["defaultdomain"], values["plusdomain"])
        except RewriterTrouble as trouble:
            raise _cannot_parse(trouble.text) from None
        self._header = Header(
            self._rewriter, settings.Person(env), settings.flags(env), Moment(now, pid), values["idhost"], follow_ups
        )

    def set_sender(self, sender: bytes) -> None:
        """-f: the last one counts."""
        try:
            self._header.sender = self._rewriter.argument(sender)
        except Unparsable:
            raise _cannot_parse(quote2(sender)) from None

    def add_recipients(self, recipients: list[bytes]) -> None:
        """Recipients of the command line."""
        for recipient in recipients:
            try:
                self._recipients.append(self._rewriter.argument(recipient))
            except Unparsable:
                raise _fatal(b"unable to parse address: " + recipient, PERMANENT) from None

    def run(self, source: int, target: int | None, *, header_recipients: bool) -> int:
        """Read the message from descriptor `source` and queue it, or print it to descriptor `target`; returns 0."""
        message = Message(lambda: os.read(source, BLOCK))
        try:
            for field in message.fields():
                self._header.take(field)
            added = self._header.added()
            head = b"".join(added + self._header.kept)
            if target is None:
                self._queue(head, message, header_recipients)
            else:
                _print(target, b"Return-Path: <%b>\n%b" % (quote2(self._header.sender or b""), head), message)
        except BadField as bad:
            raise _cannot_parse(bad.line) from None
        except OSError:
            raise _fatal("read error", TEMPORARY) from None
        return 0

    def _queue(self, head: bytes, message: Message, header_recipients: bool) -> None:
        queue = _open(self._env)
        try:
            queue.put(head)
            for block in message.body():
                queue.put(block)
        except OSError:
            queue.fail()
            queue.close()
            raise
        recipients = self._recipients + (self._header.recipients if header_recipients else [])
        queue.envelope(self._header.sender or b"", recipients)
        result = result_text(queue.close())
        if result:
            raise _fatal(result[1:], PERMANENT if result[:1] == b"D" else TEMPORARY)


def _enter(home: str) -> None:
    try:
        os.chdir(home)
    except OSError:
        raise _fatal("internal bug", TEMPORARY) from None


def _open(env: Mapping[str, str]) -> QueueClient:
    try:
        return open_queue(".", env)
    except OSError:
        raise _fatal("unable to run qmail-queue", TEMPORARY) from None


def _print(target: int, head: bytes, message: Message) -> None:
    """A reader that has seen enough is no trouble."""
    for block in chain((head,), message.body()):
        try:
            write_all(target, block)
        except BrokenPipeError:
            return
        except OSError:
            raise _fatal("write error", TEMPORARY) from None


def _fatal(text: str | bytes, code: int) -> Die:
    return Die(f"{PROG}: fatal: {os.fsdecode(text)}", code)


def _cannot_parse(line: bytes) -> Die:
    """The line as it stands, with the newline it has or has not, as the original prints it."""
    write_all(2, b"%b: fatal: unable to parse this line:\n%b" % (PROG.encode(), line))
    return Die("", PERMANENT)
