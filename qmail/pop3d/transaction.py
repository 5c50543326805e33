"""The TRANSACTION state of POP3 (RFC 1939 5, access 3.2) without sockets or files.

The session knows the list made at login; a command gives a whole reply, or asks for one of the two things that touch
files: a `Retrieve` or the `Update` of QUIT.
"""

from __future__ import annotations

import os

from qmail.pop3d.grammar import OKAY, err, multiline, ok, parse, scan_number
from qmail.pop3d.maildir import Found, uid_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NOT_A_NUMBER = err(b"syntax error")
COUNTED_FROM_ONE = err(b"messages are counted from 1")
TOO_FEW = err(b"not that many messages")
DELETED = err(b"already deleted")
UNIMPLEMENTED = err(b"unimplemented")
CAPABILITIES = [b"TOP", b"UIDL", b"USER", b"RESP-CODES", b"PIPELINING", b"EXPIRE NEVER", b"IMPLEMENTATION qserver"]


class Retrieve:
    """Send this message; `lines` is the limit of TOP, None for all of it."""

    __slots__ = ("lines", "message")

    def __init__(self, message: Found, lines: int | None) -> None:
        self.message = message
        self.lines = lines


class Update:
    """Carry out QUIT: remove `deleted`, move `kept` from new/ to cur/."""

    __slots__ = ("deleted", "kept")

    def __init__(self, deleted: list[Found], kept: list[Found]) -> None:
        self.deleted = deleted
        self.kept = kept


class Transaction:
    """One session over a fixed list of messages; numbers on the wire count from 1, indices from 0."""

    __slots__ = ("_bytes", "deleted", "last", "messages")

    def __init__(self, messages: list[Found]) -> None:
        self.messages = messages
        self.deleted: set[int] = set()
        self.last = 0
        self._bytes = sum(message[3] for message in messages)

    def command(self, line: bytes) -> bytes | Retrieve | Update:
        """The reply to a command line (without LF), or what has to be done for it."""
        verb, argument = parse(line)
        return COMMANDS.get(verb, Transaction.unimplemented)(self, argument)

    def unimplemented(self, _argument: bytes) -> bytes:
        """Every unknown verb, and the empty one."""
        return UNIMPLEMENTED

    def noop(self, _argument: bytes) -> bytes:
        """NOOP."""
        return OKAY

    def capa(self, _argument: bytes) -> bytes:
        """CAPA (RFC 2449)."""
        return multiline(ok(b"capability list follows"), CAPABILITIES)

    def stat(self, _argument: bytes) -> bytes:
        """STAT: all messages are counted, only the unmarked ones are weighed."""
        return ok(b"%d %d" % (len(self.messages), self._bytes))

    def list(self, argument: bytes) -> bytes:
        """LIST [i]."""
        return self._tell(argument, lambda index: str(self.messages[index][3]))

    def uidl(self, argument: bytes) -> bytes:
        """UIDL [i]."""
        return self._tell(argument, lambda index: uid_of(self.messages[index]))

    def _tell(self, argument: bytes, fact: Callable[[int], str]) -> bytes:
        if argument:
            index = self._index(argument)
            return index if isinstance(index, bytes) else ok(os.fsencode(f"{index + 1} {fact(index)}"))
        gone = self.deleted
        lines = [f"{index + 1} {fact(index)}" for index in range(len(self.messages)) if index not in gone]
        return os.fsencode("\r\n".join(["+OK ", *lines, ".\r\n"]))

    def retrieve(self, argument: bytes) -> bytes | Retrieve:
        """RETR i and TOP i n, which are the same routine."""
        index = self._index(argument)
        if isinstance(index, bytes):
            return index
        lines, _ = scan_number(scan_number(argument)[1].lstrip(b" "))
        return Retrieve(self.messages[index], lines)

    def delete(self, argument: bytes) -> bytes:
        """DELE i."""
        index = self._index(argument)
        if isinstance(index, bytes):
            return index
        self.deleted.add(index)
        self._bytes -= self.messages[index][3]
        self.last = max(self.last, index + 1)
        return OKAY

    def highest(self, _argument: bytes) -> bytes:
        """LAST: the highest number given to DELE (RFC 1460, as qmail-pop3d understands it)."""
        return ok(b"%d" % self.last)

    def reset(self, _argument: bytes) -> bytes:
        """RSET."""
        self._bytes += sum(self.messages[index][3] for index in self.deleted)
        self.deleted.clear()
        self.last = 0
        return OKAY

    def quit(self, _argument: bytes) -> Update:
        """QUIT enters the UPDATE state."""
        deleted = [self.messages[index] for index in sorted(self.deleted)]
        kept = [m for index, m in enumerate(self.messages) if m[2] == "new" and index not in self.deleted]
        return Update(deleted, kept)

    def _index(self, argument: bytes) -> int | bytes:
        """The index that an argument names, or the refusal; checked in the order of access 3.2."""
        number, _ = scan_number(argument)
        if number is None:
            return NOT_A_NUMBER
        if number == 0:
            return COUNTED_FROM_ONE
        if number > len(self.messages):
            return TOO_FEW
        return DELETED if number - 1 in self.deleted else number - 1


COMMANDS: dict[bytes, Callable[[Transaction, bytes], bytes | Retrieve | Update]] = {
    b"CAPA": Transaction.capa,
    b"DELE": Transaction.delete,
    b"LAST": Transaction.highest,
    b"LIST": Transaction.list,
    b"NOOP": Transaction.noop,
    b"QUIT": Transaction.quit,
    b"RETR": Transaction.retrieve,
    b"RSET": Transaction.reset,
    b"STAT": Transaction.stat,
    b"TOP": Transaction.retrieve,
    b"UIDL": Transaction.uidl,
}
