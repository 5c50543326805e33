"""fnmatch(3) patterns with flags 0, in the C locale, for bytes: multilog's mode `F` (daemontools 10.3).

Imports `re`, which costs more than multilog's start, so only a script that uses the mode imports this.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_BYTE = frozenset(range(256))
CLASSES: dict[bytes, frozenset[int]] = {
    name: frozenset(byte for byte in range(128) if re.match(kind, b"%c" % byte, re.DOTALL))
    for name, kind in (
        (b"alnum", rb"[0-9A-Za-z]"),
        (b"alpha", rb"[A-Za-z]"),
        (b"blank", rb"[ \t]"),
        (b"cntrl", rb"[\x00-\x1f\x7f]"),
        (b"digit", rb"[0-9]"),
        (b"graph", rb"[!-~]"),
        (b"lower", rb"[a-z]"),
        (b"print", rb"[ -~]"),
        (b"punct", rb"[!-/:-@\[-`{-~]"),
        (b"space", rb"[ \t-\r]"),
        (b"upper", rb"[A-Z]"),
        (b"xdigit", rb"[0-9A-Fa-f]"),
    )
}
NEVER = rb"(?!)"


def matcher(text: bytes) -> Callable[[bytes], object]:
    """A function that is true for the lines that the pattern matches from end to end, in time linear in each star."""
    pieces = [b""]
    at = 0
    while at < len(text):
        if text[at] == 0x2A:
            pieces.append(b"")
            at += 1
        else:
            piece, at = _element(text, at)
            pieces[-1] += piece
    if len(pieces) == 1:
        return re.compile(pieces[0] + rb"\Z", re.DOTALL).match
    # once the piece after a star has been found, an earlier star need not be tried again: atomic groups
    middle = b"".join(rb"(?>.*?%b)" % piece for piece in pieces[1:-1])
    return re.compile(rb"%b%b.*%b\Z" % (pieces[0], middle, pieces[-1]), re.DOTALL).match


def _element(text: bytes, at: int) -> tuple[bytes, int]:
    """The expression for one element of a pattern that is not a star, and where the next begins."""
    byte = text[at : at + 1]
    if byte == b"?":
        return b".", at + 1
    if byte == b"\\":
        return (re.escape(text[at + 1 : at + 2]), at + 2) if at + 1 < len(text) else (NEVER, at + 1)
    if byte == b"[":
        found = _bracket(text, at + 1)
        if found is not None:
            members, after = found
            return (b"[%b]" % b"".join(b"\\x%02x" % member for member in sorted(members)) if members else NEVER), after
    return re.escape(byte), at + 1


def _bracket(text: bytes, at: int) -> tuple[frozenset[int], int] | None:
    """The bytes of a bracket expression whose inside begins at `at`, and where it ends; None if it never ends."""
    negated = text[at : at + 1] in (b"!", b"^")
    first = at = at + negated
    members: set[int] = set()
    while at < len(text) and (text[at] != 0x5D or at == first):
        end = text.find(b":]", at + 2) if text.startswith(b"[:", at) else -1
        if end >= 0 and text[at + 2 : end] in CLASSES:
            members |= CLASSES[text[at + 2 : end]]
            at = end + 2
            continue
        low, at = _member(text, at)
        high = low
        if text[at : at + 1] == b"-" and text[at + 1 : at + 2] not in (b"", b"]"):
            high, at = _member(text, at + 1)
        members.update(range(low, high + 1))
    if at >= len(text):
        return None
    return (EVERY_BYTE - members if negated else frozenset(members)), at + 1


def _member(text: bytes, at: int) -> tuple[int, int]:
    """One byte of a bracket expression, which a backslash may quote."""
    at += text[at] == 0x5C and at + 1 < len(text)
    return text[at], at + 1
