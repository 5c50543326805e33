"""qmail-start and the whole stack: real spawners, real deliveries, real users."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from qmail.queue.service import answers
from qmail.queue.site import service_socket
from tests.send.harness import add_users, assert_clean, dot_qmail, message_numbers, post, stack, waiting
from tests.support import environment, ours, run, wait_for

DAEMONS = ("qmail-lspawn", "qmail-rspawn", "qmail-clean", "qmail-queued")


@pytest.fixture
def users(home: Path) -> Path:
    """The directory of the homes of joe and eve."""
    directory = home.parent / "users"
    add_users(home, directory, ["joe", "eve"])
    return directory


def mail_of(users: Path, name: str) -> list[bytes]:
    """The messages in a user's Maildir."""
    return [path.read_bytes() for path in sorted((users / name / "Maildir" / "new").iterdir())]


def test_delivery_to_a_maildir(home: Path, users: Path) -> None:
    with stack(home, home.parent / "log") as running:
        post(home, b"a@x.org", [b"joe@example.org"])
        (text,) = wait_for(lambda: mail_of(users, "joe"))
        assert text.startswith(b"Return-Path: <a@x.org>\nDelivered-To: joe@example.org\nReceived: (qmail ")
        wait_for(lambda: not message_numbers(home))
        wait_for(lambda: running.log()[-1].startswith("end msg "))
        number = running.log()[-1].split()[2]
        assert f"starting delivery 1: msg {number} to local joe@example.org" in running.log()
        assert "delivery 1: success: did_1+0+0/" in running.log()
    assert running.log()[-1] == "status: exiting"
    assert running.process.returncode == 0


def test_failures_of_a_dot_qmail_program(home: Path, users: Path) -> None:
    dot_qmail(users / "joe", ".qmail-never", "|echo never ever; exit 100\n")
    dot_qmail(users / "joe", ".qmail-later", "|echo busy; exit 111\n")
    with stack(home, home.parent / "log") as running:
        post(home, b"eve@example.org", [b"joe-never@example.org", b"joe-none@example.org"])
        (bounce,) = wait_for(lambda: mail_of(users, "eve"))
        assert b"\n<joe-never@example.org>:\nnever ever\n\n" in bounce
        assert b"\n<joe-none@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n" in bounce
        wait_for(lambda: not message_numbers(home))
        post(home, b"eve@example.org", [b"joe-later@example.org"])
        wait_for(lambda: any("deferral: busy/" in line for line in running.log()))
        assert len(message_numbers(home)) == 1
        dot_qmail(users / "joe", ".qmail-later", "./Maildir/\n")
        running.process.send_signal(signal.SIGALRM)
        wait_for(lambda: mail_of(users, "joe"))
        wait_for(lambda: not message_numbers(home))
    assert_clean(home)


def test_processes_and_their_descriptors(home: Path, users: Path) -> None:
    with stack(home, home.parent / "log") as running:
        wait_for(lambda: set(running.children()) == set(DAEMONS))
        children = running.children()
        wait_for(lambda: (home / "run" / "queue.sock").exists())
        for pid in children.values():
            kinds = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in ("0", "1", "2")}
            assert kinds["2"] == "/dev/null"
        pipes: dict[str, set[str]] = {}
        for name, pid in {**children, "qmail-send": running.process.pid}.items():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(fd)
                if target.startswith("pipe:"):
                    pipes.setdefault(target, set()).add(name)
        for name in ("qmail-lspawn", "qmail-rspawn", "qmail-clean"):
            assert sum(1 for holders in pipes.values() if holders == {name, "qmail-send"}) == 2
        assert os.readlink(f"/proc/{children['qmail-queued']}/fd/0") == "/dev/null"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["qmail-send", *DAEMONS])
def test_a_killed_daemon_ends_the_rest_and_a_new_start_goes_on(home: Path, users: Path, victim: str) -> None:
    """As under supervise: killed in the middle of its work; whatever was accepted arrives, bounces once, or is kept."""
    dot_qmail(users / "joe", ".qmail-slow", "|sleep 0.2\n./Maildir/\n")
    with stack(home, home.parent / "log") as running:
        wait_for(lambda: set(running.children()) == set(DAEMONS))
        for number in range(40):
            to = b"joe-slow" if number % 8 == 0 else b"joe"
            post(home, b"eve@example.org", [to + b"@example.org"], b"X-Number: %d\n\nbody\n" % number)
            if number == 20:
                wait_for(lambda: mail_of(users, "joe"))
                pid = running.process.pid if victim == "qmail-send" else running.children()[victim]
                os.kill(pid, signal.SIGKILL)
        running.process.wait(20)
        with stack(home, home.parent / "log2") as again:
            wait_for(lambda: not waiting(home), timeout=60)
            assert again.process.poll() is None
            wait_for(lambda: answers(service_socket(str(home))))
            assert set(again.children()) == set(DAEMONS)
    assert_clean(home)
    found = [int(number) for text in mail_of(users, "joe") for number in re.findall(rb"^X-Number: (\d+)$", text, re.M)]
    assert set(found) == set(range(40))
    assert not mail_of(users, "eve")
    if victim in ("qmail-clean", "qmail-queued"):
        assert len(found) == 40


def test_the_logger_gets_the_log(home: Path, users: Path) -> None:
    log = home.parent / "logged"
    process = subprocess.Popen(
        [ours("qmail-start"), "./Maildir/", "sh", "-c", f"exec cat >{log}"],
        env=environment(QMAILHOME=str(home)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(lambda: log.exists() and log.read_text() == "status: local 0/10 remote 0/20\n")
    finally:
        process.terminate()
        assert process.wait(20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b""
        process.stdout.close()
    wait_for(lambda: log.read_text().endswith("status: exiting\n"))


@pytest.mark.parametrize(
    ("control", "mailbox"), [(None, "Mailbox"), ("./Maildir/\n", "Maildir"), ("# nothing\n./other\n", "other")]
)
def test_default_delivery_without_argument(home: Path, users: Path, control: str | None, mailbox: str) -> None:
    if control is not None:
        (home / "control" / "defaultdelivery").write_text(control)
    process = subprocess.Popen(
        [ours("qmail-start")],
        env=environment(QMAILHOME=str(home)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        post(home, b"a@x.org", [b"joe@example.org"])
        wait_for(lambda: not message_numbers(home))
        if mailbox == "Maildir":
            assert len(mail_of(users, "joe")) == 1
        else:
            assert (users / "joe" / mailbox).read_bytes().startswith(b"From a@x.org ")
    finally:
        process.terminate()
        process.wait(20)


def test_no_queue_no_start(home: Path) -> None:
    (home / "queue").rename(home / "away")
    done = run([ours("qmail-start"), "./Maildir/"], env=environment(QMAILHOME=str(home)))
    assert (done.returncode, done.stdout, done.stderr) == (111, b"", b"")


def test_foreign_spawners_are_executed(home: Path, users: Path) -> None:
    """What is found as qmail-lspawn need not be ours: it gets the descriptors of the C contract."""
    (home / "bin").unlink()
    (home / "bin").mkdir()
    program = home / "bin" / "qmail-lspawn"
    program.write_text(
        "#!/bin/sh\n"
        "printf '\\005'\n"
        f"head -c 1 | od -An -tu1 >{home}/seen\n"
        f"ls /proc/$$/fd >{home}/descriptors\n"
        f'echo "$*" >>{home}/seen\n'
        "printf '\\000Kforeign\\n\\000'\n"
        "cat >/dev/null\n"
    )
    program.chmod(0o755)
    with stack(home, home.parent / "log") as running:
        wait_for(lambda: "status: local 0/5 remote 0/20" in running.log())
        post(home, b"a@x.org", [b"joe@example.org"])
        wait_for(lambda: "delivery 1: success: foreign/" in running.log())
        slot, words = (home / "seen").read_text().splitlines()
        assert slot.strip() == "0"
        descriptors = {int(fd) for fd in (home / "descriptors").read_text().split()}
        assert descriptors - {10, 11, 255} == {0, 1, 2}  # where shells keep theirs
        assert words == "./Maildir/"


def test_restart_finds_the_lock_free_at_once(home: Path, users: Path) -> None:
    """Nothing that a killed qmail-send leaves behind holds the lock."""
    dot_qmail(users / "joe", ".qmail", "|sleep 1\n./Maildir/\n")
    with stack(home, home.parent / "log") as running:
        post(home, b"a@x.org", [b"joe@example.org"])
        wait_for(lambda: any(line.startswith("starting delivery") for line in running.log()))
        running.process.kill()
        running.process.wait()
        with stack(home, home.parent / "log2") as again:
            wait_for(lambda: any(line.startswith("status:") for line in again.log()))
            assert "already running" not in "".join(again.log())
            wait_for(lambda: not message_numbers(home))
    assert len(mail_of(users, "joe")) in (1, 2)


def test_a_stack_without_mail_ends_at_once(home: Path) -> None:
    with stack(home, home.parent / "log") as running:
        wait_for(lambda: running.log())
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert running.log() == ["status: local 0/10 remote 0/20", "status: exiting"]
