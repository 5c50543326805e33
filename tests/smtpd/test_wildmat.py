"""wildmat patterns."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.wildmat import Pattern, Patterns, is_literal

MATCHES = [
    (b"", b"", True),
    (b"", b"x", False),
    (b"*", b"", True),
    (b"*", b"anything", True),
    (b"a*", b"a", True),
    (b"a*a", b"a", False),
    (b"a*a", b"aa", True),
    (b"*@example.org", b"joe@example.org", True),
    (b"*@example.org", b"joe@example.orgx", False),
    (b"*viagra*", b"buy viagra now", True),
    (b"*a*b*c", b"xxaxxbxxc", True),
    (b"*a*b*c", b"xxbxxaxxc", False),
    (b"?", b"", False),
    (b"?", b"\xff", True),
    (b"a?c", b"abc", True),
    (b"*?x", b"x", False),
    (b"*?x", b"yx", True),
    (b"[abc]", b"b", True),
    (b"[a-c]x", b"cx", True),
    (b"[a-c]x", b"dx", False),
    (b"[^a-c]x", b"dx", True),
    (b"[^a-c]x", b"ax", False),
    (b"[]x]", b"]", True),
    (b"[^]x]", b"]", False),
    (b"[^]x]", b"y", True),
    (b"[-x]", b"-", True),
    (b"[^-x]", b"-", False),
    (b"[x-]", b"-", True),
    (b"[abc", b"[abc", True),
    (b"\\*", b"*", True),
    (b"\\*", b"x", False),
    (b"\\a", b"a", True),
    (b"x\\", b"x\\", True),
    (b"ABC", b"abc", False),
    (b"*[0-9]*", b"abc7def", True),
    (b"*[0-9]*", b"abcdef", False),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), MATCHES)
def test_matches(pattern: bytes, text: bytes, expected: bool) -> None:
    assert Pattern(pattern).matches(text) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=12))
def test_agrees_with_fnmatch(pattern: str, text: str) -> None:
    assert Pattern(pattern.encode()).matches(text.encode()) == fnmatch.fnmatchcase(text, pattern)


def test_order_decides() -> None:
    patterns = Patterns([b"*", b"!*@*.*", b"*viagra*"])
    assert patterns.match(b"local")
    assert not patterns.match(b"a@b.c")
    assert patterns.match(b"viagra@b.c")
    assert patterns.match(b"")


def test_null_address_can_be_exempt() -> None:
    assert not Patterns([b"*", b"!"]).match(b"")
    assert Patterns([b"*", b"!"]).match(b"x")


def test_no_lines() -> None:
    assert not Patterns([]).match(b"")


@pytest.mark.parametrize(("pattern", "literal"), [(b"a.b", True), (b"a*", False), (b"[", False), (b"a\\b", False)])
def test_is_literal(pattern: bytes, literal: bool) -> None:
    assert is_literal(pattern) is literal


def test_many_stars_stay_cheap() -> None:
    started = time.process_time()
    assert not Pattern(b"*a" * 30 + b"b").matches(b"a" * 899)
    assert not Pattern(b"*?a" * 30 + b"b").matches(b"a" * 899)
    assert time.process_time() - started < 0.5
