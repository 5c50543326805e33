"""A supervised process: the actions of the table, and the second between two starts of one script."""

from __future__ import annotations

import errno
import os
import time

from qserver.base import signals
from qserver.base.errors import describe, say, warn
from qserver.service import machine, place
from qserver.service.status import DOWN, FAILED, ONCE, RUNNING, STARTED, STARTING, STOPPED, STOPPING, UP, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.service.supervisor import Supervisor

PROG = "supervise"
PAUSE = 1.0
"""Seconds between two starts of the same script, at least."""
FORK_PAUSE = 60.0
NO_FORK = (errno.EAGAIN, errno.ENOMEM)
EXEC_FAILED = 111
STATE_OF = {"start": STARTING, "run": RUNNING, "log": RUNNING, "stop": STOPPING}
"""The state while a script runs."""


class Process:
    """`main` (start, run, stop) or `log`. Every change of it is announced in the status file."""

    __slots__ = (
        "_first",
        "_group",
        "_last",
        "_owner",
        "_restart",
        "_script",
        "_stopped",
        "due",
        "kind",
        "paused",
        "pid",
        "state",
        "want",
        "when",
    )

    def __init__(self, owner: Supervisor, kind: str, want: int) -> None:
        self._owner = owner
        self.kind = kind
        self.want = want
        self.state = STOPPED
        self.pid = 0
        self.paused = False
        self.when = time.time_ns()
        self.due: float | None = None
        """Monotonic time of a start that waits for its second."""
        self._restart = False
        """Whether that start is a restart, which an exit flag forbids, or was commanded."""
        self._script = ""
        self._first = kind == "main"
        """Whether `start` comes before `run`."""
        self._stopped = False
        """`stop` has run since the last `d` that hit a running process."""
        self._group = False
        """Whether the command at work is for the process group."""
        self._last: dict[str, float] = {}

    def status(self) -> bytes:
        """The block of the status file."""
        return Status(self.when, self.pid, self.paused, self.want, self.state).pack()

    def adopt(self, told: Status) -> None:
        """Go on with a process that an earlier supervise started, and with what was wanted of it."""
        self.pid = told.pid
        self.when = told.when
        self.want = told.want if told.want in (UP, DOWN, ONCE) else UP
        self.paused = told.paused
        self.state = RUNNING if told.state not in (STARTING, STOPPING) else told.state
        self._script = "start" if told.state == STARTING else "run"
        self._first = told.state == STARTING

    def is_down(self) -> bool:
        """Whether nothing runs and nothing waits to be started."""
        return self.pid == 0 and self.due is None

    def happen(self, event: int, *, group: bool = False) -> None:
        """Look the event up and do what the table says; `group`: to the whole process group."""
        if event == machine.WANT_UP and self.want != UP:
            self._first = self.kind == "main"
        self.want = machine.WANTED.get(event, self.want)
        self._group = group
        action = machine.TABLE.get((self.state, event))
        if action is not None:
            getattr(self, action)()
        self._owner.announce()

    # The actions of the table.

    def begin(self) -> None:
        """Start from rest: `start` first if it is its turn, then `run`."""
        self.state = STARTING
        self._restart = False
        self._start(self._opening())

    def keep(self) -> None:
        """It runs, or is about to: only what is wanted has changed, and with it perhaps the script to begin with."""
        self._restart = False
        if self.due is not None and self._script == "run":
            self._start(self._opening())

    def terminate(self) -> None:
        """TERM, then CONT so that a stopped process gets it; a start that was only waiting is given up."""
        if self._script != "stop":
            self._stopped = False
        if self.pid == 0:
            if self._script != "stop":
                self.due = None
                self.rest()
            return
        self.state = STOPPING
        self.kill(signals.SIGTERM, self._group)
        self.paused = False
        self.kill(signals.SIGCONT, self._group)

    def retire(self) -> None:
        """What `start` alone has set up counts as running: `stop` is due again."""
        self._stopped = False
        self.rest()

    def go_on(self) -> None:
        """`start` did its work: now `run`."""
        self._first = False
        self._start(self._opening())

    def fail(self) -> None:
        """Not wanted any more by its own word (exit 100), or `start` failed."""
        if self.want == UP:
            self.want = DOWN
        self.state = FAILED

    def again(self) -> None:
        """It ended and is wanted up: once more."""
        self._restart = True
        self._start(self._opening())

    def stay(self) -> None:
        """It ended, and supervise is about to: stay down, without `stop`."""
        self.state = STOPPED

    def rest(self) -> None:
        """Nothing is wanted of it: run `stop` if it is due, else stay down."""
        self.state = STOPPED
        if self.kind == "main" and not self._stopped and place.is_executable_file("stop"):
            self._stopped = True
            self.state = STOPPING
            self._restart = False
            self._start("stop")

    # What they are made of.

    def _opening(self) -> str:
        """The script to begin with."""
        if self.kind == "log":
            return "log"
        return "start" if self._first and place.is_executable_file("start") else "run"

    def _start(self, script: str) -> None:
        """Start it now, or as soon as a second has passed since it was last started."""
        self._script = script
        self.due = self._last.get(script, 0.0)
        self.start_if_due(time.monotonic())

    def start_if_due(self, now: float) -> None:
        """Start what waits, if its time has come."""
        if self.due is None or self.pid or now < self.due:
            return
        self.due = None
        script = self._script
        if script == "run" and not place.exists("run"):
            self._nothing_to_run()
            return
        self._last[script] = now + PAUSE
        try:
            self.pid = self._owner.spawn(self.kind, script)
        except OSError as error:
            self._could_not_start(script, error, now)
            return
        self.when = time.time_ns()
        self.state = STATE_OF[script]
        if script == "run":
            self._first = False
        self._owner.announce()
        self._owner.notify(script, "start", self.pid, 0)

    def _could_not_start(self, script: str, error: OSError, now: float) -> None:
        """No process to be had: wait. Not to be executed: as if it had ended at once."""
        if error.errno in NO_FORK:
            warn(PROG, f"unable to fork for {self._owner.name}, sleeping 60 seconds", error)
            self._last[script] = self.due = now + FORK_PAUSE
            return
        self.state = STATE_OF[script]
        say(describe(PROG, "fatal", f"unable to start {self._owner.name}/{script}", error, "unknown error"))
        self.ended(EXEC_FAILED << 8)

    def _nothing_to_run(self) -> None:
        """A service of `start` and `stop` alone."""
        self._first = False
        self.want = ONCE
        self.state = STARTED
        self._owner.announce()

    def ended(self, status: int) -> None:
        """The process ended with this wait status."""
        pid, self.pid = self.pid, 0
        self.paused = False
        self.when = time.time_ns()
        code = os.waitstatus_to_exitcode(status)
        self._owner.announce()
        if pid:
            self._owner.notify(self._script, "killed" if code < 0 else "exit", pid, abs(code))
        self.happen(machine.outcome(self._script, code, self.want, self._owner.exiting))

    def pause(self, on: bool, group: bool) -> None:
        """`p` and `c`."""
        if self.pid:
            self.paused = on
            self._owner.announce()
            self.kill(signals.SIGSTOP if on else signals.SIGCONT, group)

    def kill(self, number: int, group: bool) -> None:
        """Send a signal to the process or to its group, if it runs."""
        if self.pid:
            try:
                os.kill(-self.pid if group else self.pid, number)
            except OSError:
                return

    def forget_restart(self) -> None:
        """The exit flag: a restart that waits does not take place; a start that was commanded does."""
        if self.due is not None and self._restart and self.pid == 0:
            self.due = None
            self.happen(machine.ENDED_LEAVING)
