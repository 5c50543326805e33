"""A thousand messages from a socket to a mailbox, exactly once; two hundred fetched by a real POP3 client."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Stack
from tests.support import environment, peer, run, wait_for

NOBODY = 65534
GETMAIL = """\
[retriever]
type = SimplePOP3Retriever
server = {host}
port = {port}
username = {user}
password = {password}
[destination]
type = Maildir
path = {maildir}/
[options]
delete = true
max_messages_per_session = 100
"""
MPOP = """\
account default
host {host}
port {port}
user {user}
password {password}
auth user
tls off
keep off
delivery maildir {maildir}
uidls_file {top}/uidls
"""


def maildir(path: Path) -> Path:
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True, mode=0o700)
    return path


def as_nobody(top: Path, box: Path) -> Callable[[], None] | None:
    """getmail delivers nothing as root: hand it `box` and a place for its state, and leave root in the child."""
    if os.geteuid() != 0:
        return None
    for path in (top, box, *box.iterdir(), top / "getmailrc"):
        os.chown(path, NOBODY, NOBODY)

    def become() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    return become


@pytest.mark.timeout(250)
def test_a_thousand_messages_arrive_exactly_once(stack: Stack, open_path: Path) -> None:
    source = peer("smtp-source")
    host, port = stack.smtp
    argv = [source, "-s", "20", "-m", "1000", "-l", "1024", "-f", "a@example.test", "-t", "alice@example.test"]
    sent = run([*argv, f"{host}:{port}"], timeout=60)
    assert (sent.returncode, sent.stderr) == (0, b"")
    wait_for(lambda: stack.queued() == 0, timeout=60)
    received = [re.search(rb"Received: \(qmail (\d+) .*", p.read_bytes()) for p in stack.messages("alice")]
    assert len(received) == 1000
    accepted = stack.log("qmail-smtpd").count("Accept::")
    assert accepted == 1000
    assert stack.log("qmail-send").count("end msg ") == 1000
    assert stack.log("qmail-send").count(": success: did_1+0+0/") == 1000

    getmail = peer("getmail")
    host, port = stack.pop3
    user = stack.user("alice")
    box = maildir(open_path / "fetched")
    (open_path / "getmailrc").write_text(
        GETMAIL.format(host=host, port=port, user=user["address"], password=user["password"], maildir=box)
    )
    argv = [getmail, f"--getmaildir={open_path}", "--rcfile=getmailrc"]
    fetched = run(argv, env=environment(HOME=str(open_path)), timeout=100, preexec=as_nobody(open_path, box))
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert len(list((box / "new").iterdir())) == 100
    assert len(stack.messages("alice")) == 900


def test_mpop_fetches_and_deletes(stack: Stack, open_path: Path) -> None:
    mpop = peer("mpop")
    peer("smtp-source")
    host, port = stack.smtp
    argv = [peer("smtp-source"), "-s", "2", "-m", "20", "-f", "a@example.test", "-t", "bob@example.test"]
    assert run([*argv, f"{host}:{port}"]).returncode == 0
    wait_for(lambda: len(stack.messages("bob")) == 20)
    host, port = stack.pop3
    user = stack.user("bob")
    box = maildir(open_path / "box")
    config = open_path / "mpoprc"
    config.write_text(
        MPOP.format(host=host, port=port, user=user["address"], password=user["password"], maildir=box, top=open_path)
    )
    config.chmod(0o600)

    def fetch_all() -> bool:
        done = run([mpop, f"--file={config}"], env=environment(HOME=str(open_path)))
        assert done.returncode == 0, done.stderr
        return not stack.messages("bob")

    wait_for(fetch_all)
    assert len(list((box / "new").iterdir())) == 20
