"""multilog's patterns against a literal reading of the spec, and fnmatch mode against the C library."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.log.batch import Batch
from qserver.log.patterns import Selection, star_test
from qserver.log.wildcards import matcher


def matches(pattern: bytes, line: bytes) -> bool:
    """Star matching, byte by byte."""
    at = 0
    for number, byte in enumerate(pattern):
        if byte != ord("*"):
            if line[at : at + 1] != b"%c" % byte:
                return False
            at += 1
        elif number + 1 == len(pattern):
            return True
        else:
            at = line.find(pattern[number + 1 : number + 2], at)
            if at < 0:
                return False
    return at == len(line)


def selected(words: list[bytes], line: bytes) -> bool:
    """What actions + and - leave of a line, one after another."""
    state = True
    for word in words:
        if state == (word[:1] == b"-") and matches(word[1:], line[:1000]):
            state = not state
    return state


def selection(words: list[bytes], *, fnmatch: bool = False) -> Selection:
    return Selection(tuple((word[:1] == b"+", word[1:], fnmatch) for word in words))


def chosen(words: list[bytes], lines: list[bytes], *, fnmatch: bool = False) -> list[bytes]:
    batch = selection(words, fnmatch=fnmatch).select(Batch(None, lines))
    return [] if batch is None else batch.lines


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (b"one", [b"one"], [b"", b"on", b"onf", b"one*", b"onetwo"]),
        (b"one*", [b"one", b"one*", b"onetwo"], [b"", b"on"]),
        (b"* one", [b" one", b"x one", b"xy one"], [b"one", b" two", b"  one", b"xy one "]),
        (b"* * one", [b"  one", b"x y one"], [b" one", b"   one"]),
        (b"**x", [b"a*bx", b"*x"], [b"x", b"ax", b"*xx"]),
        (b"***", [b"*", b"a*b"], [b"", b"ab"]),
        (b"**", [b"*", b"a*b"], [b"", b"ab"]),
        (b"*", [b"", b"x"], []),
        (b"", [b""], [b"x"]),
        (b"*x", [b"x", b"ax"], [b"", b"xx", b"xa"]),
        (b"*'\"{}\\*", [b"a'\"{}\\b"], [b"'"]),
    ],
)
def test_star_patterns(pattern: bytes, yes: list[bytes], no: list[bytes]) -> None:
    assert chosen([b"-*", b"+" + pattern], yes + no) == yes
    assert [matches(pattern, line) for line in yes + no] == [True] * len(yes) + [False] * len(no)


ALPHABET = st.sampled_from([b"a", b"b", b"*", b" ", b"\0"])
TEXT = st.lists(ALPHABET, max_size=9).map(b"".join)
WORD = st.tuples(st.sampled_from([b"+", b"-"]), TEXT).map(b"".join)


@given(st.lists(WORD, max_size=6), st.lists(TEXT, min_size=1, max_size=8))
def test_a_sequence_selects_what_its_actions_do_one_by_one(words: list[bytes], lines: list[bytes]) -> None:
    assert chosen(words, lines) == [line for line in lines if selected(words, line)]


@given(st.lists(WORD, min_size=1, max_size=4), TEXT, st.integers(990, 1010))
def test_only_the_first_thousand_bytes_count(words: list[bytes], end: bytes, start: int) -> None:
    line = b"a" * start + end + b"x" * 30
    assert chosen(words, [b"b", line]) == [item for item in (b"b", line) if selected(words, item)]


@given(TEXT, TEXT)
def test_the_text_a_pattern_is_left_out_for_is_in_every_line_it_matches(pattern: bytes, line: bytes) -> None:
    if matches(pattern, line):
        assert star_test(pattern)[1] in line


def test_any_number_of_patterns_and_stars() -> None:
    many = [b"-*", *(b"%c%d*" % (b"+-"[number % 2], number) for number in range(2000))]
    lines = [b"18", b"1998", b"1999", b"x", b"3"]
    assert chosen(many, lines) == [line for line in lines if selected(many, line)]
    assert chosen([b"-" + b"a*" * 3000], [b"a" * 999, b"b"]) == [b"a" * 999, b"b"]
    assert chosen([b"-" + b"* " * 900], [b" " * 900, b"b"]) == [b"b"]


def test_everything_and_nothing_are_known_without_a_line() -> None:
    assert selection([]).everything
    assert selection([b"-x", b"+*"]).everything
    assert selection([b"+x"]).everything
    assert selection([b"+x", b"-*"]).nothing
    assert not selection([b"-x"]).everything


FNMATCH_TEXT = st.lists(st.sampled_from([bytes([byte]) for byte in b"ab-]^!\\/."]), max_size=6).map(b"".join)
FNMATCH_PATTERN = st.lists(
    st.sampled_from(rb"a b * ? [ab] [!a] [^b-] [a-b] []a] [!]] \* \a [[:alpha:]] [\]]".split()),
    max_size=6,
).map(b"".join)


@given(FNMATCH_PATTERN, FNMATCH_TEXT)
def test_fnmatch_mode_is_the_c_librarys(pattern: bytes, line: bytes) -> None:
    expected = ctypes.CDLL(None).fnmatch(pattern, line, 0) == 0
    assert bool(matcher(pattern)(line)) == expected
    assert chosen([b"-*", b"+" + pattern], [line], fnmatch=True) == ([line] if expected else [])


def test_fnmatch_mode_backtracks_and_stays_linear() -> None:
    assert chosen([b"-*", b"+* one"], [b"  one", b"one"], fnmatch=True) == [b"  one"]
    assert chosen([b"-*", b"+" + b"*a" * 40 + b"*b"], [b"a" * 1000], fnmatch=True) == []
