"""Command lines, addresses and parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.smtpd import grammar

ADDRESSES = [
    (b"FROM:<a@b>", b"a@b", b""),
    (b"FROM: <a@b> SIZE=1", b"a@b", b" SIZE=1"),
    (b"<a@b>", b"a@b", b""),
    (b"FROM:<>", b"", b""),
    (b"FROM:<a@b", b"a@b", b""),
    (b"FROM:<@r,@s:a@b>", b"a@b", b""),
    (b"FROM:<@r>", b"", b""),
    (b'FROM:<"x y\\"z"@h> BODY=7BIT', b'x y"z@h', b" BODY=7BIT"),
    (b'FROM:<"a>b"@h>', b"a>b@h", b""),
    (b"FROM:<a\\>b@h>", b"a>b@h", b""),
    (b"FROM:<a\\", b"a", b""),
    (b'FROM:<"open', b"open", b""),
    (b"FROM:<\xff\xfe@h>", b"\xff\xfe@h", b""),
    (b"FROM:<" + b"a" * 899 + b">", b"a" * 899, b""),
]
NOT_ADDRESSES = [b"", b"FROM:a@b", b"FROM:<a\tb@c>", b"FROM:<a\x7f@c>", b"FROM:<" + b"a" * 900 + b">", b'FROM:<"\x01">']


@pytest.mark.parametrize(("argument", "address", "rest"), ADDRESSES)
def test_path(argument: bytes, address: bytes, rest: bytes) -> None:
    assert grammar.path(argument) == (address, rest)


@pytest.mark.parametrize("argument", NOT_ADDRESSES)
def test_path_syntax_error(argument: bytes) -> None:
    assert grammar.path(argument) is None


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"mail   FROM:<a@b> ", b"MAIL", b"FROM:<a@b> "),
        (b"QUIT", b"QUIT", b""),
        (b"", b"", b""),
        (b" NOOP", b"", b"NOOP"),
        (b"NOOP\tx", b"NOOP\tX", b""),
    ],
)
def test_command(line: bytes, verb: bytes, argument: bytes) -> None:
    assert grammar.command(line) == (verb, argument)


def test_parameters() -> None:
    assert grammar.parameters(b"  size=12 AUTH=<> Smtputf8 X=a=b") == [
        (b"SIZE", b"12"),
        (b"AUTH", b"<>"),
        (b"SMTPUTF8", b""),
        (b"X", b"a=b"),
    ]


@pytest.mark.parametrize(("text", "value"), [(b"", 0), (b"12", 12), (b"12x", 12), (b"x", 0), (b"-3", 0), (b" 3", 0)])
def test_number(text: bytes, value: int) -> None:
    assert grammar.number(text) == value


def test_number_of_any_length() -> None:
    assert grammar.number(b"9" * 4000) > 10**90


@pytest.mark.parametrize(
    ("text", "decoded"),
    [(b"e+3Dmc2", b"e=mc2"), (b"a+2Bb", b"a+b"), (b"+2b+2B", b"++"), (b"+", b"+"), (b"+zz+4", b"+zz+4"), (b"", b"")],
)
def test_unxtext(text: bytes, decoded: bytes) -> None:
    assert grammar.unxtext(text) == decoded


@given(st.binary(max_size=60))
def test_every_argument_has_an_answer(argument: bytes) -> None:
    parsed = grammar.path(argument)
    if parsed is not None:
        address, _ = parsed
        assert len(address) <= 899
        assert not any(byte < 32 or byte == 127 for byte in address)
    grammar.parameters(argument)
    grammar.unxtext(argument)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='\\"<>@:'), min_size=1))
def test_plain_boxes_pass_unchanged(box: str) -> None:
    address = box.encode() + b"@h"
    assert grammar.path(b"TO:<" + address + b"> X") == (address, b" X")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_quoted_boxes_are_unquoted(box: str) -> None:
    quoted = box.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    assert grammar.path(b'TO:<"' + quoted + b'"@h>') == (box.encode() + b"@h", b"")
