"""Lists of addresses: golden cases, each of them the C program's answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.inject.addresses import rewrite_list
from qmail.inject.rewrite import Rewriter, RewriterTrouble
from qmail.inject.tokens import Token, Unparsable, parse, unparse, unquote

REWRITER = Rewriter(b"host.a.org", b"a.org", b"p.org")

SINGLE = [
    (b"joe", b"joe@host.a.org"),
    (b"joe@x", b"joe@x.a.org"),
    (b"joe@x+", b"joe@x.p.org"),
    (b"joe@x.", b"joe@x.a.org"),
    (b"joe@x.y.", b"joe@x.y"),
    (b"joe@x..", b"joe@x."),
    (b"joe@x.y", b"joe@x.y"),
    (b"joe@x.y+", b"joe@x.y.p.org"),
    (b"joe+", b"joe+@host.a.org"),
    (b"joe@+", b"joe@.p.org"),
    (b"joe@[1.2.3.4]", b"joe@[1.2.3.4]"),
    (b"joe@", b"joe@host.a.org"),
    (b"joe@.", b"joe@host.a.org"),
    (b"joe.", b"joe@host.a.org"),
    (b"a@b@c", b"a@b@c.a.org"),
    (b"a.b", b"a.b@host.a.org"),
    (b"list-@host-@[]", b"list-@host-@[]"),
    (b"#@[]", b"#@[]"),
]


@pytest.mark.parametrize(("given_", "address"), SINGLE)
def test_rewrite_one_address(given_: bytes, address: bytes) -> None:
    assert unquote(REWRITER.rewrite(parse(given_))) == address


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        *[case for case in SINGLE if case[0] != b"joe."],
        (b"joe.", b"joe.@host.a.org"),  # its box is quoted
        (b"joe q", b"joe q@host.a.org"),
        (b"a,b@c", b"a,b@c.a.org"),
        (b'"q"@x', b'"q"@x.a.org'),
        (b"", b""),
        (b"<x>@y", b"<x>@y.a.org"),
    ],
)
def test_argument(argument: bytes, address: bytes) -> None:
    assert REWRITER.argument(argument) == address


def test_an_argument_whose_host_is_no_host() -> None:
    with pytest.raises(Unparsable):
        REWRITER.argument(b"a@b.)")


def test_a_default_that_cannot_be_parsed() -> None:
    with pytest.raises(RewriterTrouble) as trouble:
        Rewriter(b"host", b"a.)", b"p")
    assert trouble.value.text == b".a.)"


LISTS = [
    # list, what it is printed as, envelope addresses from the right
    (b"a, b", b"a@host.a.org, b@host.a.org", [b"b@host.a.org", b"a@host.a.org"]),
    (b"a b", b"a@host.a.org, b@host.a.org", [b"b@host.a.org", b"a@host.a.org"]),
    (b'"joe q"', b'"joe q"@host.a.org', [b"joe q@host.a.org"]),
    (b"x y z <joe>", b"x y z <joe@host.a.org>", [b"joe@host.a.org"]),
    (b"<>", b"<>", [b""]),
    (b"<@a,@b:joe@c>", b"<joe@c.a.org>", [b"joe@c.a.org"]),
    (b"<@a:>", b"<>", [b""]),
    (b"<@foo>", b"<>", [b""]),
    (b"<.>", b"<>", [b""]),
    (b"<a@b.c> d", b"<a@b.c>, d@host.a.org", [b"d@host.a.org", b"a@b.c"]),
    (b"n <a@b.c> m <d@e.f>", b"n <a@b.c>m <d@e.f>", [b"d@e.f", b"a@b.c"]),
    (b"joe (x) @ (y) b . c", b"joe@b.c (x) (y)", [b"joe@b.c"]),
    (b"joe@b.c (Joe)", b"joe@b.c (Joe)", [b"joe@b.c"]),
    (b"friends: a, b@c.d;", b"friends: a@host.a.org, b@c.d;", [b"b@c.d", b"a@host.a.org"]),
    (b"x, friends: a;, y", b"x@host.a.org, friends: a@host.a.org;, y@host.a.org",
     [b"y@host.a.org", b"a@host.a.org", b"x@host.a.org"]),
    (b"list: ;", b"list: ;", []),
    (b",a,,b,", b", a@host.a.org, , b@host.a.org,", [b"b@host.a.org", b"a@host.a.org"]),
    (b"a < b", b"a <b@host.a.org", [b"a<b@host.a.org"]),
    (b";", b";", []),
    (b"", b"", []),
    (b"(just a comment)", b"(just a comment)", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "printed", "envelope"), LISTS)
def test_list(text: bytes, printed: bytes, envelope: list[bytes]) -> None:
    seen: list[bytes] = []

    def rewrite(address: list[Token]) -> list[Token]:
        address = REWRITER.rewrite(address)
        seen.append(unquote(address))
        return address

    field = unparse(rewrite_list(parse(b"To:" + text + b"\n"), rewrite))
    assert field == (b"To: " + printed if printed else b"To:") + b"\n"
    assert seen == envelope


@pytest.mark.parametrize("text", [b"a: b", b"@a,@b:joe@c", b"a>", b"> <a", b"a; b;", b"g: a; b; c", b":"])
def test_what_is_no_list(text: bytes) -> None:
    with pytest.raises(Unparsable):
        rewrite_list(parse(b"To:" + text + b"\n"), REWRITER.rewrite)


PIECES = st.sampled_from([b"joe", b"x+", b".", b"@", b",", b"<", b">", b"g:", b";", b'"q s"', b"(c)", b"[]", b" "])


@given(st.lists(PIECES, max_size=80).map(b"".join))
def test_a_rewritten_list_is_a_list(text: bytes) -> None:
    """Whatever we print, whoever reads it can parse; only a stray `>` or `:` stays unparsable."""
    try:
        field = unparse(rewrite_list(parse(b"To:" + text + b"\n"), REWRITER.rewrite))
    except Unparsable:
        return
    parse(field)


@pytest.mark.parametrize(
    "text", [b"a," * 100_000, b"a " * 100_000, b"a.b" * 100_000, b"<a>" * 60_000, b"@" * 200_000, b"x: a;," * 50_000]
)
def test_long_lists_are_linear(text: bytes) -> None:
    unparse(rewrite_list(parse(b"To:" + text + b"\n"), REWRITER.rewrite))
