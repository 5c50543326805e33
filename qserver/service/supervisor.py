"""supervise at work: carries out what the table in `machine` says for the main process and, if there is one, its log."""

from __future__ import annotations

import errno
import os
import select
import time

from qserver.base import chain, files, signals
from qserver.base.errors import fatal, warn
from qserver.service import machine, orphan, place
from qserver.service.pipes import DRAIN_INTERVAL, Drain
from qserver.service.process import Process
from qserver.service.status import DOWN, STOPPING, UP

PROG = "supervise"
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGTSTP, signals.SIGCONT)
AS_COMMANDS: dict[int, bytes] = {
    signals.SIGTERM: b"dx",
    signals.SIGINT: b"dx",
    signals.SIGTSTP: b"p",
    signals.SIGCONT: b"c",
}
"""Signals to supervise and the commands they stand for (daemontools 5.7)."""

SIGNALS: dict[int, int] = {
    ord("h"): signals.SIGHUP,
    ord("a"): signals.SIGALRM,
    ord("i"): signals.SIGINT,
    ord("t"): signals.SIGTERM,
    ord("k"): signals.SIGKILL,
    ord("q"): signals.SIGQUIT,
    ord("1"): signals.SIGUSR1,
    ord("2"): signals.SIGUSR2,
    ord("w"): signals.SIGWINCH,
}
WANTS: dict[int, int] = {ord("u"): machine.WANT_UP, ord("d"): machine.WANT_DOWN, ord("o"): machine.WANT_ONCE}
PAUSES: dict[int, bool] = {ord("p"): True, ord("c"): False}
GROUPS: dict[int, bool] = {ord("+"): True, ord("="): False}
PREFIXES = b"+=Ll"
PREFIX_PATIENCE = 50
"""Milliseconds to wait for the rest of a batch that ends in a prefix: C's svc writes byte by byte."""
BLOCK = 512
MOST_BLOCKS = 64
"""Blocks of commands that are read before signals and the ends of children get their turn."""


class Supervisor:
    """One service directory, which is the current one. Raises Die in its constructor, with daemontools' words."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.name = name
        self.env = env
        self.exiting = False
        self._place, self._shown = _place_of(name, env)
        self._lock = self._take_lock()
        self._wake = signals.WakeUp(CAUGHT)
        self._log_pipe = self._make_log_pipe()
        wanted = DOWN if self._is_normally_down() else UP
        self.main = Process(self, "main", wanted)
        self.log = Process(self, "log", wanted) if self._log_pipe is not None else None
        self._target: Process | None = self.main
        self._group = False
        self._drain: Drain | None = None
        self._orphan = self._adopt()
        self._status = self._open("status", "open", os.O_WRONLY | os.O_TRUNC | os.O_CREAT | place.LISTEN, " for writing")
        self._control = self._fifo("control")
        self._control_writer = self._open("control", "write", place.SPEAK)
        self.announce()
        self._ok = self._fifo("ok")

    def _take_lock(self) -> int:
        _make_directory(self._place)
        try:
            fd = files.open_lock(f"{self._place}/lock")
            mine = files.lock_exclusive(fd, wait=False)
        except OSError as error:
            raise fatal(PROG, f"unable to acquire {self._shown}/lock", error) from error
        if not mine:
            raise fatal(PROG, f"unable to acquire {self._shown}/lock", errno.EAGAIN)
        return fd

    def _make_log_pipe(self) -> tuple[int, int] | None:
        if not place.is_executable_file("log"):
            return None
        try:
            return os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise fatal(PROG, f"unable to create pipe for {self.name}", error) from error

    def _is_normally_down(self) -> bool:
        try:
            os.stat("down")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise fatal(PROG, f"unable to stat {self.name}/down", error) from error
        return True

    def _adopt(self) -> int:
        """Take over what an earlier supervise left running: a descriptor that tells of its end, or -1.

        Not with an executable `log`: the pipe between the two went with their supervise.
        """
        found = orphan.left_behind(f"{self._place}/status") if self.log is None else None
        if found is None:
            return -1
        told, fd = found
        self.main.adopt(told)
        return fd

    def _fifo(self, name: str) -> int:
        try:
            os.mkfifo(f"{self._place}/{name}", 0o600)
        except OSError:
            pass  # there already, most of the time; the open that follows decides
        fd = self._open(name, "read", place.LISTEN)
        if os.fstat(fd).st_mode & 0o170000 != 0o010000:  # a plain file is always readable: we would never sleep
            raise fatal(PROG, f"unable to read {self._shown}/{name}", errno.EINVAL)
        return fd

    def _open(self, name: str, verb: str, flags: int, purpose: str = "") -> int:
        try:
            return os.open(f"{self._place}/{name}", flags, 0o644)
        except OSError as error:
            raise fatal(PROG, f"unable to {verb} {self._shown}/{name}{purpose}", error) from error

    def processes(self) -> list[Process]:
        """The log first: a logger must be there before what it logs."""
        return [self.main] if self.log is None else [self.log, self.main]

    def announce(self) -> None:
        """Write the status file, in place and in one write."""
        data = self.main.status() + (b"" if self.log is None else self.log.status())
        try:
            os.pwrite(self._status, data, 0)
        except OSError as error:
            warn(PROG, "unable to write status", error)

    def run(self) -> int:
        """Supervise until the exit flag is set and nothing runs."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        poller.register(self._control, select.POLLIN)
        if self._orphan >= 0:
            poller.register(self._orphan, select.POLLIN)
        for process in self.processes():
            if process.want == UP and not process.pid:
                process.happen(machine.WANT_UP)
        while not self._is_over():
            for fd, _ in poller.poll(self._patience()):
                if fd == self._orphan:
                    self._bury(poller)
            self._turn()
        self.announce()
        return 0

    def _bury(self, poller: select.poll) -> None:
        """The process we took over has ended; how, only the one who reaped it knows."""
        poller.unregister(self._orphan)
        os.close(self._orphan)
        self._orphan = -1
        self.main.ended(0)

    def _turn(self) -> None:
        """What has happened: signals, ends of children, commands, starts that are due."""
        for number in self._wake.drain():
            self._obey(AS_COMMANDS.get(number, b""), self.main, False)
        self._reap()
        self._read_commands()
        now = time.monotonic()
        for process in self.processes():
            process.start_if_due(now)
        self._end_log()

    def _is_over(self) -> bool:
        return self.exiting and all(process.is_down() for process in self.processes())

    def _patience(self) -> float | None:
        """Milliseconds to the next start that is waiting, or the next look at the pipe; None when there is neither."""
        due = [process.due for process in self.processes() if process.due is not None]
        if self._drain is not None:
            due.append(time.monotonic() + DRAIN_INTERVAL)
        return max(0.0, (min(due) - time.monotonic()) * 1000 + 1) if due else None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self.processes():
                if process.pid == pid:
                    process.ended(status)
                    break

    def _end_log(self) -> None:
        """With the exit flag and nothing left to log: end the log process, when it has read what there is."""
        if not self.exiting or self.log is None or not self.main.is_down():
            return
        if self.log.is_down() or self.log.state == STOPPING:
            self._drain = None
            return
        if self._drain is None and self._log_pipe is not None:
            self._drain = Drain(self._log_pipe[0])
        if self._drain is not None and self._drain.is_over():
            self._drain = None
            self.log.happen(machine.WANT_DOWN)

    def _read_commands(self) -> None:
        """The commands in the fifo; a batch ends when it is empty, but not right behind a prefix."""
        for _ in range(MOST_BLOCKS):
            try:
                block = os.read(self._control, BLOCK)
            except OSError:
                block = b""
            if not block:
                self._target, self._group = self.main, False
                return
            self._target, self._group = self._obey(block, self._target, self._group)
            if block[-1] in PREFIXES:
                self._await_command()

    def _await_command(self) -> None:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.poll(PREFIX_PATIENCE)

    def _obey(self, commands: bytes, target: Process | None, group: bool) -> tuple[Process | None, bool]:
        """Carry out commands (daemontools 5.2); bytes that mean nothing are passed over.

        `target`: the process addressed, None where there is no log process; `group`: signals go to its group. Returns both
        for the rest of the batch.
        """
        for byte in commands:
            if byte in GROUPS:
                group = GROUPS[byte]
            elif byte in b"Ll":
                target = self.main if byte == ord("l") else self.log
            elif byte == ord("x"):
                self._prepare_to_exit()
            elif target is None:
                continue
            elif byte in WANTS:
                target.happen(WANTS[byte], group=group)
            elif byte in PAUSES:
                target.pause(PAUSES[byte], group)
            elif byte in SIGNALS:
                target.kill(SIGNALS[byte], group)
        return target, group

    def _prepare_to_exit(self) -> None:
        """`x`: nothing is restarted from now on."""
        self.exiting = True
        for process in self.processes():
            process.forget_restart()

    def spawn(self, kind: str, script: str) -> int:
        """Start ./SCRIPT of main or log; returns its pid. Raises OSError."""
        fds: dict[int, int] = {}
        if self._log_pipe is not None:
            fds = {0: self._log_pipe[0]} if kind == "log" else {1: self._log_pipe[1]}
        return self._spawn([f"./{script}"], fds)

    def notify(self, script: str, event: str, pid: int, code: int) -> None:
        """Tell an executable `notify`, which runs on its own."""
        if place.is_executable_file("notify"):
            try:
                self._spawn(["./notify", script, event, str(pid), str(code)], {})
            except OSError as error:
                warn(PROG, f"unable to start {self.name}/notify", error)

    def _spawn(self, argv: list[str], fds: dict[int, int]) -> int:
        return chain.spawn(argv, self.env, fds, setsid=not place.exists("no-setsid"))


def _place_of(name: str, env: dict[str, str]) -> tuple[str, str]:
    """The supervise directory, and how messages call it. Raises Die."""
    try:
        where = place.directory(env)
    except OSError as error:
        raise fatal(PROG, f"unable to find the path of {name}", error) from error
    return where, place.shown(name, where)


def _make_directory(path: str) -> None:
    """`supervise/`, or the target of a link that leads nowhere yet. Trouble shows when the lock is opened."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        _make_target(path)
    except OSError:
        return


def _make_target(path: str) -> None:
    try:
        target = os.readlink(path)
        os.mkdir(target if target[:1] == "/" else f"{path.rpartition('/')[0] or '.'}/{target}", 0o700)
    except OSError:
        return  # no link, or it leads somewhere
