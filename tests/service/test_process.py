"""What commands and ends do to a process, step by step, with an owner that only takes notes and a clock that we turn."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from qserver.base.signals import SIGCONT, SIGSTOP, SIGTERM
from qserver.service import machine, needs, process
from qserver.service.process import Process

if TYPE_CHECKING:
    from qserver.service.process import Owner as ProcessOwner
from qserver.service.status import DOWN, ONCE, STATES, UP

WANTS = {UP: "u", DOWN: "d", ONCE: "o"}
COMMANDS = {"u": machine.WANT_UP, "o": machine.WANT_ONCE, "d": machine.WANT_DOWN}


class Clock:
    """Stands in for the time module."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


class Owner:
    """Notes what it is asked to do, also as the one who starts children and knows their needs.

    Starting fails with `trouble` if that is set.
    """

    name = "svc"

    def __init__(self) -> None:
        self.children = self.needs = self
        self.exiting = False
        self.trouble: int | None = None
        self.running = ""
        self.pid = 4000
        self.told: list[str] = []
        self.announced = 0
        self.verdict = needs.MET
        self.finishes: list[str] = []

    def start(self, kind: str, script: str) -> int:
        if self.trouble is not None:
            raise OSError(self.trouble, "")
        assert (kind == "log") == (script == "log")
        self.running = script
        self.pid += 1
        return self.pid

    def finish(self, code: int, number: int, group: int) -> int:
        if self.trouble is not None:
            raise OSError(self.trouble, "")
        self.finishes.append(f"{code} {number} {group - 4000}")
        self.pid += 1
        return self.pid

    def notify(self, script: str, event: str, pid: int, code: int) -> None:
        self.told.append(f"{script} {event} {code}")

    def announce(self) -> None:
        self.announced += 1

    def own_session(self) -> bool:
        return True

    def close_pipe(self) -> None:
        return

    def look(self) -> int:
        return self.verdict

    def pause(self) -> float:
        return 0.5


class Stage:
    """One process, its owner, clock and the signals it was sent."""

    def __init__(self, kind: str, want: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.signals: list[tuple[int, int]] = []
        monkeypatch.setattr(process, "time", self.clock)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.signals.append((pid, number)))
        self.owner = Owner()
        self.process = Process(cast("ProcessOwner", self.owner), kind, want)

    def step(self, text: str) -> str:
        """Do one thing; returns `SCRIPT STATE WANT` as it is then."""
        word, _, rest = text.partition(" ")
        if word in COMMANDS:
            self.process.happen(COMMANDS[word])
        elif word == "x":
            self.owner.exiting = True
            self.process.happen(machine.LEAVE)
        elif word == "tick":
            self.clock.now += float(rest or 1)
            self.process.tick(self.clock.now)
        elif word == "exit":
            self.process.ended(int(rest) << 8)
        elif word == "killed":
            self.process.ended(int(rest))
        elif word == "finished":
            self.process.finished(int(rest) << 8)
        elif word == "needs":
            self.owner.verdict = {"met": needs.MET, "unmet": needs.UNMET, "circle": needs.CIRCLE}[rest]
        script = self.owner.running if self.process.pid else "wait" if self.process.due is not None else "-"
        if self.process.finisher:
            script = "finish"
        return f"{script} {STATES[self.process.state]} {WANTS[self.process.want]}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The service directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(here: Path, scripts: str) -> None:
    for name in scripts.split():
        (here / name).write_text("#!/bin/sh\n")
        (here / name).chmod(0o755)


# title: scripts, wanted at start, then steps and what is to be seen after each.
STORIES: dict[str, tuple[str, int, list[tuple[str, str]]]] = {
    "starts and starts again": (
        "run",
        UP,
        [
            ("u", "run running u"),
            ("exit 0", "wait running u"),
            ("tick", "run running u"),
            ("tick", "run running u"),
            ("exit 1", "run running u"),
            ("killed 9", "wait running u"),
            ("tick", "run running u"),
        ],
    ),
    "once, then up while it waits: start comes first": (
        "start run",
        UP,
        [
            ("u", "start starting u"),
            ("exit 0", "run running u"),
            ("d", "run stopping d"),
            ("killed 15", "- stopped d"),
            ("o", "wait starting o"),
            ("u", "wait starting u"),
            ("tick", "start starting u"),
            ("exit 0", "run running u"),
        ],
    ),
    "down and up again": (
        "run",
        UP,
        [
            ("u", "run running u"),
            ("d", "run stopping d"),
            ("killed 15", "- stopped d"),
            ("d", "- stopped d"),
            ("u", "wait starting u"),
            ("tick", "run running u"),
        ],
    ),
    "up again while it is ending": (
        "run",
        UP,
        [("u", "run running u"), ("tick", "run running u"), ("d", "run stopping d"), ("u", "run stopping u"),
         ("killed 15", "run running u")],
    ),
    "once": (
        "run",
        DOWN,
        [("o", "run running o"), ("exit 0", "- stopped o"), ("o", "wait starting o"), ("tick", "run running o")],
    ),
    "once stops restarts": ("run", UP, [("u", "run running u"), ("o", "run running o"), ("exit 0", "- stopped o")]),
    "up while it runs once": ("run", DOWN, [("o", "run running o"), ("u", "run running u"), ("exit 0", "wait running u")]),
    "down while the restart waits": ("run", UP, [("u", "run running u"), ("exit 0", "wait running u"), ("d", "- stopped d")]),
    "down while the start waits": (
        "run",
        UP,
        [("u", "run running u"), ("d", "run stopping d"), ("exit 0", "- stopped d"), ("u", "wait starting u"),
         ("d", "- stopped d")],
    ),
    "exit flag lets it run": ("run", UP, [("u", "run running u"), ("x", "run running u"), ("exit 0", "- stopped u")]),
    "exit flag forbids a restart": ("run", UP, [("u", "run running u"), ("exit 0", "wait running u"), ("x", "- stopped u")]),
    "exit flag allows what was commanded": (
        "run",
        DOWN,
        [("o", "run running o"), ("exit 0", "- stopped o"), ("o", "wait starting o"), ("x", "wait starting o"),
         ("tick", "run running o"), ("exit 0", "- stopped o")],
    ),
    "exit flag and no stop step": ("run stop", UP, [("u", "run running u"), ("x", "run running u"), ("exit 0", "- stopped u")]),
    "exit 100": (
        "run stop",
        UP,
        [("u", "run running u"), ("exit 100", "- failed d"), ("tick", "- failed d"), ("u", "run running u")],
    ),
    "exit 100 once": ("run", DOWN, [("o", "run running o"), ("exit 100", "- failed o"), ("d", "- stopped d")]),
    "start, run, stop": (
        "start run stop",
        UP,
        [
            ("u", "start starting u"),
            ("exit 0", "run running u"),
            ("exit 0", "wait running u"),
            ("tick", "run running u"),
            ("d", "run stopping d"),
            ("exit 1", "stop stopping d"),
            ("exit 0", "- stopped d"),
            ("d", "- stopped d"),
            ("u", "start starting u"),
            ("exit 0", "wait starting u"),
            ("tick", "run running u"),
            ("d", "run stopping d"),
            ("exit 0", "stop stopping d"),
        ],
    ),
    "start once": ("start run", DOWN, [("o", "start starting o"), ("exit 0", "run running o"), ("exit 0", "- stopped o")]),
    "start fails": (
        "start run stop",
        UP,
        [("u", "start starting u"), ("exit 1", "- failed d"), ("tick", "- failed d"), ("u", "start starting u")],
    ),
    "start killed": ("start run", UP, [("u", "start starting u"), ("killed 9", "- failed d"), ("d", "- stopped d")]),
    "down while start runs": (
        "start run stop",
        UP,
        [("u", "start starting u"), ("d", "start stopping d"), ("exit 0", "stop stopping d"), ("exit 0", "- stopped d")],
    ),
    "start only": (
        "start stop",
        UP,
        [
            ("u", "start starting u"),
            ("exit 0", "- started o"),
            ("d", "stop stopping d"),
            ("exit 0", "- stopped d"),
            ("u", "wait starting u"),
            ("tick", "start starting u"),
            ("exit 0", "- started o"),
            ("d", "stop stopping d"),
        ],
    ),
    "nothing at all": ("", UP, [("u", "- started o"), ("d", "- stopped d")]),
    "stop runs for a service that never ran": (
        "run stop",
        DOWN,
        [("d", "stop stopping d"), ("exit 0", "- stopped d"), ("d", "- stopped d")],
    ),
    "stop runs after once": (
        "run stop",
        DOWN,
        [("o", "run running o"), ("exit 0", "stop stopping o"), ("exit 0", "- stopped o")],
    ),
    "stop fails": ("run stop", UP, [("u", "run running u"), ("d", "run stopping d"), ("exit 0", "stop stopping d"),
                                    ("exit 1", "- stopped d")]),
    "stop says 100": ("run stop", UP, [("u", "run running u"), ("d", "run stopping d"), ("exit 0", "stop stopping d"),
                                       ("exit 100", "- failed d")]),
    "up while stop runs": (
        "run stop",
        UP,
        [("u", "run running u"), ("d", "run stopping d"), ("exit 0", "stop stopping d"), ("u", "stop stopping u"),
         ("exit 0", "wait starting u"), ("tick", "run running u")],
    ),
    "down while stop waits": (
        "run stop",
        DOWN,
        [("d", "stop stopping d"), ("exit 0", "- stopped d"), ("u", "run running u"), ("d", "run stopping d"),
         ("exit 0", "wait stopping d"), ("d", "wait stopping d"), ("tick", "stop stopping d")],
    ),
    "down and exit with stop": (
        "run stop",
        UP,
        [("u", "run running u"), ("d", "run stopping d"), ("x", "run stopping d"), ("exit 1", "stop stopping d"),
         ("exit 0", "- stopped d")],
    ),
    "finish runs before the restart": (
        "run finish",
        UP,
        [("u", "run running u"), ("exit 3", "finish running u"), ("tick 2", "finish running u"),
         ("finished 0", "run running u"), ("killed 9", "finish running u"), ("finished 1", "wait running u")],
    ),
    "finish runs before stop": (
        "run finish stop",
        UP,
        [("u", "run running u"), ("d", "run stopping d"), ("killed 15", "finish stopping d"),
         ("finished 0", "stop stopping d"), ("exit 0", "- stopped d")],
    ),
    "finish says no": (
        "run finish stop",
        UP,
        [("u", "run running u"), ("exit 1", "finish running u"), ("finished 125", "- failed d"), ("u", "wait starting u"),
         ("tick", "run running u")],
    ),
    "run says no, finish runs all the same": (
        "run finish",
        UP,
        [("u", "run running u"), ("exit 100", "finish running u"), ("finished 0", "- failed d")],
    ),
    "down while finish runs": (
        "run finish",
        UP,
        [("u", "run running u"), ("exit 1", "finish running u"), ("d", "finish stopping d"), ("finished 0", "- stopped d")],
    ),
    "down and up while finish runs": (
        "run finish",
        UP,
        [("u", "run running u"), ("exit 1", "finish running u"), ("d", "finish stopping d"), ("u", "finish stopping u"),
         ("finished 0", "wait starting u"), ("tick", "run running u")],
    ),
    "exit flag while finish runs": (
        "run finish",
        UP,
        [("u", "run running u"), ("x", "run running u"), ("exit 1", "finish running u"), ("finished 0", "- stopped u")],
    ),
    "finish of a single run": (
        "run finish stop",
        DOWN,
        [("o", "run running o"), ("exit 0", "finish running o"), ("finished 0", "stop stopping o"), ("exit 0", "- stopped o")],
    ),
    "start and stop have no finish": (
        "start run stop finish",
        UP,
        [("u", "start starting u"), ("exit 1", "- failed d"), ("d", "stop stopping d"), ("exit 0", "- stopped d")],
    ),
    "waits for its needs": (
        "start run",
        UP,
        [("needs unmet", "- stopped u"), ("u", "wait starting u"), ("tick", "wait starting u"),
         ("needs met", "wait starting u"), ("tick", "start starting u"), ("exit 0", "run running u")],
    ),
    "given up while it waits for its needs": (
        "run",
        UP,
        [("needs unmet", "- stopped u"), ("u", "wait starting u"), ("d", "- stopped d"), ("tick", "- stopped d")],
    ),
    "restarts wait for needs, too": (
        "run",
        UP,
        [("u", "run running u"), ("needs unmet", "run running u"), ("exit 0", "wait running u"), ("tick", "wait running u"),
         ("x", "- stopped u")],
    ),
    "needs itself": ("run", UP, [("needs circle", "- stopped u"), ("u", "- failed d"), ("tick", "- failed d"),
                                 ("needs met", "- failed d"), ("u", "run running u")]),
}  # fmt: skip


@pytest.mark.parametrize("title", STORIES)
def test_a_story(title: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts, want, steps = STORIES[title]
    make(here, scripts)
    stage = Stage("main", want, monkeypatch)
    assert [(text, stage.step(text)) for text, _ in steps] == steps


def test_a_log_process_has_neither_start_nor_stop(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "start run stop log")
    stage = Stage("log", UP, monkeypatch)
    assert stage.step("u") == "log running u"
    assert stage.step("exit 0") == "wait running u"
    assert stage.step("tick") == "log running u"
    assert stage.step("d") == "log stopping d"
    assert stage.step("killed 15") == "- stopped d"


def test_every_change_is_announced_and_notified(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "start run stop")
    stage = Stage("main", UP, monkeypatch)
    for text in ("u", "exit 0", "d", "killed 15", "exit 3"):
        before = stage.owner.announced
        stage.step(text)
        assert stage.owner.announced > before, text
    assert stage.owner.told == [
        "start start 0", "start exit 0", "run start 0", "run killed 15", "stop start 0", "stop exit 3",
    ]  # fmt: skip


def test_down_sends_term_and_cont_and_ends_a_pause(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "run")
    stage = Stage("main", UP, monkeypatch)
    stage.step("u")
    pid = stage.process.pid
    stage.process.pause(True, False)
    assert stage.process.paused
    assert stage.process.status()[16] == 1
    stage.step("d")
    assert not stage.process.paused
    assert stage.signals == [(pid, SIGSTOP), (pid, SIGTERM), (pid, SIGCONT)]


def test_signals_to_the_group(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "run")
    stage = Stage("main", UP, monkeypatch)
    stage.step("u")
    pid = stage.process.pid
    stage.process.kill(1, True)
    stage.process.pause(True, True)
    stage.process.happen(machine.WANT_DOWN, group=True)
    assert stage.signals == [(-pid, 1), (-pid, SIGSTOP), (-pid, SIGTERM), (-pid, SIGCONT)]
    stage.process.happen(machine.WANT_DOWN)
    assert stage.signals[4:] == [(pid, SIGTERM), (pid, SIGCONT)]


def test_nothing_is_sent_where_nothing_runs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("main", DOWN, monkeypatch)
    stage.process.kill(9, False)
    stage.process.pause(True, False)
    stage.step("d")
    assert stage.signals == []
    assert not stage.process.paused


def test_a_process_gone_before_its_signal_is_no_trouble(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "run")
    stage = Stage("main", UP, monkeypatch)
    stage.step("u")

    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))

    monkeypatch.setattr(os, "kill", gone)
    assert stage.step("d") == "run stopping d"


def test_no_process_to_be_had(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    make(here, "run")
    for trouble, words in ((errno.EAGAIN, "temporary failure"), (errno.ENOMEM, "out of memory")):
        stage = Stage("main", UP, monkeypatch)
        stage.owner.trouble = trouble
        assert stage.step("u") == "wait starting u"
        assert capfd.readouterr().err == f"supervise: warning: unable to fork for svc, sleeping 60 seconds: {words}\n"
        stage.owner.trouble = None
        stage.clock.now += 58
        assert stage.step("tick") == "wait starting u"
        assert stage.step("tick") == "run running u"


def test_what_cannot_be_executed_is_tried_every_second(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make(here, "run")
    stage = Stage("main", UP, monkeypatch)
    stage.owner.trouble = errno.EACCES
    assert stage.step("u") == "wait running u"
    assert stage.step("tick") == "wait running u"
    assert capfd.readouterr().err == "supervise: fatal: unable to start svc/run: access denied\n" * 2
    assert stage.owner.told == []


def test_start_and_stop_that_cannot_be_executed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "start run stop")
    stage = Stage("main", UP, monkeypatch)
    stage.owner.trouble = errno.ENOEXEC
    assert stage.step("u") == "- failed d"
    assert stage.step("d") == "- stopped d"


def test_a_link_that_leads_nowhere_is_no_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "run").symlink_to("no-such")
    assert Stage("main", UP, monkeypatch).step("u") == "- started o"
