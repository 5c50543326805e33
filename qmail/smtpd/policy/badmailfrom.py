"""control/badmailfrom with its signs: which rule a sender runs into (smtpd 7.6). Pure."""

from __future__ import annotations

from qmail.control import all_lines
from qmail.smtpd import grammar
from qmail.wildmat import Patterns, is_literal

EXEMPT = b"?"
SIGNS = b"+-="
UNKNOWN_HOST = b"unknown"


def is_extended(line: bytes) -> bool:
    """Whether a line speaks the sign language only, and is no wildmat pattern (rule 8)."""
    if line[:1] == b"~":
        return True
    if line[:1] == EXEMPT:
        return not any(sign in line[1:] for sign in (b"*", b"?", b"["))
    if line[-1:] not in (b"+", b"-", b"="):
        return False
    if line[:1] == b"@":
        return True
    return b"@" in line and not any(sign in line for sign in (b"*", b"?", b"[", b"!"))


class BadMailFrom:
    """The parsed file. `verdict` names the rule that hits first."""

    __slots__ = ("_members", "_patterns")

    def __init__(self, lines: list[bytes]) -> None:
        self._members = frozenset(line.lower() for line in lines)
        self._patterns = Patterns(
            line for line in lines if not is_extended(line) and (not is_literal(line) or line[:1] == b"!")
        )

    @classmethod
    def parse(cls, data: bytes) -> BadMailFrom:
        """From the contents of the file."""
        return cls(all_lines(data))

    def verdict(self, sender: bytes, remotehost: bytes, *, relay: bool) -> bytes | None:
        """The sign of the first rule that hits (`?` exempts), or None. `remotehost` is in lower case.

        The null sender has no address for rules 1 to 7; only patterns speak of it.
        """
        if sender:
            sign = self._by_table(sender.lower(), remotehost, relay)
            if sign is not None:
                return sign
        return b"*" if self._patterns.match(sender) else None

    def _by_table(self, sender: bytes, remotehost: bytes, relay: bool) -> bytes | None:
        """Rules 1 to 7, in their order."""
        members = self._members
        host = grammar.domain(sender)
        at_host = None if host is None or sender == b"@" + host else b"@" + host
        if EXEMPT + sender in members:
            return EXEMPT
        unknown = remotehost == UNKNOWN_HOST
        foreign = host is not None and not _is_within(remotehost, host)
        for applies, sign in ((not relay, b"+"), (unknown, b"-"), (foreign, b"=")):
            if applies and (sender + sign in members or (at_host is not None and at_host + sign in members)):
                return sign
        if foreign and not unknown and any(b"~" + name in members for name in parents(remotehost)):
            return b"~"
        return b"@" if sender in members or (at_host is not None and at_host in members) else None


def _is_within(host: bytes, domain: bytes) -> bool:
    """Whether a host is a domain or lies below it, at a dot."""
    return host == domain or host.endswith(b"." + domain)


def parents(host: bytes) -> list[bytes]:
    """A host and every domain above it: `a.b.c`, `b.c`, `c`."""
    labels = host.split(b".")
    return [b".".join(labels[at:]) for at in range(len(labels))]
