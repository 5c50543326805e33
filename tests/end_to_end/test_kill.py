"""kill -9 of any one process: it is back, and no acknowledged message is lost."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import threading
import time

import psutil
import pytest

from qmail.stack.facts import Paths
from qmail.stack.process import service_pid
from tests.end_to_end.conftest import Stack
from tests.support import wait_for

BACK = 10.0
"""Generous: the claim is two seconds on a quiet machine; what a test asserts is that it comes back at all."""


class Stream(threading.Thread):
    """Sends numbered messages until told to stop; notes the numbers that got their 250."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.address = stack.smtp
        self.to = stack.user("alice")["address"]
        self.acknowledged: list[int] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                with smtplib.SMTP(*self.address, timeout=20) as client:
                    client.sendmail("s@example.test", [self.to], b"X-Number: %d\r\n\r\nbody\r\n" % number)
                    self.acknowledged.append(number)
            except (OSError, smtplib.SMTPException):
                self.stopping.wait(0.02)


def delivered(stack: Stack) -> set[int]:
    """The numbers found in the mailbox; a second copy is allowed after a kill (at least once), a loss is not."""
    found = set()
    for path in stack.messages("alice"):
        match = re.search(rb"^X-Number: (\d+)$", path.read_bytes(), re.MULTILINE)
        assert match, f"{path} is not whole"
        found.add(int(match[1]))
    return found


def describe(process: psutil.Process) -> str:
    """A process by its role; workers of one server are alike."""
    try:
        return f"{process.cwd().rpartition('/')[2]}: {' '.join(process.cmdline())[-60:]}"
    except psutil.Error:
        return "gone"


def victims(stack: Stack) -> list[psutil.Process]:
    """Every process of the stack but run-of-the-mill children that end by themselves."""
    return sorted(stack.processes(), key=lambda process: process.pid)


def whole(stack: Stack) -> bool:
    """Whether the stack serves again: every service up and answering."""
    return stack.ctl("stat").stdout.count(b" yes\n") == len(stack.facts()["services"])


def all_delivered(stack: Stack, stream: Stream) -> bool:
    """Whether nothing is missing; a delivery that was killed is deferred, so qmail-send is asked to retry now."""
    missing = set(stream.acknowledged) - delivered(stack)
    if missing:
        sender = service_pid(Paths(str(stack.home)), "qmail-send")  # stack.json has that of the start
        if sender:
            os.kill(sender, signal.SIGALRM)
    return not missing


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_every_process_killed_in_turn_comes_back_and_nothing_is_lost(stack: Stack) -> None:
    stream = Stream(stack)
    stream.start()
    wait_for(lambda: len(stream.acknowledged) > 20)
    number = len(victims(stack))
    assert number > 12
    slow = []
    for turn in range(number):
        processes = victims(stack)
        victim = processes[turn % len(processes)]
        name = describe(victim)
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
        begin = time.monotonic()
        before = len(stream.acknowledged)
        wait_for(lambda: whole(stack), timeout=BACK, every=0.1)
        wait_for(lambda seen=before: len(stream.acknowledged) > seen, timeout=BACK)  # type: ignore[misc]
        if time.monotonic() - begin > 2:
            slow.append((name, round(time.monotonic() - begin, 1)))
    stream.stopping.set()
    stream.join(30)
    assert len(stream.acknowledged) > 100
    wait_for(lambda: all_delivered(stack, stream), timeout=60, every=0.5)
    print(f"acknowledged {len(stream.acknowledged)}, back after more than 2 s: {slow}")


@pytest.mark.timeout(120)
def test_a_worker_killed_in_mid_session_loses_only_that_session(stack: Stack) -> None:
    host, port = stack.smtp
    with smtplib.SMTP(host, port, timeout=20) as held:
        held.ehlo("held")
        held.mail("s@example.test")
        pid = int(re.findall(r"tcpserver: pid (\d+) from", wait_for(lambda: stack.log("qmail-smtpd")))[-1])
        psutil.Process(pid).send_signal(signal.SIGKILL)
        with pytest.raises((smtplib.SMTPException, OSError)):
            held.rcpt("alice@example.test")
            held.rcpt("alice@example.test")
    wait_for(lambda: f"tcpserver: end {pid} status 9" in stack.log("qmail-smtpd"))
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.sendmail("s@example.test", ["alice@example.test"], b"X-Number: 1\r\n\r\nafter\r\n")
    wait_for(lambda: delivered(stack) == {1})
