"""The tokenizer against the C program's answers, and against everything else that bytes can be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qmail.inject.tokens import (
    AT,
    ATOM,
    COLON,
    COMMA,
    COMMENT,
    DOT,
    LEFT,
    LITERAL,
    QUOTE,
    RIGHT,
    SEMICOLON,
    Token,
    Unparsable,
    parse,
    unparse,
    unquote,
)  # fmt: skip

TEXTS: list[tuple[bytes, list[Token]]] = [
    (b"", []),
    (b" \t\r\n", []),
    (b"a.b@c,d", [(ATOM, b"a"), DOT, (ATOM, b"b"), AT, (ATOM, b"c"), COMMA, (ATOM, b"d")]),
    (b"<>:;", [LEFT, RIGHT, COLON, SEMICOLON]),
    (b'"a b"', [(QUOTE, b"a b")]),
    (rb'"a\"b\\(["', [(QUOTE, b'a"b\\([')]),
    (b'""', [(QUOTE, b"")]),
    (b"[1.2.3.4]", [(LITERAL, b"1.2.3.4")]),
    (rb"[a\]b]", [(LITERAL, b"a]b")]),
    (b"(a (b) c)", [(COMMENT, b"a b c")]),
    (rb"(a\)(b\())", [(COMMENT, b"a)b(")]),
    (b'("x" <y>)', [(COMMENT, b'"x" <y>')]),
    (rb"a\ b", [(ATOM, b"a b")]),
    (rb"a\\b", [(QUOTE, b"a\\b")]),
    (b"a)b", [(QUOTE, b"a)b")]),
    (b"a]b", [(QUOTE, b"a]b")]),
    (b"caf\xe9", [(QUOTE, b"caf\xe9")]),
    (b"a\x7fb", [(QUOTE, b"a\x7fb")]),
    (b"a\x00b", [(QUOTE, b"a\x00b")]),
    (b"a\\", [(ATOM, b"a")]),
    (b"a\\\n", [(QUOTE, b"a\n")]),
    (b'a"b"c', [(ATOM, b"a"), (QUOTE, b"b"), (ATOM, b"c")]),
]


@pytest.mark.parametrize(("data", "tokens"), TEXTS)
def test_parse(data: bytes, tokens: list[Token]) -> None:
    assert parse(data) == tokens


@pytest.mark.parametrize(
    "data", [b"(", b"((a)", b'"', b'"\\"', b'"a\\', b"[", b"[\\]", b")", b"]", b"a )", b"a(b", b"a ]b", b"(\\", b"a.)"]
)
def test_what_cannot_be_parsed(data: bytes) -> None:
    with pytest.raises(Unparsable):
        parse(data)


@pytest.mark.parametrize(
    ("field", "printed"),
    [
        (b"To:a\n", b"To: a\n"),
        (b"TO : a\n", b"TO: a\n"),
        (b"To:\n", b"To:\n"),
        (b"To: a  b\n c\n", b"To: a b c\n"),
        (b"To:x<a@b>y\n", b"To: x <a@b>y\n"),
        (b'To: a(b)[c]"d"\n', b'To: a (b) [c] "d"\n'),
        (b"To: g:a , b ;c\n", b"To: g: a, b;c\n"),
        (b"To: ,a,,b,\n", b"To: , a, , b,\n"),
        (rb"To: a\ b@c.d" + b"\n", b"To: a b@c.d\n"),
        (rb'To: "a\"b[](x)"@c' + b"\n", rb'To: "a\"b\[\]\(x\)"@c' + b"\n"),
        (b"To: a)b@c\n", b'To: "a\\)b"@c\n'),
        (b"To: ((x)y)a\n", b"To: (xy) a\n"),
        (b'To: "a\r\nb"\n', b'To: "a\\\r\\\nb"\n'),
    ],
)
def test_unparse(field: bytes, printed: bytes) -> None:
    assert unparse(parse(field)) == printed


def test_folding_counts_the_comma_that_follows() -> None:
    fits = b"a" * 73  # `To: `, 73 bytes and a comma: 78
    assert unparse(parse(b"To: x,y@b\n")) == b"To: x, y@b\n"
    assert unparse(parse(b"To: x, %b, z\n" % fits[3:])) == b"To: x, %b,\n  z\n" % fits[3:]
    assert unparse(parse(b"To: x, %ba, z\n" % fits[3:])) == b"To: x,\n  %ba, z\n" % fits[3:]


def test_the_last_item_has_no_comma_to_count() -> None:
    assert unparse(parse(b"To: x, %b\n" % (b"a" * 71))) == b"To: x, %b\n" % (b"a" * 71)
    assert unparse(parse(b"To: x, %b\n" % (b"a" * 72))) == b"To: x,\n  %b\n" % (b"a" * 72)


def test_an_item_that_is_too_long_has_a_line_of_its_own() -> None:
    long = b"a" * 200
    assert unparse(parse(b"To: x,%b,y\n" % long)) == b"To: x,\n  %b,\n  y\n" % long
    assert unparse(parse(b"To: %b,y\n" % long)) == b"To: %b,\n  y\n" % long


def test_unquote_is_the_envelope_form() -> None:
    assert unquote(parse(rb'"joe \"q" (hi) . x @ [1.2]')) == b'joe "q.x@[1.2]'
    assert unquote(parse(b"<a,b;c:d>")) == b"<a,b;c:d>"


PIECES = st.sampled_from(
    [b"joe", b"a.b", b"@", b",", b"<", b">", b":", b";", b'"q"', b"(c)", b"[l]", b" ", b"\\", b")", b"\xff"]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=60).map(b"".join)))
@example(b"\\")
@example(b"(\\")
def test_whatever_comes_is_tokens_or_unparsable(data: bytes) -> None:
    try:
        tokens = parse(data)
    except Unparsable:
        return
    assert sum(len(text) for _, text in tokens) <= len(data)
    unquote(tokens)
    assert unparse(tokens).endswith(b"\n")


@given(st.lists(PIECES.filter(lambda piece: piece != b"\\"), max_size=60).map(b"".join))
def test_what_was_printed_is_printed_the_same_again(data: bytes) -> None:
    try:
        printed = unparse(parse(b"To:" + data))
    except Unparsable:
        return
    assert unparse(parse(printed)) == printed


@pytest.mark.parametrize(
    "data", [b"(" * 400_000 + b")" * 400_000, b"\\(" * 400_000, b"a." * 400_000, b'""' * 300_000, b",<>" * 200_000]
)
def test_large_and_deep_input_is_linear_and_never_recurses(data: bytes) -> None:
    unparse(parse(data))
