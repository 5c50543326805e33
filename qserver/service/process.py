"""A supervised process: the actions of the table, and the second between two starts of one script."""

from __future__ import annotations

import errno
import os
import time

from qserver.base import signals
from qserver.base.errors import Die, describe, say, warn
from qserver.service import machine, needs, place, settings
from qserver.service.backoff import Backoff
from qserver.service.detail import BACKOFF, KILLED, NEEDS, Detail
from qserver.service.machine import AGAIN, AT_REST, CLOSING, DUE, FAILED, FINISHING, RUNNING, SET_UP, STARTING, STOPPING
from qserver.service.status import DOWN, ONCE, STOPPED, UP, Status
from qserver.service.status import STARTING as SHOWN_STARTING
from qserver.service.status import STOPPING as SHOWN_STOPPING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from qserver.service.children import Children
    from qserver.service.needs import Needs

    class Owner(Protocol):
        """What a process needs of its supervisor."""

        name: str
        exiting: bool
        """The exit flag."""
        children: Children
        needs: Needs

        def announce(self) -> None: ...

        def close_pipe(self) -> None: ...


PROG = "supervise"
PAUSE = 1.0
"""Seconds between two starts of the same script, at least."""
FORK_PAUSE = 60.0
NO_FORK = (errno.EAGAIN, errno.ENOMEM)
EXEC_FAILED = 111
PHASE_OF = {"start": STARTING, "run": RUNNING, "log": RUNNING, "stop": CLOSING}
"""The phase while a script runs."""
TAKEN_OVER = {SHOWN_STARTING: ("start", STARTING), SHOWN_STOPPING: ("run", STOPPING)}
"""State in the status file → the script that must be running, and the phase; otherwise `run` runs."""


class Process:
    """`main` (start, run, finish, stop) or `log`. Every change of it is announced in the status file."""

    def __init__(self, owner: Owner, kind: str, want: int) -> None:
        self._owner = owner
        self.kind = kind
        self.want = want
        self.phase = AT_REST
        self.state = STOPPED
        """As the status file tells it."""
        self.pid = 0
        self.finisher = 0
        """The pid of `finish`."""
        self.paused = False
        self.ready = False
        self.when = time.time_ns()
        self.due: float | None = None
        """Monotonic time of a start that waits."""
        self.deadline: float | None = None
        """Monotonic time at which an end is taking too long."""
        self.detail = Detail()
        self._script = ""
        self._code = 0
        """How the script ended: exit code, or minus the signal."""
        self._lived = 0.0
        """Seconds that the last process ran."""
        self._run_group = 0
        """The process group of the last `run`."""
        self._first = kind == "main"
        """Whether `start` comes before `run`."""
        self._stopped = False
        """`stop` has run since the last `d` that hit a running process."""
        self._group = False
        """Whether the command at work is for the process group."""
        self._last: dict[str, float] = {}
        """Script → monotonic time before which it is not started again."""
        self._backoff = Backoff()

    def status(self) -> bytes:
        """The block of the status file."""
        return Status(self.when, self.pid, self.paused, self.want, self.state, self.ready).pack()

    def adopt(self, told: Status, detail: Detail | None) -> None:
        """Go on with a process that an earlier supervise started, and with what was wanted of it."""
        self.pid = told.pid
        self.when = told.when
        self.want = told.want if told.want in (UP, DOWN, ONCE) else UP
        self.paused = told.paused
        self.ready = told.ready
        self.detail = detail or self.detail
        self._run_group = told.pid if self._owner.children.own_session() else os.getpgrp()
        self._script, phase = TAKEN_OVER.get(told.state or 0, ("run", RUNNING))
        self._enter(phase)
        self._first = self._script == "start"

    def is_down(self) -> bool:
        """Whether nothing runs and nothing waits to be started."""
        return self.phase in machine.RESTING

    def happen(self, event: int, *, group: bool = False) -> None:
        """Look the event up and do what the table says; `group`: to the whole process group."""
        if event == machine.WANT_UP and self.want != UP:
            self._first = self.kind == "main"
        if event in (machine.WANT_UP, machine.WANT_ONCE):
            self._backoff.forget()
        self.want = machine.WANTED.get(event, self.want)
        self._group = group
        action = machine.TABLE.get((self.phase, event))
        if action is not None:
            getattr(self, action)()
        self._owner.announce()

    def tick(self, now: float) -> None:
        """The events that time brings."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.happen(machine.TOO_LONG)
        if self.due is not None and now >= self.due:
            self.happen(machine.ITS_TIME)

    def moments(self) -> list[float]:
        """The monotonic times at which `tick` has something to do."""
        return [moment for moment in (self.due, self.deadline) if moment is not None]

    # The actions of the table: commands.

    def begin(self) -> None:
        """Start from rest: `start` first if it is its turn, then `run`."""
        self._enter(DUE)
        self._start(self._opening())

    def hasten(self) -> None:
        """It is about to start: not for a restart's sake any more, and perhaps with another script; no more backing off."""
        self.phase = DUE
        self._start(self._opening() if self._script == "run" else self._script)

    def give_up(self) -> None:
        """A start that was only waiting does not take place."""
        self._wait_no_longer()
        self._stopped = False
        self.rest()

    def terminate(self) -> None:
        """TERM (or what `down-signal` says), then CONT so that a stopped process gets it."""
        self._stopped = False
        self._enter(STOPPING)
        by_file = self._script == "run"
        self.kill(settings.down_signal(self._owner.name) if by_file else signals.SIGTERM, self._group)
        self.paused = False
        self.kill(signals.SIGCONT, self._group)
        patience = settings.milliseconds(self._owner.name, "timeout-kill", 0) if by_file else 0
        self.deadline = time.monotonic() + patience / 1000 if patience else None

    def interrupt(self) -> None:
        """`d` while `stop` runs."""
        self.kill(signals.SIGTERM, self._group)
        self.paused = False
        self.kill(signals.SIGCONT, self._group)

    def hold_down(self) -> None:
        """`d` while `finish` runs: what comes behind it is not a restart."""
        self._stopped = False
        self.state = SHOWN_STOPPING

    def retire(self) -> None:
        """What `start` alone has set up counts as running: `stop` is due again."""
        self._stopped = False
        self.rest()

    # Time.

    def launch(self) -> None:
        """Its time has come: start the script, unless others are to be ready first."""
        now = time.monotonic()
        if self._script in ("start", "run") and not self._needs_are_met(now):
            return
        self._wait_no_longer()
        script = self._script
        if script == "run" and not place.exists("run"):
            self._nothing_to_run()
            return
        self._last[script] = now + PAUSE
        try:
            self.pid = self._owner.children.start(self.kind, script)
        except (OSError, Die) as trouble:
            self._could_not_start(script, trouble, now)
            return
        self._started(script)

    def slay(self) -> None:
        """It does not end by itself: KILL."""
        group = place.exists("flag-timeout-killpg")
        if self.finisher:
            _signal(self.finisher, signals.SIGKILL, group)
        else:
            self.kill(signals.SIGKILL, group)

    # Ends.

    def finish(self) -> None:
        """`run` has ended and `finish` follows."""
        self._enter(FINISHING)
        number = self.detail.signal
        try:
            self.finisher = self._owner.children.finish(self.detail.code, number, self._run_group)
        except OSError as error:
            say(describe(PROG, "fatal", f"unable to start {self._owner.name}/finish", error, "unknown error"))
            self.happen(self._outcome())
            return
        patience = settings.milliseconds(self._owner.name, "timeout-finish", settings.FINISH_PATIENCE)
        self.deadline = time.monotonic() + patience / 1000 if patience else None
        self._owner.children.notify("finish", "start", self.finisher, 0)

    def go_on(self) -> None:
        """`start` did its work: now `run`."""
        self._first = False
        self._enter(DUE)
        self._start(self._opening())

    def fail(self) -> None:
        """Not wanted any more by its own word (exit 100), or `start` failed, or it needs itself."""
        self._wait_no_longer()
        if self.want == UP:
            self.want = DOWN
        self._enter(FAILED)

    def again(self) -> None:
        """It ended and is wanted up: once more, later and later if it keeps dying young."""
        if self.state == SHOWN_STOPPING:  # commanded, while `finish` ran
            self.begin()
            return
        self.phase = AGAIN
        self._start(self._opening(), self._grudge())

    def stay(self) -> None:
        """It ended, and supervise is about to: stay down, without `stop`."""
        self._wait_no_longer()
        self._enter(AT_REST)

    def rest(self) -> None:
        """Nothing is wanted of it: run `stop` if it is due, else stay down."""
        self._enter(AT_REST)
        if self.kind == "main" and not self._stopped and place.is_executable_file("stop"):
            self._stopped = True
            self._enter(CLOSING)
            self._start("stop")

    # What they are made of.

    def _enter(self, phase: int) -> None:
        self.phase = phase
        self.state = machine.SHOWN.get(phase, self.state)

    def _opening(self) -> str:
        """The script to begin with."""
        if self.kind == "log":
            return "log"
        return "start" if self._first and place.is_executable_file("start") else "run"

    def _start(self, script: str, pause: float = 0.0) -> None:
        """Start it now, or as soon as a second has passed since it was last started, or `pause` seconds from now."""
        now = time.monotonic()
        self._script = script
        self.due = self._last.get(script, 0.0)
        self.detail.waits = 0
        if pause:
            self.due = max(self.due, now + pause)
            self.detail.waits, self.detail.pause = BACKOFF, int(pause * 1000)
            self.detail.until = time.time_ns() + int((self.due - now) * 1e9)
        self.tick(now)

    def _wait_no_longer(self) -> None:
        self.due = None
        self.detail.waits = 0

    def _grudge(self) -> float:
        """Seconds to back off after this end; none without a file `backoff`."""
        wanted = settings.backoff(self._owner.name) if self.kind == "main" else None
        if wanted is None:
            return 0.0
        cap, young = wanted
        return self._backoff.after(self._lived, cap / 1000, young / 1000)

    def _needs_are_met(self, now: float) -> bool:
        """Whether what this service needs is ready; if not, it waits, or fails for good."""
        verdict = self._owner.needs.look()
        if verdict == needs.UNMET:
            self.due = now + self._owner.needs.pause()
            self.detail.waits = NEEDS
        elif verdict == needs.CIRCLE:
            self.happen(machine.GAVE_UP)
        return verdict == needs.MET

    def _started(self, script: str) -> None:
        """A process runs."""
        self.when = time.time_ns()
        self._enter(PHASE_OF[script])
        if script == "run":
            self._first = False
            self.detail.starts += 1
            self._run_group = self.pid if self._owner.children.own_session() else os.getpgrp()
        self._owner.announce()
        self._owner.children.notify(script, "start", self.pid, 0)

    def _could_not_start(self, script: str, trouble: OSError | Die, now: float) -> None:
        """No process to be had: wait. Not to be executed, or without its sockets: as if it had ended at once."""
        if isinstance(trouble, OSError) and trouble.errno in NO_FORK:
            warn(PROG, f"unable to fork for {self._owner.name}, sleeping 60 seconds", trouble)
            self._last[script] = self.due = now + FORK_PAUSE
            return
        if isinstance(trouble, Die):
            say(trouble.text)
        else:
            say(describe(PROG, "fatal", f"unable to start {self._owner.name}/{script}", trouble, "unknown error"))
        self._enter(PHASE_OF[script])
        self.ended(EXEC_FAILED << 8)

    def _nothing_to_run(self) -> None:
        """A service of `start` and `stop` alone."""
        self._first = False
        self.want = ONCE
        self._enter(SET_UP)
        self._owner.announce()

    def ended(self, status: int) -> None:
        """The process ended with this wait status."""
        pid, self.pid = self.pid, 0
        self.paused = self.ready = False
        self.deadline = None
        now = time.time_ns()
        self._lived, self.when = ((now - self.when) / 1e9 if pid else 0.0), now
        self._code = os.waitstatus_to_exitcode(status)
        if self._script == "run":
            self._owner.close_pipe()
            self.detail.code, self.detail.signal = (KILLED, -self._code) if self._code < 0 else (self._code, 0)
        self._owner.announce()
        if pid:
            self._owner.children.notify(self._script, "killed" if self._code < 0 else "exit", pid, abs(self._code))
        follows = pid and self._script == "run" and place.is_executable_file("finish")
        self.happen(machine.RAN if follows else self._outcome())

    def finished(self, status: int) -> None:
        """`finish` ended with this wait status: only now what the end of `run` means takes place."""
        pid, self.finisher = self.finisher, 0
        self.deadline = None
        code = os.waitstatus_to_exitcode(status)
        self._owner.children.notify("finish", "killed" if code < 0 else "exit", pid, abs(code))
        self.happen(machine.GAVE_UP if code == machine.GIVE_UP else self._outcome())

    def _outcome(self) -> int:
        return machine.outcome(self._script, self._code, self.want, self._owner.exiting)

    def become_ready(self) -> None:
        """It said so."""
        if self.pid and self._script == "run" and not self.ready:
            self.ready = True
            self._owner.announce()

    def pause(self, on: bool, group: bool) -> None:
        """`p` and `c`."""
        if self.pid:
            self.paused = on
            self._owner.announce()
            self.kill(signals.SIGSTOP if on else signals.SIGCONT, group)

    def kill(self, number: int, group: bool) -> None:
        """Send a signal to the process or to its group, if it runs."""
        if self.pid:
            _signal(self.pid, number, group)


def _signal(pid: int, number: int, group: bool) -> None:
    try:
        os.kill(-pid if group else pid, number)
    except OSError:
        return
