"""kill -9 of qmail-send at every step of a message's life: after the restart every recipient gets what is due to it."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from qmail.send.schedule import LOCAL, REMOTE
from tests.send.harness import Sender, assert_clean, inject, queue_file, sender
from tests.support import wait_for

ANSWERS = {b"good@example.org": b"Kok\n", b"bad@example.org": b"Dno\n", b"r@y.org": b"Kok\n", b"eve@example.org": b"Kok\n"}
"""What the spawners report, by recipient; eve gets the bounce."""


def accepted(home: Path) -> list[str]:
    """What must still be delivered; a bounce that was being written when the kill came is garbage in mess/.

    Both are read twice: a bounce comes to todo just before its message leaves info, and may itself go on to info, into a
    directory that was read before.
    """
    return [path.name for kind in ("todo", "info") * 2 for path in (home / "queue" / kind).glob("*/*")]


class Spawners:
    """Answers orders until told to stop; remembers what was delivered where."""

    def __init__(self) -> None:
        self.delivered: list[bytes] = []

    def play(self, send: Sender, steps: int) -> None:
        """Answer orders for so many lines of the log, or until the queue is empty."""
        deadline = time.monotonic() + 30
        while steps and accepted(send.home):
            assert time.monotonic() < deadline, f"messages stay: {accepted(send.home)}"
            if send.has_line():
                send.line()
                steps -= 1
                continue
            fds = {send.log_pipe.read: -1, send.to[LOCAL].read: LOCAL, send.to[REMOTE].read: REMOTE}
            for fd in select.select(list(fds), [], [], 0.05)[0]:
                if fds[fd] < 0:
                    send.read_log()
                else:
                    self._answer(send, fds[fd])

    def _answer(self, send: Sender, channel: int) -> None:
        """Every order of what has come."""
        more = True
        while more:
            order = send.order(channel)
            self.delivered.append(order.recipient)
            send.report(channel, order.slot, ANSWERS[order.recipient])
            more = send.has_order(channel)


@pytest.mark.parametrize("steps", range(22))
def test_killed_after_so_many_lines(home: Path, steps: int) -> None:
    number = inject(home, b"eve@example.org", [b"good@example.org", b"bad@example.org", b"r@y.org"])
    spawners = Spawners()
    with sender(home) as send:
        spawners.play(send, steps)
        send.signal(signal.SIGKILL)
        assert send.exit_code() == -signal.SIGKILL
    with sender(home) as send:
        spawners.play(send, 100)
        assert not accepted(home)
    assert set(spawners.delivered) == set(ANSWERS)
    assert spawners.delivered.count(b"r@y.org") <= 2
    assert not queue_file(home, "bounce", number).exists()
    assert_clean(home)


def test_marks_survive(home: Path) -> None:
    """What was reported and marked before the kill is not delivered again."""
    number = inject(home, b"a@x.org", [b"one@example.org", b"two@example.org"])
    with sender(home) as send:
        send.order(LOCAL)
        send.report(LOCAL, send.order(LOCAL).slot, b"Kok\n")
        wait_for(lambda: b"Dtwo@" in queue_file(home, "local", number).read_bytes())
        os.kill(send.pid, signal.SIGKILL)
        send.exit_code()
    with sender(home) as send:
        assert send.order(LOCAL).recipient == b"one@example.org"
        send.report(LOCAL, 0, b"Kok\n")
        assert send.lines_until(b"end msg")[-1] == b"end msg %d" % number
