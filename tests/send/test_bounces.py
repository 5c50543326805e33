"""Bounces, double bounces and triple bounces as whole messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qmail.send.schedule import LOCAL, REMOTE
from tests.send.harness import MESSAGE, Sender, inject, message_numbers, queue_file, sender
from tests.support import wait_for

DATE = re.compile(rb"\ADate: \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d -0000\n")
RECEIVED = re.compile(rb"\AReceived: \(qmail \d+ invoked by uid \d+\); [^\n]+\n")


def fail(send: Sender, channel: int, text: bytes) -> None:
    """Let the next delivery fail for good."""
    send.report(channel, send.order(channel).slot, b"D" + text)


def read_bounce(home: Path, number: int) -> bytes:
    """The bounce file, once it is there."""
    path = queue_file(home, "bounce", number)
    return path.read_bytes() if path.exists() else b""


def bounce_of(send: Sender, number: int) -> tuple[bytes, bytes, bytes]:
    """(envelope sender, recipient, message after its Received and Date lines) of the bounce that `number` makes."""
    line = send.lines_until(b"bounce msg")[-1]
    assert line == b"bounce msg %d qp %d" % (number, send.pid)
    assert send.line() == b"end msg %d" % number
    new = int(send.line().rpartition(b" ")[2])
    info = send.line()
    assert info.startswith(b"info msg %d: " % new)
    order = send.order(LOCAL)
    text = queue_file(send.home, "mess", new).read_bytes()
    received = RECEIVED.match(text)
    assert received
    rest = text[received.end() :]
    date = DATE.match(rest)
    assert date
    wait_for(lambda: set(message_numbers(send.home)) == {new})
    return order.sender, order.recipient, rest[date.end() :]


def test_bounce(home: Path) -> None:
    (home / "control" / "virtualdomains").write_text("v.org:joe\n")
    with sender(home) as send:
        number = inject(home, b"al ice@example.org", [b"info@v.org", b"b@y.org"])
        original = queue_file(home, "mess", number).read_bytes()
        fail(send, LOCAL, b"Sorry, no mailbox\n\nhere. (#5.1.1)\n")
        send.lines_until(b"delivery 1: failure: Sorry,_no_mailbox//here._(#5.1.1)/")
        fail(send, REMOTE, b"1.2.3.4 does not like recipient.")
        envelope_sender, recipient, text = bounce_of(send, number)
    assert envelope_sender == b""
    assert recipient == b"al ice@example.org"
    assert text == (
        b"From: MAILER-DAEMON@mail.example.org\n"
        b'To: "al ice"@example.org\n'
        b"Subject: failure notice\n"
        b"\n"
        b"Hi. This is the qmail-send program at mail.example.org.\n"
        b"I'm afraid I wasn't able to deliver your message to the following addresses.\n"
        b"This is a permanent error; I've given up. Sorry it didn't work out.\n"
        b"\n"
        b"<info@v.org>:\n"
        b"Sorry, no mailbox\n"
        b"/here. (#5.1.1)\n"
        b"\n"
        b"<b@y.org>:\n"
        b"1.2.3.4 does not like recipient.\n"
        b"\n"
        b"--- Below this line is a copy of the message.\n"
        b"\n"
        b'Return-Path: <"al ice"@example.org>\n' + original
    )
    assert original.endswith(MESSAGE)


def test_bounces_wait_until_every_recipient_is_done(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"a@example.org", [b"one@example.org", b"b@y.org"])
        fail(send, LOCAL, b"no\n")
        send.lines_until(b"delivery 1: failure")
        order = send.order(REMOTE)
        assert wait_for(lambda: read_bounce(home, number)) == b"<one@example.org>:\nno\n\n"
        send.report(REMOTE, order.slot, b"Kyes\n")
        assert bounce_of(send, number)[:2] == (b"", b"a@example.org")


def test_double_bounce(home: Path) -> None:
    for name, value in {
        "bouncefrom": "the mailer",
        "bouncehost": "b.example",
        "doublebounceto": "root",
        "doublebouncehost": "example.org",
    }.items():
        (home / "control" / name).write_text(value + "\n")
    with sender(home) as send:
        number = inject(home, b"", [b"one@example.org"])
        original = queue_file(home, "mess", number).read_bytes()
        fail(send, LOCAL, b"no\n")
        envelope_sender, recipient, text = bounce_of(send, number)
    assert (envelope_sender, recipient) == (b"#@[]", b"root@example.org")
    assert text == (
        b'From: "the mailer"@b.example\n'
        b"To: root@example.org\n"
        b"Subject: failure notice\n"
        b"\n"
        b"Hi. This is the qmail-send program at b.example.\n"
        b"I tried to deliver a bounce message to this address, but the bounce bounced!\n"
        b"\n"
        b"<one@example.org>:\n"
        b"no\n"
        b"\n"
        b"--- Below this line is the original bounce.\n"
        b"\n"
        b"Return-Path: <>\n" + original
    )


def test_verp_bounces_go_to_the_sender_without_its_end(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"owner-@example.org-@[]", [b"one@example.org"])
        fail(send, LOCAL, b"no\n")
        assert bounce_of(send, number)[:2] == (b"", b"owner-@example.org")


@pytest.mark.parametrize(
    ("envelope_sender", "doublebounceto", "line"),
    [
        (b"#@[]", "postmaster", b"triple bounce: discarding bounce/%d"),
        (b"", "", b"double bounce: discarding bounce/%d"),
    ],
)
def test_discarded(home: Path, envelope_sender: bytes, doublebounceto: str, line: bytes) -> None:
    (home / "control" / "doublebounceto").write_text(doublebounceto + "\n")
    with sender(home) as send:
        number = inject(home, envelope_sender, [b"one@example.org"])
        fail(send, LOCAL, b"no\n")
        lines = send.lines_until(b"end msg")
        assert lines[-2:] == [line % number, b"end msg %d" % number]
        wait_for(lambda: not message_numbers(home))
        assert not queue_file(home, "bounce", number).exists()


@pytest.mark.parametrize("spare", [-5, -1, 0, 1])
def test_bouncemaxbytes(home: Path, spare: int) -> None:
    """The line comes also when the message is just as long as the limit."""
    with sender(home, (0, 0)) as send:
        number = inject(home, b"a@example.org", [b"one@example.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
    original = queue_file(home, "mess", number).read_bytes()
    (home / "control" / "bouncemaxbytes").write_text(f"{len(original) + spare}\n")
    with sender(home) as send:
        fail(send, LOCAL, b"no\n")
        text = bounce_of(send, number)[2]
    copy = text.partition(b"Return-Path: <a@example.org>\n")[2]
    truncated = original[:spare] if spare < 0 else original
    assert copy == (original if spare > 0 else truncated + b"\n\n--- Rest of message truncated.\n")


def test_qmailqueue_in_the_environment_is_not_for_bounces(home: Path) -> None:
    with sender(home, QMAILQUEUE="/dev/null") as send:
        number = inject(home, b"a@example.org", [b"one@example.org"])
        fail(send, LOCAL, b"no\n")
        assert bounce_of(send, number)[1] == b"a@example.org"


def test_a_bounce_that_cannot_be_queued_is_kept(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"a@example.org", [b"one@example.org"])
        order = send.order(LOCAL)
        pid = home / "queue" / "pid"
        pid.rename(home / "queue" / "pid.away")
        send.report(LOCAL, order.slot, b"Dno\n")
        assert send.lines_until(b"warning")[-1] == b"warning: trouble injecting bounce message, will try later"
        assert queue_file(home, "bounce", number).exists()
        assert queue_file(home, "info", number).exists()
        (home / "queue" / "pid.away").rename(pid)
    with sender(home) as send:
        assert bounce_of(send, number)[1] == b"a@example.org"
