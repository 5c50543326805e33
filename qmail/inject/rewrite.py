"""The rewriting of one address: what is missing is added, source routes and stray marks go (delivery 9.3)."""

from __future__ import annotations

from qmail.address import quote2
from qmail.inject.tokens import AT, ATOM, COLON, DOT, LITERAL, Token, parse, unquote

NOTHING: Token = (LITERAL, b"")
"""`[]`: an address that ends `@[]` is never rewritten."""


class Rewriter:
    """Completes addresses with a default host, a default domain and a domain in place of `+`."""

    __slots__ = ("_default_domain", "_default_host", "_plus_domain")

    def __init__(self, default_host: bytes, default_domain: bytes, plus_domain: bytes) -> None:
        """Raises RewriterTrouble when one of them is no part of an address."""
        self._default_domain = _tokens(b"." + default_domain)
        self._default_host = _tokens(b"@" + default_host)
        self._plus_domain = _tokens(b"." + plus_domain)

    def rewrite(self, address: list[Token]) -> list[Token]:
        """The address, rewritten; an empty one, and one that becomes empty, is empty."""
        if address[-2:] == [AT, NOTHING]:
            return address
        address = _without_route(address)
        for stray in (DOT, AT):
            if address[-1:] == [stray]:
                address = address[:-1]
        return self._complete(address) if address else []

    def _complete(self, address: list[Token]) -> list[Token]:
        if AT not in address:
            address = address + self._default_host
        kind, text = address[-1]
        if kind == ATOM and text.endswith(b"+"):
            address = [*address[:-1], (ATOM, text[:-1]), *self._plus_domain]
        host = _host(address)
        if DOT not in host and all(kind != LITERAL for kind, _ in host):
            address = address + self._default_domain
        return address

    def argument(self, address: bytes) -> bytes:
        """The envelope form of an address given on the command line. Raises Unparsable."""
        return unquote(self.rewrite(parse(quote2(address))))


class RewriterTrouble(ValueError):
    """A default cannot be parsed; the argument is its text as it was parsed."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.text = text


def _tokens(text: bytes) -> list[Token]:
    try:
        return parse(text)
    except ValueError:
        raise RewriterTrouble(text) from None


def _without_route(address: list[Token]) -> list[Token]:
    """`@a,@b:u@c` → `u@c`; what starts with `@` and has no colon is nothing."""
    if address[:1] != [AT]:
        return address
    return address[address.index(COLON) + 1 :] if COLON in address else []


def _host(address: list[Token]) -> list[Token]:
    """The tokens behind the last `@`; all of them when there is none."""
    at = len(address)
    while at and address[at - 1] != AT:
        at -= 1
    return address[at:]
