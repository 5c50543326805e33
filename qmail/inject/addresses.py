"""The address list of a field, walked from right to left, the way RFC 822 lists are easy (token822.c)."""

from __future__ import annotations

from qmail.inject.tokens import ATOM, COLON, COMMA, COMMENT, LEFT, LITERAL, QUOTE, RIGHT, SEMICOLON, Token, Unparsable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Rewrite = Callable[[list[Token]], list[Token]]

NAME_AND_COLON = 2
"""Tokens of a field before its list."""
PHRASE = (COMMENT, ATOM, QUOTE, ord("@"), ord("."))
"""Kinds that may stand before `<`."""


def rewrite_list(field: list[Token], rewrite: Rewrite) -> list[Token]:
    """The field (name, colon, list) with each address replaced by `rewrite(address)`, called from the right.

    Words without a comma between them are addresses of their own and get one. Raises Unparsable.
    """
    return _Walk(field, rewrite).result()


class _Walk:
    """One walk; `out` and `address` grow from right to left."""

    __slots__ = ("address", "at", "field", "in_group", "out", "rewrite", "word_may_follow")

    def __init__(self, field: list[Token], rewrite: Rewrite) -> None:
        self.field = field
        self.rewrite = rewrite
        self.at = len(field) - 1
        self.out: list[Token] = []
        self.address: list[Token] = []
        self.in_group = False
        self.word_may_follow = True

    def result(self) -> list[Token]:
        while self.inside:
            self._step()
        self._flush()
        self.out += reversed(self.field[:NAME_AND_COLON])
        self.out.reverse()
        return self.out

    @property
    def inside(self) -> bool:
        return self.at >= NAME_AND_COLON

    def _step(self) -> None:
        token = self.field[self.at]
        if token == SEMICOLON:
            self._group_end()
        elif token == COLON:
            self._group_name()
        elif token == RIGHT:
            self._route_address()
        elif token == COMMA:
            self._flush()
            self.word_may_follow = True
            self._keep()
        elif token[0] == COMMENT:
            self._keep()
        elif token[0] in (ATOM, QUOTE, LITERAL):
            if not self.word_may_follow:
                self._flush(comma=True)
            self.word_may_follow = False
            self._collect()
        else:
            self.word_may_follow = True
            self._collect()

    def _keep(self) -> None:
        """The token is no part of an address."""
        self.out.append(self.field[self.at])
        self.at -= 1

    def _collect(self) -> None:
        """The token belongs to the address."""
        self.address.append(self.field[self.at])
        self.at -= 1

    def _flush(self, *, comma: bool = False) -> None:
        """An address, if there is one, has begun: pass it on."""
        if self.address:
            self._emit()
            if comma:
                self.out.append(COMMA)

    def _emit(self) -> None:
        self.address.reverse()
        self.out += reversed(self.rewrite(self.address))
        self.address = []

    def _group_end(self) -> None:
        self._flush(comma=True)
        if self.in_group:
            raise Unparsable
        self.in_group = self.word_may_follow = True
        self._keep()

    def _group_name(self) -> None:
        """`name:`, back to the comma before it."""
        self._flush()
        if not self.in_group:
            raise Unparsable
        self.in_group = False
        while self.inside and self.field[self.at] != COMMA:
            self._keep()
        if self.inside:
            self._keep()
        self.word_may_follow = True

    def _route_address(self) -> None:
        """`phrase <address>`; the address may be empty and is passed on all the same."""
        self._flush(comma=True)
        self._keep()
        while self.inside and self.field[self.at] != LEFT:
            self._collect()
        self._emit()
        if not self.inside:
            raise Unparsable
        self._keep()
        while self.inside and self.field[self.at][0] in PHRASE:
            self._keep()
        self.word_may_follow = False
