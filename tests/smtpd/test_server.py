"""smtplib and the C smtp-source as clients of qmail-smtpd under tcpserver, ours and the original."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.smtpd.dialogue_file import queue_program
from tests.support import environment, ours, peer, run, spawn

SERVERS = ("ours", "original")


@contextmanager
def server(which: str, tmp_path: Path, queue: str) -> Iterator[int]:
    """qmail-smtpd under a tcpserver on a port of the kernel's choice; yields the port."""
    control = tmp_path / "qmail" / "control"
    control.mkdir(parents=True)
    (control / "me").write_text("mx.example.org\n")
    (control / "rcpthosts").write_text("example.org\n")
    tcpserver = ours("tcpserver") if which == "ours" else peer("tcpserver")
    argv = [tcpserver, "-1", "-RHl", "localhost", "-c", "20", "127.0.0.1", "0", ours("qmail-smtpd")]
    env = environment(QMAILHOME=str(tmp_path / "qmail"), QMAILQUEUE=queue)
    with (tmp_path / "log").open("wb") as log, spawn(argv, env=env, stderr=log) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().split()[-1])


@pytest.mark.parametrize("which", SERVERS)
def test_smtplib(which: str, tmp_path: Path) -> None:
    program = queue_program(tmp_path / "queue")
    body = b"From: a@b.c\r\nSubject: smtplib\r\n\r\n.dot\r\n" + bytes(range(128, 256)) + b"\r\n"
    with server(which, tmp_path, str(program)) as port, smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("client.example")
        assert client.esmtp_features == {"pipelining": "", "8bitmime": "", "size": "0"}
        refused = client.sendmail("a@b.c", ["x@example.org", "y@elsewhere.net"], body, ["BODY=8BITMIME"])
        assert refused == {"y@elsewhere.net": (553, b"sorry, that domain isn't in my list of allowed rcpthosts  (#5.7.1)")}
        assert client.verify("root")[0] == 252
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls()
    (message,) = (tmp_path / "queue").glob("message.*")
    assert message.read_bytes().endswith(b"-0000\n" + body.replace(b"\r\n", b"\n"))
    log = (tmp_path / "log").read_bytes()
    assert b" Accept::RCPT::Rcpthosts_Rcptto P:ESMTP S:127.0.0.1:unknown H:client.example F:a@b.c T:x@example.org\n" in log
    assert b" Reject::SNDR::Invalid_Relay P:ESMTP S:127.0.0.1:unknown H:client.example F:a@b.c T:y@elsewhere.net\n" in log


@pytest.mark.parametrize("which", SERVERS)
def test_smtp_source(which: str, tmp_path: Path) -> None:
    source = peer("smtp-source")
    with server(which, tmp_path, "/dev/null") as port:
        done = run(
            [source, "-s", "5", "-m", "40", "-l", "20000", "-f", "a@b.c", "-t", "x@example.org", f"inet:127.0.0.1:{port}"]
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "log").read_bytes().count(b"Accept::RCPT::Rcpthosts_Rcptto") == 40
