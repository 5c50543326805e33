"""qmailctl and the stack as a user meets them."""

from __future__ import annotations

import os
import poplib
import re
import shlex
import signal
import smtplib
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Stack, started
from tests.support import ROOT, environment, ours, peer, run, wait_for

MESSAGE = b"Subject: hello\r\nMessage-ID: <1@example.test>\r\n\r\nbody\r\n.leading dot\r\n"


def send(stack: Stack, to: str = "alice", message: bytes = MESSAGE) -> None:
    with smtplib.SMTP(*stack.smtp, timeout=20) as client:
        client.sendmail("sender@example.test", [stack.user(to)["address"]], message)


def fetch(stack: Stack, name: str = "alice") -> list[bytes]:
    """Fetch and delete every message that POP3 shows."""
    user = stack.user(name)
    client = poplib.POP3(*stack.pop3, timeout=20)
    client.user(user["address"])
    client.pass_(user["password"])
    count = client.stat()[0]
    messages = [b"\n".join(client.retr(number)[1]) for number in range(1, count + 1)]
    for number in range(1, count + 1):
        client.dele(number)
    client.quit()
    return messages


def test_up_prints_and_writes_the_facts(shared_stack: Stack) -> None:
    again = shared_stack.ctl("up")
    assert again.returncode == 0, again.stderr
    text = again.stdout.decode()
    assert stat.S_IMODE((shared_stack.home / "stack.json").stat().st_mode) == 0o600
    for service in shared_stack.facts()["services"]:
        assert re.search(rf"^{service['name']} +.* {service['pid']} +up", text, re.MULTILINE)
        assert psutil.pid_exists(service["pid"])
    for user in shared_stack.facts()["users"]:
        assert user["address"] in text
        assert user["password"] in text


def test_mail_goes_from_smtp_to_pop3(shared_stack: Stack) -> None:
    send(shared_stack)
    wait_for(lambda: shared_stack.messages("alice"))
    # POP3 hides what arrived in the same second
    messages = wait_for(lambda: fetch(shared_stack))
    assert len(messages) == 1
    head, _, body = messages[0].partition(b"\n\n")
    assert head.startswith(b"Return-Path: <sender@example.test>\nDelivered-To: alice@example.test\nReceived: (qmail ")
    assert body == b"body\n.leading dot\n"
    assert wait_for(lambda: shared_stack.messages("alice") == [])


def test_unknown_user_bounces_to_the_sender(shared_stack: Stack) -> None:
    with smtplib.SMTP(*shared_stack.smtp, timeout=20) as client:
        client.sendmail("bob@example.test", ["alice-nobody@example.test"], MESSAGE)
    bounce = wait_for(lambda: shared_stack.messages("bob"))[0].read_bytes()
    assert b"Hi. This is the qmail-send program at mail.example.test." in bounce
    assert b"<alice-nobody@example.test>:\nSorry, no mailbox here by that name. (#5.1.1)" in bounce
    wait_for(lambda: len(fetch(shared_stack, "bob")) == 1)


def test_pasted_lines_work(shared_stack: Stack) -> None:
    peer("swaks")
    peer("curl")
    text = shared_stack.ctl("up").stdout.decode()
    swaks, curl = (line.strip() for line in text.partition("Try it:\n")[2].splitlines()[:2])
    sent = run(shlex.split(swaks), env=environment())
    assert sent.returncode == 0, sent.stdout.decode()
    wait_for(lambda: shared_stack.messages("alice"))
    got: list[bytes] = []

    def fetched() -> bool:
        done = run(shlex.split(curl), env=environment())
        got.append(done.stdout)
        return done.returncode == 0

    wait_for(fetched)
    assert b"hello" in got[-1]
    wait_for(lambda: len(fetch(shared_stack)) == 1)


def test_stat_queue_log_doctor(shared_stack: Stack) -> None:
    told = shared_stack.ctl("stat").stdout.decode()
    assert len(re.findall(r"yes$", told, re.MULTILINE)) == len(shared_stack.facts()["services"])
    assert b"messages in queue: " in shared_stack.ctl("queue").stdout
    lines = shared_stack.ctl("log", "qmail-send", "-F", "-n", "10000").stdout.decode().splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} status: local 0/10 remote 0/20$", lines[0])
    missing = shared_stack.ctl("log", "nosuch")
    assert missing.returncode == 100
    assert missing.stderr.startswith(b"qmailctl: fatal: no log of nosuch; there are: guard qmail-pop3d")
    report = shared_stack.ctl("doctor").stdout.decode()
    wrong = [line for line in report.splitlines() if line.startswith("WRONG")]
    assert all("DNS" in line for line in wrong), report


def test_doctor_finds_what_is_wrong(stack: Stack) -> None:
    (stack.home / "stack.json").chmod(0o644)
    (stack.queue / "todo" / "7").rmdir()
    (stack.home / "service" / "qmail-smtpd" / "run").chmod(0o644)
    report = stack.ctl("doctor")
    assert report.returncode == 111
    for advice in (b"chmod 600", b"missing: todo/7", b"chmod +x"):
        assert advice in report.stdout
    (stack.queue / "todo" / "7").mkdir(0o750)


def test_restart_of_one_service_and_of_all(stack: Stack) -> None:
    before = {service["name"]: service["pid"] for service in stack.facts()["services"]}
    assert stack.ctl("restart", "qmail-smtpd").returncode == 0
    after = {service["name"]: service["pid"] for service in stack.facts()["services"]}
    assert [name for name in before if before[name] != after[name]] == ["qmail-smtpd"]
    assert stack.ctl("restart").returncode == 0
    send(stack)
    wait_for(lambda: stack.messages("alice"))


def test_a_second_start_keeps_passwords_ports_and_mail(open_path: Path) -> None:
    with started(open_path / "home") as stack:
        facts = stack.facts()
        send(stack)
        wait_for(lambda: stack.messages("alice"))
    with started(open_path / "home") as stack:
        again = stack.facts()
        assert again["users"] == facts["users"]
        assert [s["port"] for s in again["services"]] == [s["port"] for s in facts["services"]]
        assert wait_for(lambda: len(fetch(stack)) == 1)


def test_interrupt_in_the_foreground_leaves_nothing(open_path: Path) -> None:
    home = open_path / "home"
    argv = [str(ROOT / "scripts/serve"), "--ports", "free", "--address", "127.0.0.1"]
    process = subprocess.Popen(
        argv,
        env={**environment(QSERVER_HOME=str(home), QSERVER_VENV=str(Path(ours("x")).parent.parent)), "HOME": "/root"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    text = b""
    while b"Try it:" not in text:
        line = process.stdout.readline()
        assert line, text
        text += line
    stack = Stack(home)
    assert len(stack.processes()) > 8
    send(stack)
    os.killpg(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=40)
    assert process.returncode == 0, (rest, errors)
    assert b"stopped" in rest
    assert stack.processes() == []
    assert not (home / "qmail" / "run" / "queue.sock").exists()
    assert not (home / "run" / "svscan.pid").exists()


def test_a_port_in_use_is_named(open_path: Path) -> None:
    with started(open_path / "one") as one:
        port = one.smtp[1]
        two = Stack(open_path / "two")
        up = two.ctl("up", "--ports", "free", "--address", "127.0.0.1")
        assert up.returncode == 0, up.stderr
        two.ctl("stop")
        text = (two.home / "stack.json").read_text()
        (two.home / "stack.json").write_text(text.replace(f'"port": {two.smtp[1]}', f'"port": {port}'))
        refused = two.ctl("up")
        assert refused.returncode == 111
        assert f"port {port} is in use".encode() in refused.stderr
        assert two.processes() == []


def test_wrong_calls() -> None:
    for words in ([], ["nosuch"], ["up", "--ports", "x"], ["log"]):
        done = run([ours("qmailctl"), *words])
        assert done.returncode == 100
        assert done.stderr.startswith(b"qmailctl: usage: ")
    nothing = run([ours("qmailctl"), "stat", "--home", "/nonexistent"])
    assert (nothing.returncode, nothing.stderr) == (
        100,
        b"qmailctl: fatal: no stack in /nonexistent: run qmailctl up\n",
    )


def test_home_with_a_blank_in_its_name(open_path: Path) -> None:
    with started(open_path / "my home") as stack:
        send(stack)
        wait_for(lambda: stack.messages("alice"))


def test_home_with_a_long_name(open_path: Path) -> None:
    with started(open_path / ("long" * 30)) as stack:
        send(stack)
        wait_for(lambda: stack.messages("alice"))


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("a:b", "a home's path must have no colon: 'a:b'"),
        ("a\nb", "a home's path must have no newline: 'a\\nb'"),
        ("", "--home is empty"),
    ],
    ids=["colon", "newline", "empty"],
)
def test_a_home_that_cannot_be(tmp_path: Path, home: str, message: str) -> None:
    refused = run([ours("qmailctl"), "up", "--home", home], cwd=tmp_path)
    assert (refused.returncode, refused.stderr.decode()) == (100, f"qmailctl: fatal: {message}\n")
    assert list(tmp_path.iterdir()) == []
