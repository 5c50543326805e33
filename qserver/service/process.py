"""A supervised process: the actions of the table, and the second between two starts of one script."""

from __future__ import annotations

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
REFUSED = 100
EXEC_FAILED = 111
WANTED = {machine.WANT_UP: UP, machine.WANT_DOWN: DOWN, machine.WANT_ONCE: ONCE}


class Process:
    """`main` (start, run, stop) or `log`. Every change of it is announced in the status file."""

    __slots__ = (
        "_first",
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
        self._stopped = False
        """`stop` has run since the last `d` that hit a running process."""
        self._last: dict[str, float] = {}

    def status(self) -> bytes:
        """The block of the status file."""
        return Status(self.when, self.pid, self.paused, self.want, self.state).pack()

    def adopt(self, told: Status) -> None:
        """Go on with a process that an earlier supervise started, and with what was wanted of it."""
        self.pid = told.pid
        self.when = told.when
        self.want = told.want if told.want in WANTED.values() else UP
        self.paused = told.paused
        self.state = RUNNING if told.state is None else told.state
        self._script = "start" if told.state == STARTING else "run"
        self._first = told.state == STARTING

    def is_down(self) -> bool:
        """Whether nothing runs and nothing waits to be started."""
        return self.pid == 0 and self.due is None

    def happen(self, event: int) -> None:
        """Look the event up and do what the table says."""
        if event in WANTED:
            if event == machine.WANT_UP and self.want != UP:
                self._first = self.kind == "main"
            self.want = WANTED[event]
        action = machine.TABLE.get((self.state, event))
        if action is not None:
            getattr(self, action)()
        self._owner.announce()

    def begin(self) -> None:
        """Start from rest: `start` first if it is its turn, then `run`."""
        self.state = STARTING
        self._restart = False
        self._start(self._opening())

    def keep(self) -> None:
        """It runs, or is about to: only what is wanted has changed."""
        self._restart = False

    def terminate(self) -> None:
        """TERM, then CONT so that a stopped process gets it; a start that was only waiting is given up."""
        if self.pid == 0:
            self.due = None
            self.rest()
            return
        if self._script != "stop":
            self._stopped = False
            self.state = STOPPING
        self.kill(signals.SIGTERM, False)
        self.paused = False
        self.kill(signals.SIGCONT, False)

    def go_on(self) -> None:
        """`start` did its work: now `run`, unless it is wanted down by now."""
        self._first = False
        if self.want == DOWN:
            self.rest()
        else:
            self._start(self._opening())

    def fail(self) -> None:
        """Not wanted any more by its own word (exit 100), or `start` failed."""
        if self.want == UP:
            self.want = DOWN
        self.state = FAILED

    def again_or_rest(self) -> None:
        """It ended: once more if it is wanted up, else to rest."""
        if self.want != UP or self._owner.exiting:
            self.rest()
        elif self._script == "stop" or self.state == STOPPING:
            self.begin()
        else:
            self._restart = True
            self._start(self._opening())

    def rest(self) -> None:
        """Nothing is wanted of it: run `stop` if it is due, else stay down."""
        self.state = FAILED if self.state == FAILED else STOPPED
        if self.kind == "main" and not self._stopped and self.want != UP and place.is_executable_file("stop"):
            self._stopped = True
            self.state = STOPPING
            self._start("stop")

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
        if script == "run" and not os.path.lexists("run"):
            self._nothing_to_run()
            return
        self._last[script] = now + PAUSE
        try:
            self.pid = self._spawn(script)
        except (BlockingIOError, MemoryError) as error:
            trouble = error if isinstance(error, OSError) else None
            warn(PROG, f"unable to fork for {self._owner.name}, sleeping 60 seconds", trouble)
            self._last[script] = self.due = now + FORK_PAUSE
            return
        except OSError as error:
            say(describe(PROG, "fatal", f"unable to start {self._owner.name}/{script}", error, "unknown error"))
            self.ended(EXEC_FAILED << 8)
            return
        self.when = time.time_ns()
        if script in ("run", "log"):
            self._first = False
            self.state = RUNNING
        self._owner.announce()
        self._owner.notify(script, "start", self.pid, 0)

    def _nothing_to_run(self) -> None:
        """A service of `start` and `stop` alone."""
        self._first = False
        self.want = ONCE
        self.state = STARTED
        self.when = time.time_ns()
        self._owner.announce()

    def _spawn(self, script: str) -> int:
        pipe = self._owner.log_pipe
        if pipe is None:
            return self._owner.spawn(script, None, None)
        if self.kind == "log":
            return self._owner.spawn(script, pipe[0], None)
        return self._owner.spawn(script, None, pipe[1])

    def ended(self, status: int) -> None:
        """The process ended with this wait status."""
        pid, self.pid = self.pid, 0
        self.paused = False
        self.when = time.time_ns()
        code = os.waitstatus_to_exitcode(status)
        if pid:
            self._owner.notify(self._script, "killed" if code < 0 else "exit", pid, abs(code))
        good, refused, other = machine.SCRIPT_EVENTS[self._script]
        self.happen(good if code == 0 else refused if code == REFUSED else other)

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
        """No restart any more; a start that was commanded still takes place."""
        if self.due is not None and self._restart and self.pid == 0:
            self.due = None
            self.rest()
            self._owner.announce()

    def finish(self) -> None:
        """The log process has nothing more to log."""
        if self.pid and self.state != STOPPING:
            self.want = DOWN
            self.terminate()
            self._owner.announce()
        elif self.due is not None and not self.pid:
            self.due = None
            self.state = STOPPED
