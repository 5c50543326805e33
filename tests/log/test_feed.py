"""Blocks to lines: wherever the input is cut, the actions see what a line-by-line model sees."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.log.batch import Batch
from qserver.log.feed import Feeder
from qserver.log.patterns import Selection
from tests.log.test_patterns import selected

STAMP = b"@400000003b4a39c23294b13c "
PIECE = st.sampled_from([b"a", b"b", b"\n", b"\n\n", b"x*y\0\xff", b"a" * 400, b"b" * 999, b"a" * 974, b"c" * 1500])
DATA = st.lists(PIECE, max_size=12).map(b"".join)
WORDS = st.lists(st.sampled_from([b"-*", b"+*", b"-a*", b"+*b", b"-*x*", b"+", b"-@*", b"+* a*"]), max_size=4)


class Recorder:
    """Takes lines as any action does."""

    def __init__(self) -> None:
        self.written = b""
        self.lines: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert data
        self.written += data

    def put(self, batch: Batch) -> None:
        self.lines += [line[:1000] for line in batch.lines]
        assert batch.last[:1000] == self.lines[-1]


def selection(words: list[bytes]) -> Selection:
    return Selection(tuple((word[:1] == b"+", word[1:], False) for word in words))


def blocks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % len(data) for cut in cuts} | {0, len(data)}) if data else [0]
    return [data[start:end] for start, end in pairwise(places)]


@settings(max_examples=300)
@given(DATA, st.lists(st.integers(0, 10**6), max_size=6), st.lists(WORDS, min_size=1, max_size=3), st.booleans())
def test_any_cutting_equals_the_model(data: bytes, cuts: list[int], scripts: list[list[bytes]], stamped: bool) -> None:
    takers = [(selection(words), Recorder()) for words in scripts]
    logs = [(selection(words), Recorder()) for words in scripts]
    feeder = Feeder((lambda: STAMP) if stamped else None, [*takers], [*logs])
    for block in blocks(data, cuts):
        feeder.feed(block)
        assert feeder.within_line == (not block.endswith(b"\n"))
    feeder.finish()
    whole = data if data.endswith(b"\n") or not data else data + b"\n"
    lines = [STAMP * stamped + line for line in whole.split(b"\n")[:-1]]
    for words, (_, taker), (_, log) in zip(scripts, takers, logs, strict=True):
        expected = [line for line in lines if selected(words, line)]
        assert log.written == b"".join(line + b"\n" for line in expected)
        assert taker.lines == [line[:1000] for line in expected]


def test_complete_lines_are_handed_on_at_once_and_partial_ones_are_not() -> None:
    log = Recorder()
    feeder = Feeder(None, [], [(selection([]), log)])
    feeder.feed(b"one\ntw")
    assert log.written == b"one\n"
    feeder.feed(b"o")
    assert log.written == b"one\n"
    feeder.feed(b"\n")
    assert log.written == b"one\ntwo\n"


def test_a_long_line_is_handed_on_after_a_thousand_bytes() -> None:
    log = Recorder()
    feeder = Feeder(None, [], [(selection([]), log)])
    feeder.feed(b"x" * 999)
    assert log.written == b""
    feeder.feed(b"y")
    assert log.written == b"x" * 999 + b"y"
    feeder.feed(b"z" * 10)
    assert log.written.endswith(b"yzzzzzzzzzz")
    feeder.finish()
    assert log.written.endswith(b"z\n")


def test_one_stamp_for_what_comes_together_and_the_time_of_the_first_byte() -> None:
    stamps = iter([b"1 ", b"2 ", b"3 "])
    log = Recorder()
    feeder = Feeder(lambda: next(stamps), [], [(selection([]), log)])
    feeder.feed(b"a\nb\nc")
    feeder.feed(b"c")
    feeder.feed(b"\n")
    assert log.written == b"1 a\n1 b\n1 cc\n"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_end_within_a_line_completes_it(end: bytes) -> None:
    log = Recorder()
    feeder = Feeder(None, [], [(selection([]), log)])
    feeder.feed(b"a\nb" + end)
    feeder.finish()
    assert log.written == b"a\nb\n"
