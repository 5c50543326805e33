"""Forwarding into a real queue: by `&address`, and by the command forward."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from qmail.local import forward as forward_room
from qmail.local.delivery import Delivery
from qmail.local.instructions import Found, new_sender
from qmail.local.message import Message
from qmail.queue.client import QueueClient
from qmail.queue.names import Envelope, parse_todo
from qserver.base.errors import Die
from tests.local.conftest import MESSAGE, Person
from tests.queue.strace import command
from tests.support import environment, ours, run

DTLINE = b"Delivered-To: joe@example.org\n"
RECEIVED = re.compile(rb"Received: \(qmail (\d+) invoked by uid \d+\); .* -0000\n")


def queued(qmail: Path) -> list[tuple[Envelope, bytes]]:
    """Every message in the queue: its envelope, and its contents."""
    found = []
    for path in sorted((qmail / "queue/todo").glob("*/*")):
        mess = qmail / "queue/mess" / path.parent.name / path.name
        assert (stat.S_IMODE(mess.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o644, 0o644)
        found.append((parse_todo(path.read_bytes()), mess.read_bytes()))
    return found


def qp(done: subprocess.CompletedProcess[bytes], counts: bytes) -> int:
    """The qp that was reported after these counts."""
    assert done.returncode == 0, done.stderr
    match = re.fullmatch(counts + rb"qp (\d+)\n", done.stdout)
    assert match, done.stdout
    return int(match[1])


def test_all_addresses_get_one_message(joe: Person) -> None:
    joe.dot("&a@b.org\nc@d.org\n|exit 0\n&\n&a@b.org\n")
    pid = qp(joe.deliver(), rb"did 0\+4\+1\n")
    [(envelope, data)] = queued(joe.qmail)
    assert envelope.sender == b"s@x.org"
    assert envelope.recipients == [b"a@b.org", b"c@d.org", b"", b"a@b.org"]
    assert (envelope.pid, envelope.uid) == (pid, os.getuid())
    received = RECEIVED.match(data)
    assert received and int(received[1]) == pid
    assert data[received.end() :] == DTLINE + MESSAGE


def test_a_large_message(joe: Person) -> None:
    data = b"Subject: large\n\n" + os.urandom(1_000_000)
    qp(joe.deliver(default="&a@b", message=data), rb"did 0\+1\+0\n")
    [(_, copy)] = queued(joe.qmail)
    assert copy.endswith(DTLINE + data)


def test_files_first_then_one_forward(joe: Person) -> None:
    joe.maildir()
    joe.dot("&a@b\n./Maildir/\n&c@d\n./mbox\n")
    qp(joe.deliver(), rb"did 2\+2\+0\n")
    assert len(queued(joe.qmail)) == 1


def test_nothing_is_forwarded_when_a_line_fails(joe: Person) -> None:
    joe.dot("&a@b\n|exit 100\n")
    assert joe.deliver().returncode == 100
    assert queued(joe.qmail) == []


def test_99_sends_what_was_collected(joe: Person) -> None:
    joe.dot("&a@b\n|exit 99\n&c@d\n./no/where\n")
    qp(joe.deliver(), rb"did 0\+1\+1\n")
    [(envelope, _)] = queued(joe.qmail)
    assert envelope.recipients == [b"a@b"]


@pytest.mark.parametrize(
    ("files", "sender", "expected"),
    [
        ([], b"s@x.org", b"s@x.org"),
        ([".qmail-list-owner"], b"s@x.org", b"joe-list-owner@example.org"),
        ([".qmail-list-owner", ".qmail-list-owner-default"], b"s@x.org", b"joe-list-owner-@example.org-@[]"),
        ([".qmail-list-owner-default"], b"s@x.org", b"s@x.org"),
        ([".qmail-list-owner"], b"", b""),
        ([".qmail-list-owner"], b"#@[]", b"#@[]"),
    ],
)
def test_sender_of_a_list(joe: Person, files: list[str], sender: bytes, expected: bytes) -> None:
    joe.dot('|printf "%s\\n" "$NEWSENDER"\n&a@b\n', ".qmail-list")
    for name in files:
        joe.dot("#\n", name)
    done = joe.deliver(dash="-", ext="list", sender=sender.decode())
    qp(done, re.escape(expected) + rb"\ndid 0\+1\+1\n")
    [(envelope, _)] = queued(joe.qmail)
    assert envelope.sender == expected


@pytest.mark.parametrize("number", [5, 13])
def test_an_owner_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(path: object) -> None:
        raise OSError(number, "")

    delivery = Delivery(b"joe", b"/", b"joe-l", b"-", b"l", b"h", b"s@x", b"#")
    monkeypatch.setattr("qmail.local.instructions.os.stat", refuse)
    if number == 13:
        assert new_sender(delivery) == b"s@x"
        return
    with pytest.raises(Die) as caught:
        new_sender(delivery)
    assert (caught.value.text, caught.value.code) == ("Unable to open .qmail-l-owner: input/output error. (#4.3.0)", 111)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (31, b"mail server permanently rejected message (#5.3.0)", 100),
        (11, b"envelope address too long for qq (#5.1.3)", 100),
        (53, b"qq write error or disk full (#4.3.0)", 111),
        (32, b"mail server does not accept message (#5.3.0)", 111),
        (91, b"qq internal bug (#4.3.0)", 111),
    ],
)
def test_refusals(joe: Person, code: int, text: bytes, expected: int) -> None:
    program = joe.home / "queue"
    program.write_text(f"#!/bin/sh\ncat >/dev/null; exit {code}\n")
    program.chmod(0o755)
    done = joe.deliver(default="&a@b", env={"QMAILQUEUE": str(program)})
    assert (done.returncode, done.stdout, done.stderr) == (expected, b"", b"Unable to forward message: " + text + b".\n")
    env = environment(QMAILHOME=str(joe.qmail), QMAILQUEUE=str(program), NEWSENDER="s@x", DTLINE="D: x\n")
    done = run([ours("forward"), "a@b"], env=env, input=b"x\n")
    assert (done.returncode, done.stdout, done.stderr) == (expected, b"", b"forward: fatal: " + text + b"\n")


def test_an_address_that_is_too_long(joe: Person) -> None:
    done = joe.deliver(default="&" + "x" * 1003)
    text = b"Unable to forward message: envelope address too long for qq (#5.1.3).\n"
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", text)
    assert queued(joe.qmail) == []


def test_a_foreign_queue_program_gets_environment_and_umask(joe: Person) -> None:
    program = joe.home / "queue"
    program.write_text(f"#!/bin/sh\nexec 3<&1; (cat; echo; cat <&3; echo; echo $EXT; umask) >{joe.home}/seen\n")
    program.chmod(0o755)
    joe.dot("&a@b", ".qmail-x")
    qp(joe.deliver(dash="-", ext="x", env={"QMAILQUEUE": str(program)}), rb"did 0\+1\+0\n")
    expected = b"Delivered-To: joe-x@example.org\n" + MESSAGE + b"\nFs@x.org\0Ta@b\0\0\nx\n0077\n"
    assert (joe.home / "seen").read_bytes() == expected


def test_no_pipe_to_be_had(joe: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmail.local.deliver import Session

    def refuse(*_: object) -> QueueClient:
        raise OSError(24, "")

    monkeypatch.setattr(forward_room, "open_queue", refuse)
    delivery = Delivery(b"joe", b"/", b"joe", b"", b"", b"h", b"s@x", b"#")
    fd = os.open(joe.message, os.O_RDONLY)
    session = Session(delivery, Message(fd), {}, Found(b"", None, False), b"s@x", True)
    session.carry_out([(4, b"a@b")])
    try:
        with pytest.raises(Die) as caught:
            session.forward()
    finally:
        os.close(fd)
    assert caught.value.text == "Unable to fork: process cannot open more files. (#4.3.0)"


def test_a_message_that_cannot_be_read_is_not_queued(joe: Person) -> None:
    fd = os.open("/", os.O_RDONLY)
    try:
        outcome = forward_room.forward(b"", Message(fd), b"s@x", [b"a@b"], joe.env())
    finally:
        os.close(fd)
    assert (outcome.code(), outcome.reason()) == (111, "qq read error (#4.3.0)")
    assert outcome.trouble is not None and outcome.trouble.error.errno == 21
    assert queued(joe.qmail) == []
    assert list((joe.qmail / "queue/mess").glob("*/*")) == []


def test_the_command(joe: Person) -> None:
    joe.dot('|forward a@b "c d@e"\n')
    done = joe.deliver(sender="")
    assert done.returncode == 0 and done.stdout == b"did 0+0+1\n"
    [(envelope, data)] = queued(joe.qmail)
    assert (envelope.sender, envelope.recipients) == (b"", [b"a@b", b"c d@e"])
    assert data.endswith(DTLINE + MESSAGE)
    assert done.stderr == b"forward: qp %d\n" % envelope.pid


@pytest.mark.parametrize(
    ("line", "env", "programs"),
    [
        ("|forward a@b  c@d", {}, 1),
        ("| forward a@b c@d ", {}, 1),
        ("|forward a@b 'c@d'", {}, 3),
        ("|forward a@b c@d; exit 0", {}, 3),
        ("|forward a@b c@d", {"QSERVER_EXEC": "1"}, 3),
    ],
)
def test_our_own_command_needs_no_shell(joe: Person, tmp_path: Path, line: str, env: dict[str, str], programs: int) -> None:
    argv = [command(), "-f", "-e", "trace=execve", "-e", "status=successful", "-o", str(tmp_path / "trace")]
    done = joe.run([*argv, *joe.argv(default=line)], joe.message, env)
    assert (done.returncode, done.stdout) == (0, b"did 0+0+1\n")
    [(envelope, data)] = queued(joe.qmail)
    assert (envelope.sender, envelope.recipients) == (b"s@x.org", [b"a@b", b"c@d"])
    assert data.endswith(DTLINE + MESSAGE)
    assert done.stderr == b"forward: qp %d\n" % envelope.pid
    assert (tmp_path / "trace").read_text().count("execve(") == programs


@pytest.mark.parametrize("line", ["|forward", "|forward 'a@b'", "|forward a@b"])
def test_our_own_command_fails_as_any_other(joe: Person, line: str) -> None:
    done = joe.deliver(default=line, env={"QMAILHOME": "/nonexistent"})
    assert (done.returncode, done.stdout) == (111, b"")
    assert done.stderr == b"forward: fatal: qq trouble in home directory (#4.3.0)\n"


def test_the_command_takes_a_pipe(joe: Person) -> None:
    env = environment(QMAILHOME=str(joe.qmail), NEWSENDER="s@x", DTLINE=DTLINE.decode())
    done = run([ours("forward"), "-a@b"], env=env, input=MESSAGE)
    assert done.returncode == 0, done.stderr
    [(envelope, data)] = queued(joe.qmail)
    assert envelope.recipients == [b"-a@b"] and data.endswith(DTLINE + MESSAGE)


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"DTLINE": "x\n"}, b"forward: fatal: NEWSENDER not set\n"),
        ({}, b"forward: fatal: NEWSENDER not set\n"),
        ({"NEWSENDER": ""}, b"forward: fatal: DTLINE not set\n"),
    ],
)
def test_the_command_needs_qmail_local(env: dict[str, str], text: bytes) -> None:
    done = run([ours("forward"), "a@b"], env=environment(**env))
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", text)
