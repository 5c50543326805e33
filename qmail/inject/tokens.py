"""The lexical level of RFC 822 fields: bytes to tokens and back (delivery 9.3, 9.4; token822.c).

A token is a pair (kind, text). Text is what stands between the delimiters, backslashes undone. Pure; time and memory are
linear in the input, and nothing recurses.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Token = tuple[int, bytes]

ATOM, QUOTE, LITERAL, COMMENT = 1, 2, 3, 4
WORDS = (ATOM, QUOTE, LITERAL, COMMENT)
"""Kinds that carry text; every other kind is the byte it stands for."""
LEFT: Token = (60, b"<")
RIGHT: Token = (62, b">")
AT: Token = (64, b"@")
COMMA: Token = (44, b",")
SEMICOLON: Token = (59, b";")
COLON: Token = (58, b":")
DOT: Token = (46, b".")
SPECIALS: dict[int, Token] = {token[0]: token for token in (LEFT, RIGHT, AT, COMMA, SEMICOLON, COLON, DOT)}

QUOTE_MARK, OPEN_COMMENT, CLOSE_COMMENT, OPEN_LITERAL, CLOSE_LITERAL, BACKSLASH = b'"()[]\\'
OPENERS = {QUOTE_MARK: (QUOTE, QUOTE_MARK), OPEN_COMMENT: (COMMENT, CLOSE_COMMENT), OPEN_LITERAL: (LITERAL, CLOSE_LITERAL)}
BLANKS = b" \t\r\n"
ATOM_ENDS = frozenset(BLANKS + b'(["<>;:@,.')
PLAIN = bytes(byte for byte in range(32, 127) if byte not in b")]\\")
"""What an atom may hold and still be printed bare."""
ESCAPED = b'"[]()\\\r\n'
BRACKETS = {ATOM: (b"", b""), QUOTE: (b'"', b'"'), LITERAL: (b"[", b"]"), COMMENT: (b"(", b")")}
LINE_LIMIT = 78


class Unparsable(ValueError):
    """The text is no RFC 822 field or address."""


def parse(data: bytes) -> list[Token]:
    """The tokens of a field or address. Raises Unparsable."""
    tokens: list[Token] = []
    at, end = 0, len(data)
    while at < end:
        byte = data[at]
        if byte in SPECIALS:
            tokens.append(SPECIALS[byte])
            at += 1
        elif byte in BLANKS:
            at += 1
        elif byte in OPENERS:
            kind, closer = OPENERS[byte]
            text, at = _enclosed(data, at + 1, closer, nests=kind == COMMENT)
            tokens.append((kind, text))
        elif byte in (CLOSE_COMMENT, CLOSE_LITERAL):
            raise Unparsable
        else:
            text, at = _atom(data, at)
            tokens.append((QUOTE if text.translate(None, PLAIN) else ATOM, text))
    return tokens


def _enclosed(data: bytes, at: int, closer: int, *, nests: bool) -> tuple[bytes, int]:
    """The text from `at` to the closing byte, and the position behind it. Parentheses inside a comment are dropped."""
    text = bytearray()
    depth, end = 1, len(data)
    while at < end:
        byte = data[at]
        at += 1
        if byte == closer:
            depth -= 1
            if not depth:
                return bytes(text), at
        elif nests and byte == OPEN_COMMENT:
            depth += 1
        elif byte != BACKSLASH:
            text.append(byte)
        elif at < end:
            text.append(data[at])
            at += 1
    raise Unparsable


def _atom(data: bytes, at: int) -> tuple[bytes, int]:
    """The atom that starts at `at`, and the position behind it; its first byte may be anything."""
    text = bytearray()
    end = len(data)
    while True:
        if data[at] == BACKSLASH:
            at += 1
            if at == end:
                break
        text.append(data[at])
        at += 1
        if at == end or data[at] in ATOM_ENDS:
            break
    return bytes(text), at


def unquote(tokens: Iterable[Token]) -> bytes:
    """The envelope form of an address: no quotes, no comments."""
    return b"".join([b"[%b]" % text if kind == LITERAL else text for kind, text in tokens if kind != COMMENT])


def unparse(tokens: Iterable[Token]) -> bytes:
    """A field with its newline, folded after commas so that no line is longer than need be (LINE_LIMIT)."""
    lines: list[bytes] = []
    line: bytes | None = None
    for item in _items(tokens):
        if line is None:
            line = item
        elif len(line) + len(item) <= LINE_LIMIT:
            line += item
        else:
            lines.append(line)
            line = b" " + item
    return b"\n".join([*lines, line or b"", b""])


def _items(tokens: Iterable[Token]) -> Iterable[bytes]:
    """The printed tokens, cut behind each comma; the last item may be empty."""
    item: list[bytes] = []
    before = 0
    for kind, text in tokens:
        if before and _needs_space(before, kind):
            item.append(b" ")
        before = kind
        if kind in WORDS:
            opener, closer = BRACKETS[kind]
            item += (opener, _escape(text), closer)
        else:
            item.append(text)
        if kind == COMMA[0]:
            yield b"".join(item)
            item = []
    yield b"".join(item)


def _needs_space(before: int, kind: int) -> bool:
    return before in (COLON[0], COMMA[0]) or kind == LEFT[0] or (before in WORDS and kind in WORDS)


def _escape(text: bytes) -> bytes:
    if len(text.translate(None, ESCAPED)) == len(text):
        return text
    return b"".join([b"\\%c" % byte if byte in ESCAPED else b"%c" % byte for byte in text])
