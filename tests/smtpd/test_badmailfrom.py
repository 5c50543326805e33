"""control/badmailfrom, rule by rule."""

from __future__ import annotations

import pytest

from qmail.smtpd.policy.badmailfrom import BadMailFrom, is_extended, parents

FILE = [
    b"*@earthlink.net",
    b"!fred@earthlink.net",
    b"@Yahoo.com-",
    b"@hotmail.com=",
    b"@mydomain.tld+",
    b"~yahoo.com",
    b"?nobody@example.com",
    b"*@example.com",
    b"me@own.net+",
    b"him@own.net-",
    b"her@own.net=",
    b"Spam@x.org",
    b"@spam.org",
    b"@*.yahoo.com-",
]
CASES = [
    (b"nobody@example.com", b"h", False, b"?"),
    (b"NoBody@example.com", b"h", False, b"?"),
    (b"some@example.com", b"h", False, b"*"),
    (b"Anobody@x", b"h", False, None),
    (b"a@mydomain.tld", b"h", False, b"+"),
    (b"a@mydomain.tld", b"h", True, None),
    (b"@mydomain.tld", b"h", False, b"+"),
    (b"me@own.net", b"h", False, b"+"),
    (b"me@own.net", b"h", True, None),
    (b"x@yahoo.com", b"unknown", False, b"-"),
    (b"x@yahoo.com", b"mx.yahoo.com", False, None),
    (b"x@yahoo.com", b"yahoo.com", False, None),
    (b"x@yahoo.com", b"notyahoo.com", False, None),
    (b"him@own.net", b"unknown", True, b"-"),
    (b"him@own.net", b"h", True, None),
    (b"x@hotmail.com", b"unknown", False, b"="),
    (b"x@hotmail.com", b"h.net", False, b"="),
    (b"x@hotmail.com", b"a.hotmail.com", False, None),
    (b"x@hotmail.com", b"nothotmail.com", False, b"="),
    (b"her@own.net", b"h.own.net", False, None),
    (b"her@own.net", b"h.com", False, b"="),
    (b"x@other.org", b"a.b.yahoo.com", False, b"~"),
    (b"x@other.org", b"yahoo.com", False, b"~"),
    (b"x@b.yahoo.com", b"a.b.yahoo.com", False, None),
    (b"sPAM@x.org", b"h", False, b"@"),
    (b"any@spam.org", b"h", True, b"@"),
    (b"@spam.org", b"h", True, b"@"),
    (b"any@SPAM.org", b"h", True, b"@"),
    (b"joe@earthlink.net", b"h", False, b"*"),
    (b"joe@EARTHLINK.net", b"h", False, None),
    (b"fred@earthlink.net", b"h", False, None),
    (b"x@a.yahoo.com", b"unknown", False, None),
    (b"", b"unknown", False, None),
    (b"nodomain", b"yahoo.com", False, None),
]


@pytest.mark.parametrize(("sender", "host", "relay", "sign"), CASES)
def test_verdict(sender: bytes, host: bytes, relay: bool, sign: bytes | None) -> None:
    assert BadMailFrom(FILE).verdict(sender, host, relay=relay) == sign


def test_null_sender_meets_patterns_only() -> None:
    assert BadMailFrom([b"*"]).verdict(b"", b"h", relay=False) == b"*"
    assert BadMailFrom([b"*", b"!"]).verdict(b"", b"h", relay=False) is None


def test_own_line_of_a_bare_domain() -> None:
    assert BadMailFrom([b"@x.org"]).verdict(b"@x.org", b"h", relay=False) == b"@"
    assert BadMailFrom([b"@x.org+"]).verdict(b"@x.org", b"h", relay=False) == b"+"


@pytest.mark.parametrize(
    ("line", "extended"),
    [
        (b"~yahoo.com", True),
        (b"?nobody@x", True),
        (b"?nob*dy@x", False),
        (b"??", False),
        (b"?", True),
        (b"a@b+", True),
        (b"a*@b+", False),
        (b"!a@b+", False),
        (b"@*.b=", True),
        (b"a+", False),
        (b"a@b", False),
    ],
)
def test_is_extended(line: bytes, extended: bool) -> None:
    assert is_extended(line) is extended


def test_parents() -> None:
    assert parents(b"a.b.c") == [b"a.b.c", b"b.c", b"c"]
