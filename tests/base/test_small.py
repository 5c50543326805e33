"""The pure parts of the ground floor, by table and property."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.base import tai64n
from qserver.base.errors import Die, describe, error_text, fatal, usage
from qserver.base.getopt import getopt, scan_number


@pytest.mark.parametrize(
    ("words", "options", "operands"),
    [
        ([], [], []),
        (["-RHl0"], [("R", ""), ("H", ""), ("l", "0")], []),
        (["-Xx", "rules.cdb", "a"], [("X", ""), ("x", "rules.cdb")], ["a"]),
        (["-Rt5"], [("R", ""), ("t", "5")], []),
        (["-", "-R"], [], ["-", "-R"]),
        (["-R", "--", "-X"], [("R", "")], ["-X"]),
        (["a", "-R"], [], ["a", "-R"]),
        (["-t", "-R", "x"], [("t", "-R")], ["x"]),
        ([""], [], [""]),
    ],
)
def test_getopt(words: list[str], options: list[tuple[str, str]], operands: list[str]) -> None:
    assert getopt(["prog", *words], "RHXl:x:t:", "usage") == (options, operands)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-z"], "prog: illegal option -- z\nline"),
        (["-:"], "prog: illegal option -- :\nline"),
        (["--help", "x"], "prog: illegal option -- -\nline"),
        (["-Rx"], "prog: option requires an argument -- x\nline"),
    ],
)
def test_getopt_complaints(words: list[str], complaint: str) -> None:
    with pytest.raises(Die) as caught:
        getopt(["/bin/prog", *words], "Rx:", "line")
    assert (caught.value.text, caught.value.code) == (complaint, 100)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12x", 12),
        ("", 7),
        ("x", 7),
        ("-3", 7),
        ("007", 7),
        ("99999999999", 99999999999),
        ("٣", 7),
        ("18446744073709551617", 1),
        ("9" * 5000, (10**5000 - 1) % 2**64),
    ],
)
def test_scan_number(text: str, number: int) -> None:
    assert scan_number(text, 7) == number


def test_error_texts() -> None:
    assert error_text(errno.ENOENT) == "file does not exist"
    assert error_text(OSError(errno.EADDRINUSE, "x")) == "address already used"
    assert error_text(errno.EUSERS) == os.strerror(errno.EUSERS).lower()
    assert error_text(errno.EUSERS, unknown="unknown error") == "unknown error"
    assert error_text(OSError("bad format")) == "bad format"


def test_message_grammar() -> None:
    assert fatal("p", "unable to open x", errno.EACCES).text == "p: fatal: unable to open x: access denied"
    assert describe("p", "warning", "odd", None, None) == "p: warning: odd"
    assert (usage("p", "p dir").text, usage("p", "p dir").code) == ("p: usage: p dir", 100)


def test_tai64n_example() -> None:
    ns = tai64n.parse_label(b"@400000003b4a39c23294b13c")
    assert ns == 994720184 * 10**9 + 848605500
    assert tai64n.label(ns) == b"@400000003b4a39c23294b13c"


@given(st.integers(0, 2**62))
def test_tai64n_round_trips(ns: int) -> None:
    assert tai64n.parse_label(tai64n.label(ns)) == ns
    assert tai64n.unpack(tai64n.pack(ns)) == ns
    assert len(tai64n.label(ns)) == 25


@pytest.mark.parametrize("text", [b"", b"@40", b"400000003b4a39c23294b13c0", b"@40000000zz4a39c23294b13c"])
def test_tai64n_refuses(text: bytes) -> None:
    with pytest.raises(ValueError):
        tai64n.parse_label(text)
