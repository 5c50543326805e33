"""HELOCHECK and MFDNSCHECK against a real name server (smtpd 5.2, 7.4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.responder import Responder
from tests.smtpd.dialogue_file import CONNECTION
from tests.smtpd.wires import SocketWire, in_process

TABLE = {
    "four.example": ["A 192.0.2.1"],
    "six.example": ["AAAA 2001:db8::1"],
    "mail.example": ["MX 10 elsewhere.example"],
    "null.example": ["MX 0 ."],
    "text.example": ["TXT hello"],
    "alias.example": ["CNAME four.example"],
    "dangling.example": ["CNAME nowhere.example"],
    "servfail.example": ["SERVFAIL"],
    "mx-fails.example": ["A 192.0.2.1", "SERVFAIL MX"],
    "a-fails.example": ["SERVFAIL A AAAA"],
    "truncated.example": ["TRUNCATE", "A 192.0.2.1", "MX 10 four.example"],
    "lame.example": ["LAME"],
}
OK = b"250 ok"
BAD_HELO = b"550 sorry, invalid HELO/EHLO greeting  (#5.7.1)"
NO_HOST = b"553 sorry, your envelope sender must exist  (#5.7.1)"
FAILURE = b"451 DNS temporary failure (#4.3.0)"
MAIL_FIRST = b"503 MAIL first (#5.5.1)"


@pytest.fixture(scope="module")
def dns() -> Iterator[Responder]:
    with Responder(TABLE) as responder:
        yield responder


def talk(home: Path, env: dict[str, str], *commands: bytes) -> list[bytes]:
    """The replies to these commands, greeting left out; EHLO's is its last line. The session ends with QUIT."""
    (home / "control" / "me").write_text("mx.example.org\n")
    (home / "control" / "rcpthosts").write_text("example.org\n")
    replies: list[bytes] = []

    def client(wire: SocketWire) -> None:
        buffer = b""
        for command in (None, *commands, b"QUIT"):
            if command is not None:
                wire.send(command + b"\r\n")
            while True:
                while b"\n" not in buffer:
                    block = wire.receive()
                    assert block, f"closed after {command!r}"
                    buffer += block
                line, _, buffer = buffer.partition(b"\r\n")
                if line[3:4] == b" ":
                    break
            replies.append(line)

    assert in_process({**CONNECTION, "QMAILHOME": str(home), **env}, client) == 0
    return replies[1:-1]


def log_lines(text: str, event: str) -> list[str]:
    return [line.partition(" pid ")[2].partition(" ")[2] for line in text.splitlines() if event in line]


MAIL = (b"MAIL FROM:<a@b.c>", b"RCPT TO:<x@example.org>")
HELOS = [
    ("A", "four.example", OK),
    ("A", "FOUR.example", OK),
    ("A", "six.example", OK),
    ("A", "alias.example", OK),
    ("A", "truncated.example", OK),
    ("A", "[192.0.2.9]", OK),
    ("A", "[2001:db8::9]", OK),
    ("A", "mail.example", BAD_HELO),
    ("A", "text.example", BAD_HELO),
    ("A", "dangling.example", BAD_HELO),
    ("A", "nowhere.example", BAD_HELO),
    ("A", "", BAD_HELO),
    ("A", "servfail.example", FAILURE),
    ("A", "lame.example", FAILURE),
    ("A", "mx-fails.example", OK),
    ("A", "x" * 64 + ".example", FAILURE),
    ("M", "four.example", OK),
    ("M", "mail.example", OK),
    ("M", "null.example", OK),
    ("M", "nowhere.example", BAD_HELO),
    ("M", "text.example", BAD_HELO),
    ("M", "servfail.example", FAILURE),
    ("M", "mx-fails.example", FAILURE),
    ("M", "a-fails.example", FAILURE),
]


@pytest.mark.parametrize(("value", "argument", "answer"), HELOS, ids=[f"{row[0]} {row[1][:20]}" for row in HELOS])
def test_helocheck(
    dns: Responder, home: Path, capfd: pytest.CaptureFixture[str], value: str, argument: str, answer: bytes
) -> None:
    env = {**dns.env, "HELOCHECK": value}
    helo, mail, rcpt = talk(home, env, f"HELO {argument}".encode(), *MAIL)
    assert (helo[:3], mail, rcpt) == (b"250", OK, answer)
    lines = log_lines(capfd.readouterr().err, "DNS_Helo")
    host = f"S:192.0.2.9:host.client.net H:{argument} F:a@b.c T:x@example.org '{value}'"
    assert lines == ([f"Reject::SNDR::DNS_Helo P:ESMTP {host}"] if answer == BAD_HELO else [])


def test_helocheck_is_judged_anew_at_every_helo(dns: Responder, home: Path) -> None:
    words = (b"HELO nowhere.example", *MAIL, b"EHLO four.example", *MAIL, b"HELO servfail.example", *MAIL)
    replies = talk(home, {**dns.env, "HELOCHECK": "A"}, *words)
    assert replies[2::3] == [BAD_HELO, OK, FAILURE]


def test_helocheck_is_not_for_relay_clients_nor_for_names_that_badhelo_whitelists(dns: Responder, home: Path) -> None:
    (home / "control" / "badhelo").write_text("nowhere.example!\nfour.example\n")
    env = {**dns.env, "HELOCHECK": "A"}
    before = len(dns.questions)
    assert talk(home, env, b"HELO nowhere.example", *MAIL)[2] == OK
    assert talk(home, env, b"HELO four.example", *MAIL)[2] == BAD_HELO
    assert len(dns.questions) == before
    assert talk(home, {**env, "RELAYCLIENT": ""}, b"HELO servfail.example", *MAIL)[2] == OK


SENDERS = [
    ("a@mail.example", OK, OK),
    ("a@MAIL.Example", OK, OK),
    ("a@four.example", OK, OK),
    ("a@six.example", OK, OK),
    ("a@truncated.example", OK, OK),
    ("a@x@four.example", OK, OK),
    ("a@[192.0.2.1]", OK, OK),
    ("", OK, OK),
    ("four.example", OK, OK),
    ("a@nowhere.example", OK, NO_HOST),
    ("a@text.example", OK, NO_HOST),
    ("a@four.example@nowhere.example", OK, NO_HOST),
    ("nowhere", OK, NO_HOST),
    ("a@servfail.example", FAILURE, MAIL_FIRST),
    ("a@mx-fails.example", FAILURE, MAIL_FIRST),
    ("a@a-fails.example", FAILURE, MAIL_FIRST),
    ("a@" + "x" * 64 + ".example", FAILURE, MAIL_FIRST),
    ("a@" + ".".join(["x" * 60] * 5), FAILURE, MAIL_FIRST),
]


@pytest.mark.parametrize(("sender", "at_mail", "at_rcpt"), SENDERS, ids=[row[0][:30] or "null" for row in SENDERS])
def test_mfdnscheck(
    dns: Responder, home: Path, capfd: pytest.CaptureFixture[str], sender: str, at_mail: bytes, at_rcpt: bytes
) -> None:
    env = {**dns.env, "MFDNSCHECK": ""}
    replies = talk(
        home, env, b"HELO h", f"MAIL FROM:<{sender}>".encode(), b"RCPT TO:<x@example.org>", b"RCPT TO:<y@example.org>"
    )
    assert replies[1:] == [at_mail, at_rcpt, at_rcpt]
    lines = log_lines(capfd.readouterr().err, "DNS_MF")
    assert lines == (
        [f"Reject::ORIG::DNS_MF P:ESMTP S:192.0.2.9:host.client.net H:h F:{sender} T:{to}@example.org" for to in ("x", "y")]
        if at_rcpt == NO_HOST
        else []
    )


def test_mfdnscheck_spares_relay_clients_and_exempt_senders(dns: Responder, home: Path) -> None:
    env = {**dns.env, "MFDNSCHECK": "1"}
    words = (b"HELO h", b"MAIL FROM:<a@nowhere.example>", b"RCPT TO:<x@elsewhere.net>")
    assert talk(home, {**env, "RELAYCLIENT": ""}, *words)[1:] == [OK, OK]
    (home / "control" / "badmailfrom").write_text("?a@nowhere.example\n?b@servfail.example\n")
    before = len(dns.questions)
    assert talk(home, env, b"HELO h", b"MAIL FROM:<a@nowhere.example>", b"RCPT TO:<x@example.org>")[1:] == [OK, OK]
    assert talk(home, env, b"HELO h", b"MAIL FROM:<b@servfail.example>", b"RCPT TO:<x@example.org>")[1:] == [OK, OK]
    assert len(dns.questions) == before


def test_after_a_failure_the_next_mail_is_taken(dns: Responder, home: Path) -> None:
    env = {**dns.env, "MFDNSCHECK": ""}
    replies = talk(home, env, b"HELO h", b"MAIL FROM:<a@servfail.example>", b"MAIL FROM:<a@four.example>", MAIL[1])
    assert replies[1:] == [FAILURE, OK, OK]


def test_no_variable_no_question(dns: Responder, home: Path) -> None:
    before = len(dns.questions)
    assert talk(home, dns.env, b"HELO nowhere.example", b"MAIL FROM:<a@servfail.example>", MAIL[1])[1:] == [OK, OK]
    assert len(dns.questions) == before
