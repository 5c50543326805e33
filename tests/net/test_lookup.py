"""Questions to a real name server: what it answers, fails to answer, and answers by mistake."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.net import lookup
from qserver.net.lookup import DnsTemporary, Resolver, labels
from tests.net.responder import Responder

TABLE = {
    "example.org": ["MX 20 mx2.example.org", "MX 10 mx1.example.org", "TXT hello", 'TXT "in two " "strings"'],
    "mx1.example.org": ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"],
    "six.example.org": ["AAAA 2001:db8::6"],
    "null.example.org": ["MX 0 ."],
    "alias.example.org": ["CNAME middle.example.org"],
    "middle.example.org": ["CNAME mx1.example.org"],
    "dangling.example.org": ["CNAME nowhere.example.org"],
    "loop1.example.org": ["CNAME loop2.example.org"],
    "loop2.example.org": ["CNAME loop1.example.org"],
    "empty.example.org": ["TXT only"],
    "servfail.example.org": ["SERVFAIL"],
    "refused.example.org": ["REFUSED"],
    "formerr.example.org": ["FORMERR"],
    "lame.example.org": ["LAME"],
    "drop.example.org": ["DROP"],
    "garbage.example.org": ["GARBAGE"],
    "malformed.example.org": ["MALFORMED"],
    "truncated.example.org": ["A 192.0.2.3", "TRUNCATE"],
    "cut.example.org": ["A 192.0.2.4", "CUT"],
    "hangup.example.org": ["A 192.0.2.4", "HANGUP"],
    "forged.example.org": ["A 192.0.2.5", "FORGED"],
    "many.example.org": [f"A 198.51.100.{number}" for number in range(100)],
    "half.example.org": ["A 192.0.2.6", "SERVFAIL AAAA"],
    "other-half.example.org": ["AAAA 2001:db8::7", "SERVFAIL A"],
    "neither.example.org": ["SERVFAIL A"],
    "192.0.2.1": ["PTR Mx1.Example.ORG", "PTR second.example.org"],
    "2001:db8::1": ["PTR six.example.org"],
    "192.0.2.9": [r"PTR odd\032na\.me_1-2.example.org"],
    "192.0.2.10": ["CNAME 10.0/25.2.0.192.in-addr.arpa"],
    "10.0/25.2.0.192.in-addr.arpa": ["PTR delegated.example.org"],
    "192.0.2.11": ["PTR ."],
    r"odd\032na\.me.example.org": ["A 192.0.2.9"],
}


@pytest.fixture(scope="module")
def dns() -> Iterator[Responder]:
    with Responder(TABLE) as responder:
        yield responder


@pytest.fixture
def resolver(dns: Responder) -> Resolver:
    made = Resolver(dns.env)
    made.rounds = (0.2, 0.2)
    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mx1.example.org", ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ("MX1.example.ORG.", ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ("mx1..example.org", ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ("six.example.org", ["2001:db8::6"]),
        ("alias.example.org", ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ("dangling.example.org", []),
        ("loop1.example.org", []),
        ("empty.example.org", []),
        ("nowhere.example.org", []),
        ("truncated.example.org", ["192.0.2.3"]),
        ("cut.example.org", ["192.0.2.4"]),
        ("forged.example.org", ["192.0.2.5"]),
        ("many.example.org", [f"198.51.100.{number}" for number in range(100)]),
        ("half.example.org", ["192.0.2.6"]),
        ("other-half.example.org", ["2001:db8::7"]),
        ("192.0.2.77", ["192.0.2.77"]),
        ("[192.0.2.77]", ["192.0.2.77"]),
        ("192.000.002.077", ["192.0.2.77"]),
        ("::ffff:192.0.2.77", ["192.0.2.77"]),
        ("[2001:DB8:0::77]", ["2001:db8::77"]),
        (r"odd\040na\056me.example.org", ["192.0.2.9"]),
        ("", []),
        ("h\udce9.example.org", []),
    ],
)
def test_addresses(resolver: Resolver, name: str, expected: list[str]) -> None:
    assert sorted(resolver.addresses(name)) == sorted(expected)


def test_addresses_come_v4_first_and_can_be_restricted(resolver: Resolver) -> None:
    assert ":" in resolver.addresses("mx1.example.org")[-1]
    assert resolver.addresses("mx1.example.org", socket.AF_INET6) == ["2001:db8::1"]
    assert sorted(resolver.addresses("mx1.example.org", socket.AF_INET)) == ["192.0.2.1", "192.0.2.2"]
    assert resolver.addresses("192.0.2.1", socket.AF_INET6) == []


@pytest.mark.parametrize(
    "name",
    ["servfail", "refused", "formerr", "lame", "drop", "garbage", "hangup", "neither"],
)
def test_no_answer_is_temporary(resolver: Resolver, name: str) -> None:
    with pytest.raises(DnsTemporary):
        resolver.addresses(f"{name}.example.org")


def test_a_malformed_answer_is_not_waited_out(dns: Responder, resolver: Resolver) -> None:
    before = dns.questions.count(("malformed.example.org", "MX", "udp"))
    with pytest.raises(DnsTemporary):
        resolver.mx("malformed.example.org")
    assert dns.questions.count(("malformed.example.org", "MX", "udp")) == before + 1


@pytest.mark.parametrize("name", ["x" * 64 + ".example.org", ".".join(["x" * 63] * 4), r"\141" * 64])
def test_a_name_that_cannot_be_asked_for_is_temporary_and_not_asked(dns: Responder, resolver: Resolver, name: str) -> None:
    before = len(dns.questions)
    for question in (resolver.addresses, resolver.mx, resolver.txt):
        with pytest.raises(DnsTemporary):
            question(name)
    assert len(dns.questions) == before


def test_mx(resolver: Resolver) -> None:
    assert sorted(resolver.mx("example.org")) == [(10, b"mx1.example.org"), (20, b"mx2.example.org")]
    assert resolver.mx("null.example.org") == [(0, b"")]
    assert resolver.mx("mx1.example.org") == []
    assert resolver.mx("nowhere.example.org") == []
    assert resolver.mx("[192.0.2.1]") == []
    with pytest.raises(DnsTemporary):
        resolver.mx("servfail.example.org")


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("192.0.2.1", [b"mx1.example.org", b"second.example.org"]),
        ("::ffff:192.0.2.1", [b"mx1.example.org", b"second.example.org"]),
        ("2001:db8::1", [b"six.example.org"]),
        ("2001:db8::1%lo", [b"six.example.org"]),
        ("192.0.2.9", [rb"odd\040na\056me_1-2.example.org"]),
        ("192.0.2.10", [b"delegated.example.org"]),
        ("192.0.2.11", [b"."]),
        ("192.0.2.12", []),
        ("unknown", []),
    ],
)
def test_ptr(resolver: Resolver, ip: str, expected: list[bytes]) -> None:
    assert sorted(resolver.ptr(ip)) == expected


def test_txt(resolver: Resolver) -> None:
    assert sorted(resolver.txt("example.org")) == [b"hello", b"in two strings"]
    assert resolver.txt("mx1.example.org") == []


def test_no_such_name_is_asked_for_once(dns: Responder, resolver: Resolver) -> None:
    before = len(dns.questions)
    assert resolver.addresses("once.example.org") == []
    assert dns.questions[before:] == [("once.example.org", "A", "udp")]


def test_the_next_server_is_asked_at_once_after_a_failure(dns: Responder) -> None:
    with Responder({"DEFAULT": ["SERVFAIL"]}) as broken, Responder({"DEFAULT": ["REFUSED"]}) as refusing:
        resolver = Resolver({"DNSCACHEIP": f"{broken.server} {refusing.server}  {dns.server}"})
        assert resolver.addresses("six.example.org") == ["2001:db8::6"]
        assert [len(one.questions) for one in (broken, refusing)] == [2, 2]


def test_servers_that_fail_are_not_asked_again_and_silent_ones_are(dns: Responder) -> None:
    with Responder({"DEFAULT": ["SERVFAIL"]}) as broken, Responder({"DEFAULT": ["DROP"]}) as silent:
        resolver = Resolver({"DNSCACHEIP": f"{broken.server} {silent.server}"})
        resolver.rounds = (0.1, 0.1, 0.1)
        with pytest.raises(DnsTemporary):
            resolver.mx("example.org")
        assert [len(one.questions) for one in (broken, silent)] == [1, 3]


def test_a_port_where_nobody_answers_does_not_take_the_time_out(dns: Responder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    resolver = Resolver({"DNSCACHEIP": f"127.0.0.1#{closed} {dns.server}"})
    resolver.rounds = (3600,)
    assert resolver.addresses("six.example.org") == ["2001:db8::6"]


def test_a_server_on_ipv6() -> None:
    try:
        six = Responder({"example.org": ["A 192.0.2.1"]}, host="::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with six:
        assert Resolver(six.env).addresses("example.org") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", [(socket.AF_INET, ("127.0.0.1", 53))]),
        ("  ::1   127.0.0.2#5353 ", [(socket.AF_INET6, ("::1", 53, 0, 0)), (socket.AF_INET, ("127.0.0.2", 5353))]),
        ("fe80::1%lo", [(socket.AF_INET6, ("fe80::1", 53, 0, socket.if_nametoindex("lo")))]),
        ("fe80::1%lo#54", [(socket.AF_INET6, ("fe80::1", 54, 0, socket.if_nametoindex("lo")))]),
        ("fe80::1%no-such-if 127.0.0.1#0 127.0.0.1#x 127.0.0.1#70000 name ::1", [(socket.AF_INET6, ("::1", 53, 0, 0))]),
        (" ".join(f"192.0.2.{n}" for n in range(20)), [(socket.AF_INET, (f"192.0.2.{n}", 53)) for n in range(16)]),
    ],
)
def test_servers_of_the_environment(text: str, expected: list[object]) -> None:
    assert Resolver({"DNSCACHEIP": text}).servers() == expected


def test_the_rounds_are_those_of_the_manual() -> None:
    assert Resolver({}).rounds == (1, 2, 4, 8, 16)


def test_servers_of_resolv_conf_which_is_read_again_when_it_changes(tmp_path: Path) -> None:
    resolver = Resolver({})
    resolver.resolv_conf = str(tmp_path / "resolv.conf")
    local = [(socket.AF_INET6, ("::1", 53, 0, 0)), (socket.AF_INET, ("127.0.0.1", 53))]
    assert resolver.servers() == local
    (tmp_path / "resolv.conf").write_text("# comment\nsearch example.org\nnameserver 192.0.2.1\nnameserver\nnameserver x\n")
    assert resolver.servers() == [(socket.AF_INET, ("192.0.2.1", 53))]
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.10 # two\n\tnameserver 2001:db8::1\n")
    assert resolver.servers() == [(socket.AF_INET, ("192.0.2.10", 53)), (socket.AF_INET6, ("2001:db8::1", 53, 0, 0))]
    (tmp_path / "resolv.conf").unlink()
    assert resolver.servers() == local


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8))
def test_names_round_trip_through_their_text(parts: list[bytes]) -> None:
    import dns.name

    text = lookup.dotted(dns.name.Name([*parts, b""]))
    assert labels(os.fsdecode(text)) == [*parts, b""]


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 255))
def test_no_datagram_is_too_strange(noise: bytes, cut: int) -> None:
    import dns.message
    import dns.rrset

    question = dns.message.make_query("example.org", "MX", use_edns=False)
    answer = dns.message.make_response(question)
    answer.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "MX", "10 mx.example.org."))
    for wire in (noise, answer.to_wire()[:cut] + noise, noise[:2] + answer.to_wire()[2:cut]):
        try:
            parsed = lookup._parse(wire, question)
        except DnsTemporary:  # an answer to the question, broken after it
            assert wire[:2] == question.to_wire()[:2]
            continue
        assert parsed is None or parsed.id == question.id


def test_preload_leaves_nothing_to_import(dns: Responder) -> None:
    import sys

    lookup.preload()
    before = set(sys.modules)
    resolver = Resolver(dns.env)
    resolver.addresses("alias.example.org")
    resolver.mx("example.org")
    resolver.txt("example.org")
    resolver.ptr("192.0.2.1")
    assert set(sys.modules) == before
