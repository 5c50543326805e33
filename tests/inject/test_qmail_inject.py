"""qmail-inject as a command: what it prints with -n, what it queues, what it refuses."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from qmail.queue.names import Envelope, parse_todo
from tests.support import environment, make_home, ours, run, spawn

CONTROL = {
    "me": "a.org",
    "defaulthost": "host.a.org",
    "defaultdomain": "a.org",
    "plusdomain": "p.org",
    "idhost": "id.a.org",
    "locals": "a.org",
}
ADDED = re.compile(rb"Date: \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d -0000\nMessage-ID: <\d{14}\.\d+\.qmail@id\.a\.org>\n")


@pytest.fixture
def inject_home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "qmail", CONTROL)


def inject(home: Path, message: bytes, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    variables = environment(QMAILHOME=str(home)) | {"USER": "joe"} | env
    return run([ours("qmail-inject"), *arguments], input=message, env=variables, cwd=home if home.exists() else None)


def printed(home: Path, message: bytes, *arguments: str, **env: str) -> bytes:
    """The output of -n; Date and Message-ID, if they were added, as `D`, `M` lines."""
    done = inject(home, message, "-n", *arguments, **env)
    assert (done.returncode, done.stderr) == (0, b"")
    return ADDED.sub(b"D\nM\n", done.stdout)


def queued(home: Path) -> tuple[Envelope, bytes]:
    """The one message in the queue: its envelope and its text without our Received line."""
    (todo,) = home.glob("queue/todo/*/*")
    (mess,) = home.glob("queue/mess/*/*")
    received, _, text = mess.read_bytes().partition(b"\n")
    assert re.fullmatch(rb"Received: \(qmail \d+ invoked by uid \d+\); .* -0000", received)
    return parse_todo(todo.read_bytes()), ADDED.sub(b"D\nM\n", text)


def test_what_is_added(inject_home: Path) -> None:
    assert printed(inject_home, b"Subject: hi\n\nbody\n") == (
        b"Return-Path: <joe@host.a.org>\nD\nM\nFrom: joe@host.a.org\nCc: recipient list not shown: ;\nSubject: hi\n\nbody\n"
    )


def test_the_date_and_the_pid_are_ours(inject_home: Path) -> None:
    from qserver.base.files import read_file

    assert inject(inject_home, b"To: x\n").returncode == 0
    (mess,) = inject_home.glob("queue/mess/*/*")
    text = read_file(str(mess))
    received, message_id = re.search(rb"\(qmail (\d+) ", text), re.search(rb"\.(\d+)\.qmail@", text)
    assert received and message_id and received[1] == message_id[1]


GOLDEN = [
    # header, printed header (without Return-Path and the body); every answer is the C program's
    (b"To: joe, joe@x+, joe@[1.2.3.4]", b"D\nM\nFrom: joe@host.a.org\nTo: joe@host.a.org, joe@x.p.org, joe@[1.2.3.4]\n"),
    (b"TO:a\nFrom:b\nDate: x\nMessage-ID: y", b"TO: a@host.a.org\nFrom: b@host.a.org\nDate: x\nMessage-ID: y\n"),
    (b"To : a\nBcc: b\nFrom: c", b"D\nM\nTo: a@host.a.org\nFrom: c@host.a.org\n"),
    (b"Bcc: b\nFrom: c", b"D\nM\nCc: recipient list not shown: ;\nFrom: c@host.a.org\n"),
    (b"Apparently-To: b\nFrom: c", b"D\nM\nCc: recipient list not shown: ;\nApparently-To: b@host.a.org\nFrom: c@host.a.org\n"),
    (b"cc: b\nfrom: c\nContent-Length: 5", b"D\nM\ncc: b@host.a.org\nfrom: c@host.a.org\n"),
    (b"To: a\nFrom: c\nX-Any:  a,b  (c\n d", b"D\nM\nTo: a@host.a.org\nFrom: c@host.a.org\nX-Any:  a,b  (c\n d\n"),
    (
        b"To: a\nFrom: c\nSender: d\nReply-To: e\nReturn-Receipt-To: f\nErrors-To: g",
        b"D\nM\nTo: a@host.a.org\nFrom: c@host.a.org\nSender: d@host.a.org\nReply-To: e@host.a.org\n"
        b"Return-Receipt-To: f@host.a.org\nErrors-To: g@host.a.org\n",
    ),
    (
        b"From: c\nResent-Sender: s\nTo: a",
        b"Resent-D\nResent-M\nResent-From: joe@host.a.org\nResent-Cc: recipient list not shown: ;\n"
        b"From: c@host.a.org\nResent-Sender: s@host.a.org\nTo: a@host.a.org\n",
    ),
    (
        b"Resent-To: r\nResent-From: s\nResent-Date: x\nResent-Message-ID: y",
        b"Resent-To: r@host.a.org\nResent-From: s@host.a.org\nResent-Date: x\nResent-Message-ID: y\n",
    ),
    (b"From you@x\nTo: a\nFrom: c", b"D\nM\nMBOX-Line: From you@x\nTo: a@host.a.org\nFrom: c@host.a.org\n"),
]


@pytest.mark.parametrize(("header", "expected"), GOLDEN)
def test_golden(inject_home: Path, header: bytes, expected: bytes) -> None:
    text = printed(inject_home, header + b"\n\nbody")
    resent = re.sub(rb"Resent-Date: [^\n]* -0000\nResent-Message-ID: <[^\n]*qmail@id.a.org>\n", b"Resent-D\nResent-M\n", text)
    assert resent == b"Return-Path: <joe@host.a.org>\n" + expected + b"\nbody\n"


FROM = [
    ({"QMAILNAME": "Joe Q"}, b'From: "Joe Q" <joe@host.a.org>\n'),
    ({"QMAILNAME": "Joe Q", "QMAILINJECT": "c"}, b"From: joe@host.a.org (Joe Q)\n"),
    ({"MAILNAME": 'J"x', "NAME": "no"}, b'From: "J\\"x" <joe@host.a.org>\n'),
    ({"NAME": ""}, b'From: "" <joe@host.a.org>\n'),
    ({"QMAILUSER": "q", "MAILUSER": "m", "LOGNAME": "l"}, b"From: q@host.a.org\n"),
    ({"MAILUSER": "m m"}, b'From: "m m"@host.a.org\n'),
    ({"QMAILHOST": "h", "MAILHOST": "no"}, b"From: joe@h.a.org\n"),
    ({"MAILHOST": "h.b.c"}, b"From: joe@h.b.c\n"),
    ({"MAILHOST": "h+"}, b"From: joe@h.p.org\n"),
    ({"QMAILDEFAULTHOST": "dh"}, b"From: joe@dh.a.org\n"),
    ({"QMAILDEFAULTHOST": "dh", "QMAILDEFAULTDOMAIN": "dd.e"}, b"From: joe@dh.dd.e\n"),
    ({"MAILHOST": "h+", "QMAILPLUSDOMAIN": "pp"}, b"From: joe@h.pp\n"),
    ({"USER": ""}, b'From: ""@host.a.org\n'),
]


@pytest.mark.parametrize(("env", "line"), FROM)
def test_from_is_made_of_the_environment(inject_home: Path, env: dict[str, str], line: bytes) -> None:
    text = printed(inject_home, b"To: x\n", **env)
    assert text.partition(b"M\n")[2] == line + b"To: x%b\n" % (
        b"@host.a.org" if "QMAILDEFAULTHOST" not in env else b"@dh." + os.fsencode(env.get("QMAILDEFAULTDOMAIN", "a.org"))
    )


def test_nobody_in_the_environment_is_anonymous(inject_home: Path) -> None:
    done = run([ours("qmail-inject"), "-n"], env=environment(QMAILHOME=str(inject_home), LOGNAME="l"))
    assert b"Return-Path: <l@host.a.org>\n" in done.stdout
    done = run([ours("qmail-inject"), "-n"], env=environment(QMAILHOME=str(inject_home)))
    assert b"\nFrom: anonymous@host.a.org\n" in done.stdout


def test_idhost(inject_home: Path) -> None:
    assert b".qmail@elsewhere>\n" in inject(inject_home, b"", "-n", QMAILIDHOST="elsewhere").stdout


def test_controls_default_to_me_and_then_to_their_names(tmp_path: Path) -> None:
    home = make_home(tmp_path / "me", {"me": "m.org"})
    assert b"\nFrom: joe@m.org\nTo: a@b.m.org, c@d.m.org\n" in printed(home, b"To: a@b, c@d+\n")
    home = make_home(tmp_path / "nothing", {})
    assert b"\nFrom: joe@defaulthost.defaultdomain\nTo: c@d.plusdomain\n" in inject(home, b"To: c@d+\n", "-n").stdout


SENDERS = [
    # header, arguments, environment, Return-Path of -n
    (b"", [], {}, b"joe@host.a.org"),
    (b"", [], {"QMAILSUSER": "s"}, b"s@host.a.org"),
    (b"", [], {"QMAILSHOST": "h"}, b"joe@h.a.org"),
    (b"", [], {"QMAILSUSER": "s s", "QMAILSHOST": "h.i"}, b'"s s"@h.i'),
    (b"", [], {"MAILHOST": "m"}, b"joe@m.a.org"),
    (b"", ["-f", "x"], {}, b"x@host.a.org"),
    (b"", ["-fx@y"], {}, b"x@y.a.org"),
    (b"", ["-f", ""], {}, b""),
    (b"", ["-f", "x", "-f", "y"], {}, b"y@host.a.org"),
    (b"Return-Path: r\n", [], {}, b"r@host.a.org"),
    (b"Return-Path: <>\n", [], {}, b""),
    (b"Return-Path: <r>\nReturn-Path: <s>\n", [], {}, b"r@host.a.org"),
    (b"Return-Path: r\n", ["-f", "x"], {}, b"x@host.a.org"),
    (b"Return-Path: r\n", [], {"QMAILINJECT": "s"}, b"joe@host.a.org"),
    (b"", [], {"QMAILINJECT": "r"}, b'"joe-@host.a.org-"@[]'),
    (b"Return-Path: r\n", [], {"QMAILINJECT": "r"}, b'"r@host.a.org-"@[]'),
]


@pytest.mark.parametrize(("header", "arguments", "env", "sender"), SENDERS)
def test_sender(inject_home: Path, header: bytes, arguments: list[str], env: dict[str, str], sender: bytes) -> None:
    text = printed(inject_home, header, *arguments, **env)
    assert text.startswith(b"Return-Path: <" + sender + b">\n")
    assert text.count(b"Return-Path") == 1


def test_verp_per_message(inject_home: Path) -> None:
    text = printed(inject_home, b"", QMAILINJECT="mr")
    assert re.match(rb'Return-Path: <"joe-\d+\.\d+-@host\.a\.org-"@\[\]>\n', text)


def test_flags_delete_fields(inject_home: Path) -> None:
    text = printed(inject_home, b"From: x\nMessage-ID: y\nTo: z\n", QMAILINJECT="fi!")
    assert text == b"Return-Path: <joe@host.a.org>\nD\nM\nFrom: joe@host.a.org\nTo: z@host.a.org\n"


RECIPIENTS = [
    # options and arguments, recipients of the envelope
    ([], [b"b@host.a.org", b"a@host.a.org", b"c@host.a.org", b"d@host.a.org"]),
    (["-h", "x"], [b"b@host.a.org", b"a@host.a.org", b"c@host.a.org", b"d@host.a.org"]),
    (["x", "y@z"], [b"x@host.a.org", b"y@z.a.org"]),
    (["-a", "x"], [b"x@host.a.org"]),
    (["-a"], []),
    (["-H", "x"], [b"x@host.a.org", b"b@host.a.org", b"a@host.a.org", b"c@host.a.org", b"d@host.a.org"]),
    (["-H", "-A", "x"], [b"x@host.a.org"]),
    (["-n", "-N", "--", "-x"], [b"-x@host.a.org"]),
    ([""], [b""]),
]


@pytest.mark.parametrize(("arguments", "recipients"), RECIPIENTS)
def test_recipients_and_their_order(inject_home: Path, arguments: list[str], recipients: list[bytes]) -> None:
    done = inject(inject_home, b"To: a, b\nCc: c\nBcc: d\n\nbody\n", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    envelope, text = queued(inject_home)
    assert envelope.sender == b"joe@host.a.org"
    assert envelope.recipients == recipients
    assert envelope.uid == os.getuid()
    assert text == b"D\nM\nFrom: joe@host.a.org\nTo: a@host.a.org, b@host.a.org\nCc: c@host.a.org\n\nbody\n"


def test_recipients_of_a_resent_message(inject_home: Path) -> None:
    assert inject(inject_home, b"To: a\nResent-To: b, c\nResent-Bcc: d\nBcc: e\n").returncode == 0
    envelope, text = queued(inject_home)
    assert envelope.recipients == [b"c@host.a.org", b"b@host.a.org", b"d@host.a.org"]
    assert b"Bcc" not in text


def test_a_large_body_arrives_whole(inject_home: Path) -> None:
    body = os.urandom(3_000_000).replace(b"\n", b"x") + b"\nlast"
    assert inject(inject_home, b"To: a\n\n" + body).returncode == 0
    assert queued(inject_home)[1].partition(b"\n\n")[2] == body + b"\n"


def test_a_nul_cannot_forge_records(inject_home: Path) -> None:
    assert inject(inject_home, b'To: "a\0Tmallory@x.y\0"@b.c\nReturn-Path: "s\0Tm2"@x.y\n').returncode == 0
    envelope, _ = queued(inject_home)
    assert (envelope.sender, envelope.recipients) == (b"s", [b"a"])


def test_what_was_printed_is_printed_the_same_again(inject_home: Path) -> None:
    message = b'To: a, "b c" (d) <e@f+>\nFrom: x y <z>\nSubject: s\n\n' + b"text\n" * 5
    once = printed(inject_home, message).partition(b"\n")[2].replace(b"D\nM\n", b"Date: d\nMessage-ID: m\n")
    assert printed(inject_home, once) == b"Return-Path: <joe@host.a.org>\n" + once


def test_mail_followup_to(inject_home: Path) -> None:
    (inject_home / "lists").write_text("# ours\nList@A.org  \n")
    header = b"To: a, list@a.org\nCc: c@d.e\nFrom: f\n"
    done = inject(inject_home, header, "-n", QMAILMFTFILE="lists")
    assert b"\nMail-Followup-To: c@d.e,\n  a@host.a.org,\n  list@a.org\nTo: a@host" in done.stdout
    for other in (header + b"Mail-Followup-To: x\n", header + b"Resent-To: x\n", b"To: a\n", b"Bcc: list@a.org\n"):
        assert b"Mail-Followup-To: c" not in inject(inject_home, other, "-n", QMAILMFTFILE="lists").stdout
    assert b"Mail-Followup-To" not in inject(inject_home, header, "-n", QMAILMFTFILE="/nonexistent").stdout


def test_the_list_file_is_looked_for_where_the_caller_is(inject_home: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").write_text("a@b.c\n")
    env = environment(QMAILHOME=str(inject_home), QMAILMFTFILE="lists")
    done = run([ours("qmail-inject"), "-n"], input=b"To: a@b.c\n", env=env, cwd=tmp_path)
    assert b"\nMail-Followup-To: a@b.c\n" in done.stdout


REFUSED = [
    (["-q"], b"", b"qmail-inject: illegal option -- q\n", 100),
    (["-f"], b"", b"qmail-inject: option requires an argument -- f\n", 100),
    ([], b"To: a)\nTo: )b\n c\n", b"qmail-inject: fatal: unable to parse this line:\nTo: )b\n c\n", 100),
    ([], b"From: a: b\n", b"qmail-inject: fatal: unable to parse this line:\nFrom: a: b\n", 100),
    (["a@b.)"], b"", b"qmail-inject: fatal: unable to parse address: a@b.)\n", 100),
    (["-f", "a b@c.)"], b"", b'qmail-inject: fatal: unable to parse this line:\n"a b"@c.)', 100),
]


@pytest.mark.parametrize(("arguments", "message", "complaint", "code"), REFUSED)
def test_refused(inject_home: Path, arguments: list[str], message: bytes, complaint: bytes, code: int) -> None:
    done = inject(inject_home, message, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", complaint)
    assert not list(inject_home.glob("queue/*/*/*"))


def test_troubles_of_the_home(inject_home: Path, tmp_path: Path) -> None:
    done = inject(tmp_path / "nowhere", b"")
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: internal bug\n")
    done = inject(inject_home, b"", QMAILMFTFILE=str(tmp_path))
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: read error\n")
    (inject_home / "control" / "idhost").unlink()
    (inject_home / "control" / "idhost").mkdir()
    done = inject(inject_home, b"")
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: read error\n")


def test_a_default_that_is_no_host(inject_home: Path) -> None:
    done = inject(inject_home, b"", QMAILDEFAULTDOMAIN="x.)")
    assert (done.returncode, done.stderr) == (100, b"qmail-inject: fatal: unable to parse this line:\n.x.)")


@pytest.mark.parametrize(
    ("code", "exit_code", "complaint"),
    [
        (31, 100, b"mail server permanently rejected message (#5.3.0)"),
        (11, 100, b"envelope address too long for qq (#5.1.3)"),
        (32, 111, b"mail server does not accept message (#5.3.0)"),
        (53, 111, b"qq write error or disk full (#4.3.0)"),
        (99, 111, b"qq temporary problem (#4.3.0)"),
    ],
)
def test_what_the_queue_says(inject_home: Path, tmp_path: Path, code: int, exit_code: int, complaint: bytes) -> None:
    program = tmp_path / "queue"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\nexit {code}\n")
    program.chmod(0o755)
    done = inject(inject_home, b"To: a\n\nx\n", QMAILQUEUE=str(program))
    assert (done.returncode, done.stderr) == (exit_code, b"qmail-inject: fatal: " + complaint + b"\n")


def test_a_foreign_queue_program_gets_everything(inject_home: Path, tmp_path: Path) -> None:
    program = inject_home / "save"
    program.write_text(f"#!/bin/sh\npwd > {tmp_path}/cwd\ncat > {tmp_path}/message\ncat <&1 > {tmp_path}/envelope\n")
    program.chmod(0o755)
    assert inject(inject_home, b"To: a, b\nFrom: f\n\nx\n", QMAILQUEUE="save").returncode == 0
    assert (tmp_path / "cwd").read_text() == f"{inject_home}\n"
    assert (tmp_path / "envelope").read_bytes() == b"Fjoe@host.a.org\0Tb@host.a.org\0Ta@host.a.org\0\0"
    assert ADDED.match((tmp_path / "message").read_bytes())


def test_no_queue(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    done = inject(tmp_path, b"To: a\n")
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: qq trouble creating files in queue (#4.3.0)\n")


def test_a_reader_that_left_is_no_trouble_but_a_full_disk_is(inject_home: Path) -> None:
    script = f"yes '' | head -c 1000000 | {ours('qmail-inject')} -n"
    env = environment(QMAILHOME=str(inject_home))
    done = run(["/bin/bash", "-c", f"{script} | head -c 1; echo ${{PIPESTATUS[2]}}"], env=env)
    assert (done.stdout, done.stderr) == (b"R0\n", b"")
    done = run(["/bin/sh", "-c", f"{script} > /dev/full"], env=env)
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: write error\n")


def test_a_message_that_cannot_be_read_leaves_nothing(inject_home: Path) -> None:
    done = run(["/bin/sh", "-c", f"exec {ours('qmail-inject')} a 0>/dev/null"], env=environment(QMAILHOME=str(inject_home)))
    assert (done.returncode, done.stderr) == (111, b"qmail-inject: fatal: read error\n")
    assert not list(inject_home.glob("queue/*/*/*"))


def test_a_body_that_breaks_off_leaves_nothing(inject_home: Path) -> None:
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.sendall(b"To: a\n\nhalf a bo")
        reading.sendall(b"never read, so that closing is a reset")
        writing.close()
        with spawn([ours("qmail-inject")], env=environment(QMAILHOME=str(inject_home)), stdin=reading.fileno()) as process:
            _, complaint = process.communicate(timeout=20)
    assert (process.returncode, complaint) == (111, b"qmail-inject: fatal: read error\n")
    assert not list(inject_home.glob("queue/*/*/*"))
