"""wildmat patterns over bytes, as control files use them (smtpd 6).

A pattern is cut at its `*` into segments, which are then looked for from left to right: no backtracking, so that no
text a stranger sends can make a match expensive.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Item = frozenset[int] | None
    Segment = bytes | tuple[Item, ...]

WILD = b"*?[\\"
"""Bytes that make a pattern more than its own text."""


def is_literal(pattern: bytes) -> bool:
    """Whether the pattern matches nothing but itself."""
    return not any(byte in WILD for byte in pattern)


class Pattern:
    """One compiled pattern."""

    __slots__ = ("_segments",)

    def __init__(self, pattern: bytes) -> None:
        self._segments = _segments(pattern)

    def matches(self, text: bytes) -> bool:
        """Whether the whole text matches; case counts."""
        first, *middle = self._segments
        if not middle:
            return len(first) == len(text) and _is_at(first, text, 0)
        last = middle.pop()
        at, end = len(first), len(text) - len(last)
        if at > end or not _is_at(first, text, 0) or not _is_at(last, text, end):
            return False
        for segment in middle:
            found = _find(segment, text, at, end)
            if found < 0:
                return False
            at = found + len(segment)
        return True


class Patterns:
    """The lines of a list file as patterns: evaluated in order, `!` negates, the last match that changes it wins."""

    __slots__ = ("_rules",)

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._rules = [(line[:1] != b"!", Pattern(line.removeprefix(b"!"))) for line in lines]

    def match(self, text: bytes) -> bool:
        """The list's verdict on the text; an empty list says False."""
        verdict = False
        for value, pattern in self._rules:
            if value != verdict and pattern.matches(text):
                verdict = value
        return verdict


def _segments(pattern: bytes) -> list[Segment]:
    """Cut a pattern at its stars; a segment without `?` and classes becomes plain bytes."""
    segments: list[list[Item]] = [[]]
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            segments.append([])
        elif byte == b"?":
            segments[-1].append(None)
        elif byte == b"[" and (end := _class_end(pattern, at)) > 0:
            segments[-1].append(_members(pattern[at:end]))
            at = end + 1
        elif byte == b"\\" and at < len(pattern):
            segments[-1].append(frozenset((pattern[at],)))
            at += 1
        else:
            segments[-1].append(frozenset(byte))
    return [_plain(segment) for segment in segments]


def _plain(items: list[Item]) -> Segment:
    if all(item is not None and len(item) == 1 for item in items):
        return bytes(byte for item in items if item is not None for byte in item)
    return tuple(items)


def _class_end(pattern: bytes, start: int) -> int:
    """Where the `]` is that closes a class whose contents begin at `start`; -1 when it is never closed."""
    first = start + 1 if pattern[start : start + 1] == b"^" else start
    return pattern.find(b"]", first + 1)


def _members(text: bytes) -> frozenset[int]:
    """The bytes a class stands for, given what is between its brackets."""
    negated = text[:1] == b"^"
    body = text[1:] if negated else text
    members: set[int] = set()
    at = 0
    while at < len(body):
        if body[at + 1 : at + 2] == b"-" and at + 2 < len(body):
            members.update(range(body[at], body[at + 2] + 1))
            at += 3
        else:
            members.add(body[at])
            at += 1
    return frozenset(range(256)) - members if negated else frozenset(members)


def _is_at(segment: Segment, text: bytes, at: int) -> bool:
    """Whether the segment matches the text from `at` on; the text is known to be long enough there."""
    if isinstance(segment, bytes):
        return text.startswith(segment, at)
    return all(item is None or text[at + offset] in item for offset, item in enumerate(segment))


def _find(segment: Segment, text: bytes, start: int, end: int) -> int:
    """The leftmost place of the segment within text[start:end], or -1."""
    if isinstance(segment, bytes):
        return text.find(segment, start, end)
    places = range(start, end - len(segment) + 1)
    return next((at for at in places if _is_at(segment, text, at)), -1)
