"""Where a recipient goes: locals, percenthack, virtualdomains (delivery 6.3). Pure."""

from __future__ import annotations

from qmail.send.schedule import LOCAL, REMOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VERP = b"-@[]"
"""End of a sender that wants an envelope sender per recipient."""


class Rewriter:
    """The controls that decide; keys of sets and maps in lower case."""

    __slots__ = ("envnoathost", "locals", "percenthack", "virtualdomains")

    def __init__(
        self,
        envnoathost: bytes,
        locals_: frozenset[bytes],
        percenthack: frozenset[bytes],
        virtualdomains: dict[bytes, bytes],
    ) -> None:
        self.envnoathost = envnoathost
        self.locals = locals_
        self.percenthack = percenthack
        self.virtualdomains = virtualdomains

    def rewrite(self, recipient: bytes) -> tuple[int, bytes]:
        """(channel, address as it stands in the channel's file)."""
        address = self._unhacked(recipient if b"@" in recipient else b"%b@%b" % (recipient, self.envnoathost))
        if address.rpartition(b"@")[2].lower() in self.locals:
            return LOCAL, address
        user = self._virtual_user([address.lower()], address) if self.virtualdomains else b""
        return (LOCAL, b"%b-%b" % (user, address)) if user else (REMOTE, address)

    def _unhacked(self, address: bytes) -> bytes:
        """`user%host@here` → `user@host`, as long as `here` is in percenthack."""
        while True:
            box, _, domain = address.rpartition(b"@")
            if b"%" not in box or domain.lower() not in self.percenthack:
                return address
            user, _, host = box.rpartition(b"%")
            address = b"%b@%b" % (user, host)

    def _virtual_user(self, first: list[bytes], address: bytes) -> bytes:
        """The value of the first key found; empty for none and for an exception entry."""
        for key in (*first, *domain_keys(address)):
            if key in self.virtualdomains:
                return self.virtualdomains[key]
        return b""

    def without_prefix(self, recipient: bytes) -> bytes:
        """The recipient as its sender knew it: what virtualdomains put before it is cut off."""
        if b"@" not in recipient:
            return recipient
        user = self._virtual_user([], recipient)
        return recipient[len(user) + 1 :] if user and recipient.startswith(user + b"-") else recipient


def domain_keys(address: bytes) -> Iterator[bytes]:
    """`a@b.c.d` → `b.c.d`, `.c.d`, `.d`, and the empty key of the catch-all."""
    domain = address.rpartition(b"@")[2].lower()
    yield domain
    dot = domain.find(b".", 1)
    while dot >= 0:
        yield domain[dot:]
        dot = domain.find(b".", dot + 1)
    yield b""


def envelope_sender(sender: bytes, recipient: bytes) -> bytes:
    """The sender of one delivery: `owner-@host-@[]` and `r@h` make `owner-r=h@host` (VERP), others stay."""
    if not sender.endswith(VERP):
        return sender
    box, at, host = sender[: -len(VERP)].rpartition(b"@")
    user, recipient_at, domain = recipient.rpartition(b"@")
    if not at or not recipient_at:
        return sender
    return b"%b%b=%b@%b" % (box, user, domain, host)


def without_verp(sender: bytes) -> bytes:
    """Where bounces of a VERP sender go as a whole: `owner-@host-@[]` → `owner-@host`."""
    return sender[: -len(VERP)] if sender.endswith(VERP) else sender
