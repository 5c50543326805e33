"""Where recipients go, VERP, and the prefix that bounces do not show."""

from __future__ import annotations

import pytest

from qmail.control import split_map
from qmail.send.rewrite import Rewriter, domain_keys, envelope_sender, without_verp
from qmail.send.schedule import LOCAL, REMOTE


def rules(locals_: str = "", virtual: str = "", percent: str = "") -> Rewriter:
    return Rewriter(
        b"noat.example",
        frozenset(word.lower().encode() for word in locals_.split()),
        frozenset(word.lower().encode() for word in percent.split()),
        split_map([word.encode() for word in virtual.split()]),
    )


@pytest.mark.parametrize(
    ("control", "recipient", "channel", "address"),
    [
        (rules("a.org"), b"x@A.org", LOCAL, b"x@A.org"),
        (rules("A.Org"), b"X@a.org", LOCAL, b"X@a.org"),
        (rules("a.org"), b"x@b.org", REMOTE, b"x@b.org"),
        (rules("noat.example"), b"x", LOCAL, b"x@noat.example"),
        (rules(), b"x", REMOTE, b"x@noat.example"),
        (rules(virtual="v.org:joe"), b"info@v.org", LOCAL, b"joe-info@v.org"),
        (rules(virtual="v.org:joe"), b"info@V.ORG", LOCAL, b"joe-info@V.ORG"),
        (rules(virtual=".v.org:joe"), b"info@m.v.org", LOCAL, b"joe-info@m.v.org"),
        (rules(virtual=".v.org:joe"), b"info@a.m.v.org", LOCAL, b"joe-info@a.m.v.org"),
        (rules(virtual=".v.org:joe"), b"info@v.org", REMOTE, b"info@v.org"),
        (rules(virtual="bob@v.org:al v.org:joe"), b"bob@v.org", LOCAL, b"al-bob@v.org"),
        (rules(virtual="bob@v.org:al v.org:joe"), b"Bob@V.org", LOCAL, b"al-Bob@V.org"),
        (rules(virtual="bob@v.org:al v.org:joe"), b"eve@v.org", LOCAL, b"joe-eve@v.org"),
        (rules(virtual=":all skip.org:"), b"x@skip.org", REMOTE, b"x@skip.org"),
        (rules(virtual=":all skip.org:"), b"x@o.org", LOCAL, b"all-x@o.org"),
        (rules(virtual=".b.c:x .c:y"), b"u@a.b.c", LOCAL, b"x-u@a.b.c"),
        (rules(virtual=".b.c: .c:y"), b"u@a.b.c", REMOTE, b"u@a.b.c"),
        (rules("v.org", "v.org:joe"), b"info@v.org", LOCAL, b"info@v.org"),
        (rules("a.org", percent="a.org"), b"x%b.org@a.org", REMOTE, b"x@b.org"),
        (rules("a.org", percent="a.org"), b"x%a.org@a.org", LOCAL, b"x@a.org"),
        (rules("a.org", percent="a.org b.org"), b"x%c.org%b.org@A.org", REMOTE, b"x@c.org"),
        (rules("a.org", percent="a.org"), b"x%c.org%b.org@a.org", REMOTE, b"x%c.org@b.org"),
        (rules("a.org"), b"x%b.org@a.org", LOCAL, b"x%b.org@a.org"),
        (rules("a.org"), b"odd@name@a.org", LOCAL, b"odd@name@a.org"),
        (rules("a.org"), b"@a.org", LOCAL, b"@a.org"),
        (rules("a.org"), b"\xff\xfe@a.org", LOCAL, b"\xff\xfe@a.org"),
    ],
)
def test_rewriting(control: Rewriter, recipient: bytes, channel: int, address: bytes) -> None:
    assert control.rewrite(recipient) == (channel, address)


def test_keys_of_a_domain_from_left_to_right() -> None:
    assert list(domain_keys(b"a@B.c.d")) == [b"b.c.d", b".c.d", b".d", b""]
    assert list(domain_keys(b"a@b")) == [b"b", b""]
    assert list(domain_keys(b"a@")) == [b"", b""]


@pytest.mark.parametrize(
    ("virtual", "recipient", "shown"),
    [
        ("v.org:joe", b"joe-info@v.org", b"info@v.org"),
        (".org:joe", b"joe-info@v.org", b"info@v.org"),
        (":joe", b"joe-info@v.org", b"info@v.org"),
        ("v.org:al :joe", b"joe-info@v.org", b"joe-info@v.org"),
        ("v.org: :joe", b"joe-info@v.org", b"joe-info@v.org"),
        ("w.org:joe", b"joe-info@v.org", b"joe-info@v.org"),
        ("v.org:joe", b"joes-info@v.org", b"joes-info@v.org"),
        ("bob@v.org:al", b"al-bob@v.org", b"al-bob@v.org"),
        ("v.org:joe", b"joe-info", b"joe-info"),
    ],
)
def test_bounces_show_the_address_as_it_was(virtual: str, recipient: bytes, shown: bytes) -> None:
    assert rules(virtual=virtual).without_prefix(recipient) == shown


@pytest.mark.parametrize(
    ("sender", "recipient", "result"),
    [
        (b"box-@host-@[]", b"r@h", b"box-r=h@host"),
        (b"box-@host-@[]", b"odd@r@h", b"box-odd@r=h@host"),
        (b"a@b@host-@[]", b"r@h", b"a@br=h@host"),
        (b"box-@host-@[]", b"r", b"box-@host-@[]"),
        (b"box-@[]", b"r@h", b"box-@[]"),
        (b"#@[]", b"r@h", b"#@[]"),
        (b"", b"r@h", b""),
        (b"a@b", b"r@h", b"a@b"),
        (b"@host-@[]", b"r@h", b"r=h@host"),
    ],
)
def test_envelope_sender(sender: bytes, recipient: bytes, result: bytes) -> None:
    assert envelope_sender(sender, recipient) == result


@pytest.mark.parametrize(("sender", "to"), [(b"owner-@host-@[]", b"owner-@host"), (b"a@b", b"a@b"), (b"#@[]", b"#@[]")])
def test_where_a_verp_sender_gets_bounces(sender: bytes, to: bytes) -> None:
    assert without_verp(sender) == to
