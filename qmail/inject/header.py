"""The header of one message: fields in, what is kept and added and the envelope out (delivery 9.2; qmail-inject.c)."""

from __future__ import annotations

import time

from qmail.address import needs_quotes, quote2
from qmail.dates import date822
from qmail.inject import fields
from qmail.inject.addresses import rewrite_list
from qmail.inject.tokens import AT, ATOM, COLON, COMMENT, LEFT, QUOTE, RIGHT, Token, Unparsable, parse, unparse, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qmail.inject.rewrite import Rewriter
    from qmail.inject.settings import Person

VERP_SUFFIX = b"-@[]"
NO_RECIPIENTS = b"Cc: recipient list not shown: ;\n"
DROPPED: dict[bytes, str] = {b"from": "drop_from", b"message-id": "drop_message_id", b"return-path": "drop_return_path"}
"""Fields that a flag of QMAILINJECT removes, as if they had never been there."""


class BadField(ValueError):
    """A field (with its newline) whose addresses cannot be parsed."""

    def __init__(self, line: bytes) -> None:
        super().__init__(line)
        self.line = line


class Moment:
    """When and by which process a message is injected."""

    __slots__ = ("pid", "seconds")

    def __init__(self, seconds: int, pid: int) -> None:
        self.seconds = seconds
        self.pid = pid


class Header:
    """Take every field with `take`, then ask for `added` once; `kept` and the recipients are complete then.

    `sender` is None until a Return-Path field, -f or `added` decides it.
    """

    __slots__ = (
        "_flags", "_follow_ups", "_followed", "_idhost", "_moment", "_person", "_recipients", "_resent_recipients",
        "_rewriter", "_seen", "kept", "sender",
    )  # fmt: skip

    def __init__(
        self,
        rewriter: Rewriter,
        person: Person,
        flags: frozenset[str],
        moment: Moment,
        idhost: bytes,
        follow_ups: frozenset[bytes] = frozenset(),
    ) -> None:
        self._rewriter = rewriter
        self._person = person
        self._flags = flags
        self._moment = moment
        self._idhost = idhost
        self._follow_ups = follow_ups
        self._seen: set[bytes] = set()
        self._recipients: list[bytes] = []
        self._resent_recipients: list[bytes] = []
        self._followed: list[bytes] = []
        self.kept: list[bytes] = []
        self.sender: bytes | None = None

    @property
    def resent(self) -> bool:
        """Whether a Resent- field was seen."""
        return not fields.RESENT_MARKS.isdisjoint(self._seen)

    @property
    def recipients(self) -> list[bytes]:
        """The header's recipients: field by field, in each from right to left."""
        return self._resent_recipients if self.resent else self._recipients

    def take(self, field: bytes) -> None:
        """One field with its newline. Raises BadField."""
        name = fields.name_of(field)
        if DROPPED.get(name) in self._flags:
            return
        self._seen.add(name)
        kind, kept = fields.TREATMENT.get(name, fields.VERBATIM)
        if kind is not None:
            field = self._rewritten(field, self._rule(kind))
        if kept:
            self.kept.append(field)

    def _rewritten(self, field: bytes, rule: Callable[[list[Token]], list[Token]]) -> bytes:
        try:
            return unparse(rewrite_list(parse(field), rule))
        except Unparsable:
            raise BadField(field) from None

    def _rule(self, kind: str) -> Callable[[list[Token]], list[Token]]:
        """What happens to each address of such a field: it is rewritten, then noted where it belongs."""
        lists = {
            fields.FOLLOWED: (self._recipients, self._followed),
            fields.RECIPIENTS: (self._recipients,),
            fields.RESENT: (self._resent_recipients,),
        }.get(kind, ())

        def rule(address: list[Token]) -> list[Token]:
            address = self._rewriter.rewrite(address)
            if kind == fields.SENDER and self.sender is None:
                self.sender = unquote(address) + (VERP_SUFFIX if "verp_recipients" in self._flags else b"")
            for addresses in lists:
                addresses.append(unquote(address))
            return address

        return rule

    def added(self) -> list[bytes]:
        """Decide the sender and make the fields the message lacks, in their order. Raises BadField."""
        if self.sender is None:
            self._rewritten(self._default_return_path(), self._rule(fields.SENDER))
        prefix, name = (b"Resent-", b"resent-") if self.resent else (b"", b"")
        lacking = [
            prefix + make()
            for field, make in ((b"date", self._date), (b"message-id", self._message_id), (b"from", self._from))
            if name + field not in self._seen
        ]
        if self._seen.isdisjoint((name + b"to", name + b"cc")):
            lacking.append(prefix + NO_RECIPIENTS)
        if not self.resent:
            lacking += self._mail_followup_to()
        return lacking

    def _date(self) -> bytes:
        return b"Date: %b\n" % date822(self._moment.seconds)

    def _message_id(self) -> bytes:
        stamp = b"%d%02d%02d%02d%02d%02d" % time.gmtime(self._moment.seconds)[:6]
        return b"Message-ID: <%b.%d.qmail@%b>\n" % (stamp, self._moment.pid, self._idhost)

    def _from(self) -> bytes:
        """From the environment, rewritten like any other."""
        person, comment = self._person, "comment_names" in self._flags
        address: list[Token] = [(QUOTE if needs_quotes(person.user) else ATOM, person.user)]
        if person.host is not None:
            address += [AT, (ATOM, person.host)]
        if person.name is not None and comment:
            address.append((COMMENT, person.name))
        elif person.name is not None:
            address = [(QUOTE, person.name), LEFT, *address, RIGHT]
        return self._rewritten(unparse([(ATOM, b"From"), COLON, *address]), self._rule(fields.ADDRESSES))

    def _default_return_path(self) -> bytes:
        """A Return-Path field of who the environment says we are; VERP adds to the box."""
        box = self._person.sender_box
        if "verp_message" in self._flags:
            box += b"-%d.%d" % (self._moment.seconds, self._moment.pid)
        if "verp_recipients" in self._flags:
            box += b"-"
        address: list[Token] = [(QUOTE, box)]
        if self._person.sender_host is not None:
            address += [AT, (ATOM, self._person.sender_host)]
        return unparse([(ATOM, b"Return-Path"), COLON, *address])

    def _mail_followup_to(self) -> list[bytes]:
        """The field, when a mailing list of ours is among To and Cc and nobody else made it."""
        if b"mail-followup-to" in self._seen:
            return []
        if self._follow_ups.isdisjoint(address.lower() for address in self._followed):
            return []
        return [b"Mail-Followup-To: " + b",\n  ".join(map(quote2, reversed(self._followed))) + b"\n"]
