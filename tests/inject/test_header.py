"""The header as a whole: any bytes give a header or a clear refusal, and a finished header is finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.inject.fields import RESENT_MARKS, TREATMENT
from qmail.inject.header import BadField, Header, Moment
from qmail.inject.rewrite import Rewriter
from qmail.inject.settings import FLAGS, Person

REWRITER = Rewriter(b"host.a.org", b"a.org", b"p.org")
MOMENT = Moment(810_276_413, 4711)


def header(env: dict[str, str] | None = None, flags: str = "", follow_ups: frozenset[bytes] = frozenset()) -> Header:
    person = Person({"USER": "joe"} if env is None else env)
    return Header(REWRITER, person, frozenset(FLAGS[letter] for letter in flags), MOMENT, b"id.org", follow_ups)


def test_what_is_added_to_nothing() -> None:
    empty = header()
    assert empty.added() == [
        b"Date: 5 Sep 1995 04:46:53 -0000\n",
        b"Message-ID: <19950905044653.4711.qmail@id.org>\n",
        b"From: joe@host.a.org\n",
        b"Cc: recipient list not shown: ;\n",
    ]
    assert (empty.sender, empty.recipients, empty.kept) == (b"joe@host.a.org", [], [])


def test_verp() -> None:
    for flags, sender in (("m", b"joe-810276413.4711@host.a.org"), ("mr", b"joe-810276413.4711-@host.a.org-@[]")):
        one = header(flags=flags)
        one.added()
        assert one.sender == sender


@pytest.mark.parametrize("mark", sorted(RESENT_MARKS))
def test_any_resent_field_makes_it_resent(mark: bytes) -> None:
    one = header()
    one.take(b"To: x\n")
    assert (one.resent, one.recipients) == (False, [b"x@host.a.org"])
    one.take(mark.title() + b": y\n")
    assert one.resent
    assert b"x@host.a.org" not in one.recipients
    assert all(field.startswith(b"Resent-") for field in one.added())


NAMES = st.sampled_from([name.title() for name in TREATMENT] + [b"Subject", b"Date", b"Message-ID", b"Mail-Followup-To"])
PIECES = st.sampled_from(
    [b"joe", b"x+", b".", b"@", b",", b"<", b">", b"g:", b";", b'"q s"', b"(c)", b"[]", b" ", b"\0", b"\\", b"\n "]
)
ENVIRONMENTS = st.dictionaries(
    st.sampled_from(["USER", "QMAILUSER", "QMAILNAME", "MAILHOST", "QMAILSUSER", "QMAILSHOST"]),
    st.text('ab@.,<("\\ )[]', max_size=6),
)


@given(
    st.lists(st.tuples(NAMES, st.one_of(st.lists(PIECES, max_size=12).map(b"".join), st.binary(max_size=30))), max_size=6),
    ENVIRONMENTS,
    st.sets(st.sampled_from(list(FLAGS))),
)
def test_whatever_comes_is_a_header_or_refused(fields: list[tuple[bytes, bytes]], env: dict[str, str], flags: set[str]) -> None:
    one = header(env, "".join(flags))
    try:
        for name, value in fields:
            one.take(b"%b:%b\n" % (name, value))
        added = one.added()
    except BadField as bad:
        assert bad.line.endswith(b"\n")
        return
    assert one.sender is not None
    for field in added + one.kept:
        assert field.endswith(b"\n")
        assert field.partition(b":")[0].lower() not in (b"bcc", b"resent-bcc", b"return-path", b"content-length")


ATOMS = st.text("abcXYZ019-_+", min_size=1, max_size=5).map(str.encode)
BOXES = st.one_of(ATOMS, st.lists(ATOMS, min_size=1, max_size=3).map(b".".join), ATOMS.map(lambda atom: b'"%b q"' % atom))
HOSTS = st.one_of(st.lists(ATOMS, min_size=1, max_size=3).map(b".".join), st.just(b"[10.0.0.1]"))
BARE = st.one_of(BOXES, st.builds(b"%b@%b".__mod__, st.tuples(BOXES, HOSTS)))
NAMED = st.builds(b"%b <%b>".__mod__, st.tuples(ATOMS, BARE))
COMMENTED = st.builds(b"%b (%b)".__mod__, st.tuples(BARE, ATOMS))
ADDRESSES = st.lists(st.one_of(BARE, NAMED, COMMENTED), max_size=8)


@given(ADDRESSES, ADDRESSES, st.lists(BARE, min_size=1, max_size=1))
def test_a_finished_header_is_finished(to: list[bytes], cc: list[bytes], sender: list[bytes]) -> None:
    """What -n printed goes through unchanged, to the same recipients."""
    once = header()
    for field in (b"To: " + b", ".join(to), b"Cc:" + b",".join(cc), b"From: " + sender[0], b"Subject:  x"):
        once.take(field + b"\n")
    fields = once.added() + once.kept
    twice = header()
    for field in fields:
        twice.take(field)
    assert twice.added() == []
    assert twice.kept == fields
    assert twice.recipients == once.recipients
    assert len(once.recipients) == len(to) + len(cc)
