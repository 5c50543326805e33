"""Where qmail-remote sends: MX records, fallback to addresses, doubts; the DNS is a real one on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qmail.remote import exchangers
from qmail.remote.exchangers import Names, host_addresses, relay_addresses
from qmail.remote.reports import Verdict
from tests.net.responder import Responder
from tests.remote.servers import smtp_server
from tests.remote.test_smtp import OK, deliver, home, remote
from tests.support import BIN, ROOT, run

__all__ = ["home"]

OURS = "203.0.113.1"
TABLE = {
    "ordered.example": ["MX 30 c.example", "MX 10 a.example", "MX 20 b.example"],
    "a.example": ["A 192.0.2.1", "AAAA 2001:db8::1"],
    "b.example": ["A 192.0.2.2"],
    "c.example": ["A 192.0.2.3", "A 192.0.2.1"],
    "equal.example": ["MX 10 b.example", "MX 10 a.example", "MX 10 c.example"],
    "bare.example": ["A 192.0.2.4", "AAAA 2001:db8::4"],
    "null.example": ["MX 0 ."],
    "null-and-more.example": ["MX 0 .", "MX 10 b.example"],
    "alias.example": ["CNAME ordered.example"],
    "through-alias.example": ["MX 10 alias-of-b.example"],
    "alias-of-b.example": ["CNAME b.example"],
    "servfail.example": ["SERVFAIL"],
    "only-mx-fails.example": ["A 192.0.2.5", "SERVFAIL MX"],
    "mx-but-no-address.example": ["MX 10 nowhere.example", "MX 20 text.example"],
    "text.example": ["TXT hello"],
    "one-in-doubt.example": ["MX 10 servfail.example", "MX 20 b.example"],
    "all-in-doubt.example": ["MX 10 servfail.example", "MX 20 nowhere.example"],
    "we-are-last.example": ["MX 10 a.example", "MX 20 us.example", "MX 20 b.example", "MX 30 c.example"],
    "we-are-best.example": ["MX 5 us.example", "MX 10 a.example"],
    "best-in-doubt.example": ["MX 5 servfail.example", "MX 10 us.example"],
    "worse-in-doubt.example": ["MX 5 us.example", "MX 10 servfail.example"],
    "we-alone.example": ["A " + OURS],
    "loopback.example": ["MX 10 localhost.example"],
    "localhost.example": ["A 127.0.0.1"],
    "us.example": ["A " + OURS],
    "relay.example": ["A 127.0.0.1", "MX 1 servfail.example"],
    "two-relays.example": ["A 127.0.0.1", "A 127.255.255.254"],
    "truncated.example": ["TRUNCATE", *(f"MX {n} many-{n}.example" for n in range(40))],
    "many-0.example": ["A 192.0.2.9"],
}
PERMANENT = b"DSorry, I couldn't find any host named %b. (#5.1.2)\n"
TEMPORARY = b"ZSorry, I couldn't find any host named: %b. (#4.1.2)\n"
NO_EXCHANGER = b"DSorry, I couldn't find a mail exchanger or IP address. (#5.4.4)\n"
LOOP = b"DSorry. Although I'm listed as a best-preference MX or A for that host,\n"


@pytest.fixture(scope="module")
def dns() -> Iterator[Responder]:
    with Responder(TABLE) as responder:
        yield responder


@pytest.fixture
def names(dns: Responder, monkeypatch: pytest.MonkeyPatch) -> Names:
    monkeypatch.setattr(exchangers, "interface_addresses", lambda: frozenset((OURS,)))
    return Names(dns.env)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"bare.example", [{"192.0.2.4", "2001:db8::4"}]),
        (b"ordered.example", [{"192.0.2.1", "2001:db8::1"}, {"192.0.2.2"}, {"192.0.2.3"}]),
        (b"Ordered.EXAMPLE.", [{"192.0.2.1", "2001:db8::1"}, {"192.0.2.2"}, {"192.0.2.3"}]),
        (b"alias.example", [{"192.0.2.1", "2001:db8::1"}, {"192.0.2.2"}, {"192.0.2.3"}]),
        (b"equal.example", [{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"}]),
        (b"through-alias.example", [{"192.0.2.2"}]),
        (b"null-and-more.example", [{"192.0.2.2"}]),
        (b"one-in-doubt.example", [{"192.0.2.2"}]),
        (b"we-are-last.example", [{"192.0.2.1", "2001:db8::1"}]),
        (b"truncated.example", [{"192.0.2.9"}]),
        (b"192.0.2.77", [{"192.0.2.77"}]),
        (b"[IPv6:2001:db8::77]", [{"2001:db8::77"}]),
    ],
)
def test_exchangers_best_first(names: Names, host: bytes, expected: list[set[str]]) -> None:
    found = host_addresses(host, names)
    for group in expected:
        assert set(found[: len(group)]) == group
        found = found[len(group) :]
    assert found == []


def test_equals_come_in_random_order(names: Names) -> None:
    assert len({tuple(host_addresses(b"equal.example", names)) for _ in range(60)}) > 1


@pytest.mark.parametrize(
    ("host", "report"),
    [
        (b"nowhere.example", PERMANENT % b"nowhere.example"),
        (b"no where\xe9", PERMANENT % b"no?where?"),
        (b"text.example", PERMANENT % b"text.example"),
        (b"null.example", NO_EXCHANGER),
        (b"mx-but-no-address.example", NO_EXCHANGER),
        (b"servfail.example", TEMPORARY % b"servfail.example"),
        (b"only-mx-fails.example", TEMPORARY % b"only-mx-fails.example"),
        (b"all-in-doubt.example", TEMPORARY % b"all-in-doubt.example"),
        (b"x" * 64 + b".example", TEMPORARY % (b"x" * 64 + b".example")),
        (b"we-are-best.example", LOOP),
        (b"we-alone.example", LOOP),
        (b"loopback.example", LOOP),
        (b"worse-in-doubt.example", LOOP),
        (b"best-in-doubt.example", TEMPORARY % b"best-in-doubt.example"),
    ],
)
def test_no_exchanger(names: Names, host: bytes, report: bytes) -> None:
    with pytest.raises(Verdict) as caught:
        host_addresses(host, names)
    assert caught.value.report.startswith(report)


def test_a_relay_is_found_by_its_addresses_alone_and_may_be_ourselves(names: Names) -> None:
    assert relay_addresses(b"relay.example", names) == ["127.0.0.1"]
    assert relay_addresses(b"us.example", names) == [OURS]
    with pytest.raises(Verdict) as caught:
        relay_addresses(b"ordered.example", names)
    assert caught.value.report == PERMANENT % b"ordered.example"
    with pytest.raises(Verdict) as caught:
        relay_addresses(b"servfail.example", names)
    assert caught.value.report == TEMPORARY % b"servfail.example"


def test_the_dns_is_not_asked_about_addresses(dns: Responder, names: Names) -> None:
    before = len(dns.questions)
    host_addresses(b"[192.0.2.77]", names)
    relay_addresses(b"2001:db8::1", names)
    assert len(dns.questions) == before


@pytest.mark.parametrize(
    ("host", "report"),
    [
        ("nowhere.example", PERMANENT % b"nowhere.example"),
        ("servfail.example", TEMPORARY % b"servfail.example"),
        ("null.example", NO_EXCHANGER),
    ],
)
def test_the_command_reports_what_the_dns_says(dns: Responder, home: Path, host: str, report: bytes) -> None:
    assert remote(home, host, "me@here.example", f"you@{host}", DNSCACHEIP=dns.server) == report + b"\0"


@pytest.mark.parametrize("relay", ["relay.example", "two-relays.example"])
def test_the_command_delivers_through_a_relay_named_in_a_route(dns: Responder, home: Path, relay: str) -> None:
    with smtp_server() as server:
        (home / "control/smtproutes").write_text(f"there.example:{relay};{server.port}\n")
        assert remote(home, "there.example", "me@here.example", "you@there.example", DNSCACHEIP=dns.server) == OK
    assert len(server.talks) == 1


def test_after_preload_a_delivery_imports_no_part_of_the_dns_client() -> None:
    probe = (
        "import sys; import qmail.remote; qmail.remote.preload(); before = set(sys.modules)\n"
        "from qmail.remote.exchangers import Names, host_addresses\n"
        "try: host_addresses(b'x.example', Names({'DNSCACHEIP': '127.0.0.1#1'}))\n"
        "except Exception as error: print(type(error).__name__, *sorted(set(sys.modules) - before))"
    )
    done = run([str(BIN / "python"), "-c", probe], cwd=ROOT)
    assert (done.stderr, done.stdout.split()) == (b"", [b"Verdict"])


def test_an_empty_route_asks_for_exchangers(dns: Responder, home: Path) -> None:
    with smtp_server() as server:
        assert deliver(home, server.port, DNSCACHEIP=dns.server) == OK
        (home / "control/smtproutes").write_text(f"there.example:127.0.0.1;{server.port}\nnull.example:\n:127.0.0.1;1\n")
        assert (
            remote(home, "null.example", "me@here.example", "you@null.example", DNSCACHEIP=dns.server) == NO_EXCHANGER + b"\0"
        )
