"""sendmail, mailq and newaliases."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from qmail.queue.names import parse_todo
from tests.support import environment, ours, run

USAGE = b"sendmail: usage: sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]\n"


def sendmail(
    home: Path, *arguments: str, name: str = "sendmail", message: bytes = b"To: t\n\nx\n", **env: str
) -> subprocess.CompletedProcess[bytes]:
    variables = environment(QMAILHOME=str(home)) | {"USER": "joe"} | env
    return run([ours(name), *arguments], input=message, env=variables)


def queued(home: Path) -> tuple[bytes, list[bytes], bytes]:
    """Sender, recipients and From line of the one message in the queue."""
    (todo,) = home.glob("queue/todo/*/*")
    (mess,) = home.glob("queue/mess/*/*")
    envelope = parse_todo(todo.read_bytes())
    (line,) = [line for line in mess.read_bytes().split(b"\n") if line.startswith(b"From: ")]
    return envelope.sender, envelope.recipients, line


JOE = b"joe@mail.example.org"
INJECTED = [
    (["a", "b@c.d"], JOE, [b"a@mail.example.org", b"b@c.d"], b"From: " + JOE),
    (["-t", "a"], JOE, [b"a@mail.example.org", b"t@mail.example.org"], b"From: " + JOE),
    (["-t"], JOE, [b"t@mail.example.org"], b"From: " + JOE),
    ([], JOE, [], b"From: " + JOE),
    (["-f", "x@y.z", "a@b.c"], b"x@y.z", [b"a@b.c"], b"From: x@y.z"),
    (["-fx", "a@b.c"], b"x@mail.example.org", [b"a@b.c"], b"From: x@mail.example.org"),
    (["-f", "", "a@b.c"], b"", [b"a@b.c"], b'From: ""@mail.example.org'),
    (["-F", "Joe Q", "a@b.c"], JOE, [b"a@b.c"], b'From: "Joe Q" <joe@mail.example.org>'),
    (["-F", "Joe Q", "-f", "x@y.z", "a@b.c"], b"x@y.z", [b"a@b.c"], b"From: x@y.z"),
    (["-bm", "-i", "-oi", "-odb", "-oem", "-em", "-m", "-v", "-x", "-pSMTP", "-B8BITMIME", "-Nnever", "a@b.c"],
     JOE, [b"a@b.c"], b"From: " + JOE),
    (["-Ewhatever", "-Jx", "-imv", "a@b.c"], JOE, [b"a@b.c"], b"From: " + JOE),
    (["-E", "-J", "a@b.c"], JOE, [b"a@b.c"], b"From: " + JOE),
    (["-i", "--", "-a"], JOE, [b"-a@mail.example.org"], b"From: " + JOE),
    (["-ti", "-fx@y.z"], b"x@y.z", [b"t@mail.example.org"], b"From: x@y.z"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sender", "recipients", "from_line"), INJECTED)
def test_injects(home: Path, arguments: list[str], sender: bytes, recipients: list[bytes], from_line: bytes) -> None:
    done = sendmail(home, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert queued(home) == (sender, recipients, from_line)


def test_every_link_may_be_an_exec(home: Path) -> None:
    assert sendmail(home, "-f", "x@y.z", "a@b.c", QSERVER_EXEC="1").returncode == 0
    assert queued(home) == (b"x@y.z", [b"a@b.c"], b"From: x@y.z")


def test_f_takes_names_and_hosts_out_of_the_environment(home: Path) -> None:
    other = {"QMAILNAME": "n", "MAILNAME": "n", "NAME": "n", "QMAILHOST": "h", "MAILHOST": "h"}
    done = run([ours("sendmail"), "-f", "a@b@c.d", "x@y.z"], env=environment(QMAILHOME=str(home), **other))
    assert done.returncode == 0
    assert queued(home) == (b"a@b@c.d", [b"x@y.z"], b'From: "a@b"@c.d')


@pytest.mark.parametrize("exec_", ["", "1"])
@pytest.mark.parametrize(("name", "arguments"), [("mailq", []), ("sendmail", ["-bp"]), ("sendmail", ["-oi", "-bpx"])])
def test_mailq_is_qmail_qread(home: Path, name: str, arguments: list[str], exec_: str) -> None:
    for path, data in (("info/5/5", b"Fs@x.y\0"), ("mess/5/5", b"1234"), ("remote/5/5", b"Tr@x.y\0")):
        (home / "queue" / path).write_bytes(data)
    done = sendmail(home, *arguments, name=name, QSERVER_EXEC=exec_)
    assert done.returncode == 0
    assert done.stdout.partition(b" GMT  ")[2] == b"#5  4  <s@x.y> \n\tremote\tr@x.y\n"


def test_bs_is_qmail_smtpd_for_a_local_client(home: Path) -> None:
    dialogue = b"EHLO me\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<r@far.away>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n"
    done = sendmail(home, "-bs", message=dialogue)
    assert done.returncode == 0
    assert done.stdout.startswith(b"220 ")
    assert b"\r\n250 ok " in done.stdout
    (mess,) = home.glob("queue/mess/*/*")
    assert b"Received: from localhost (sendmail-bs@127.0.0.1)" in mess.read_bytes().replace(b"HELO me) (", b"").replace(
        b"(HELO me) ", b""
    )
    (todo,) = home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).recipients == [b"r@far.away"]


def test_bs_leaves_a_server_s_environment_alone(home: Path) -> None:
    dialogue = b"HELO me\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<r@far.away>\r\nQUIT\r\n"
    server = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPLOCALHOST": "l", "TCPLOCALIP": "127.0.0.1"}
    done = run([ours("sendmail"), "-bs"], input=dialogue, env=environment(QMAILHOME=str(home), **server))
    assert b"\r\n553 " in done.stdout


def test_newaliases_is_somebody_else_s(home: Path) -> None:
    done = sendmail(home, name="newaliases")
    assert (done.returncode, done.stderr) == (100, b"sendmail: fatal: please use fastforward/newaliases instead\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-q"], b"sendmail: illegal option -- q\n" + USAGE),
        (["-f"], b"sendmail: option requires an argument -- f\n" + USAGE),
        (["-bd"], USAGE),
        (["-b", "i"], USAGE),
    ],
)
def test_usage(home: Path, arguments: list[str], complaint: bytes) -> None:
    done = sendmail(home, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", complaint)


def test_no_home(tmp_path: Path) -> None:
    done = sendmail(tmp_path / "nowhere")
    assert (done.returncode, done.stderr) == (111, b"sendmail: fatal: unable to switch to qmail home directory\n")


@pytest.mark.parametrize(
    ("arguments", "program"), [([], b"qmail-inject"), (["-bs"], b"qmail-smtpd"), (["-bp"], b"qmail-qread")]
)
def test_a_program_that_cannot_run(home: Path, arguments: list[str], program: bytes) -> None:
    (home / "bin").unlink()
    (home / "bin").mkdir()
    broken = home / "bin" / program.decode()
    broken.write_text("#!/nonexistent/interpreter\n")
    broken.chmod(0o755)
    done = sendmail(home, *arguments)
    assert (done.returncode, done.stderr) == (111, b"sendmail: fatal: unable to run " + program + b"\n")
