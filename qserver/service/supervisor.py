"""supervise at work: carries out what the table in `machine` says for the main process and, if there is one, its log."""

from __future__ import annotations

import errno
import os
import select
import time

from qserver.base import chain, files, signals
from qserver.base.errors import fatal, warn
from qserver.service import machine, orphan, place
from qserver.service.process import Process
from qserver.service.status import DOWN, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
PREFIXES = b"+=Ll"
PREFIX_PATIENCE = 50
"""Milliseconds to wait for the rest of a batch that ends in a prefix: C's svc writes byte by byte."""


class Supervisor:
    """One service directory, which is the current one. Raises Die in its constructor, with daemontools' words."""

    def __init__(self, name: str, env: dict[str, str]) -> None:
        self.name = name
        self.env = env
        self.exiting = False
        self.place = place.directory(env)
        self._take_lock()
        self._wake = signals.WakeUp(CAUGHT)
        self.log_pipe = os.pipe2(os.O_CLOEXEC) if place.is_executable_file("log") else None
        wanted = DOWN if self._is_normally_down() else UP
        self.main = Process(self, "main", wanted)
        self.log = Process(self, "log", wanted) if self.log_pipe is not None else None
        self._orphan = self._adopt()
        self._status = self._open("status", "status for writing", os.O_WRONLY | os.O_TRUNC | os.O_CREAT | place.LISTEN)
        self._control = self._fifo("control")
        self._control_writer = self._open("control", "control", place.SPEAK, doing="write")
        self.announce()
        self._ok = self._fifo("ok")

    def _take_lock(self) -> None:
        _make_directory(self.place)
        try:
            self._lock = files.open_lock(f"{self.place}/lock")
            mine = files.lock_exclusive(self._lock, wait=False)
        except OSError as error:
            raise fatal(PROG, f"unable to acquire {self.name}/{self.place}/lock", error) from error
        if not mine:
            raise fatal(PROG, f"unable to acquire {self.name}/{self.place}/lock", errno.EAGAIN)

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
        found = orphan.left_behind(f"{self.place}/status") if self.log is None else None
        if found is None:
            return -1
        told, fd = found
        self.main.adopt(told)
        return fd

    def _fifo(self, name: str) -> int:
        try:
            os.mkfifo(f"{self.place}/{name}", 0o600)
        except OSError:
            pass  # there already, most of the time; the open that follows decides
        return self._open(name, name, place.LISTEN, doing="read")

    def _open(self, name: str, what: str, flags: int, doing: str = "open") -> int:
        try:
            return os.open(f"{self.place}/{name}", flags, 0o644)
        except OSError as error:
            raise fatal(PROG, f"unable to {doing} {self.name}/{self.place}/{what}", error) from error

    def processes(self) -> list[Process]:
        """The log first: a logger must be there before what it logs."""
        return [self.main] if self.log is None else [self.log, self.main]

    def announce(self) -> None:
        """Write the status file, in place and in one write."""
        data = self.main.status() + (b"" if self.log is None else self.log.status())
        try:
            os.pwrite(self._status, data, 0)
        except OSError as error:
            warn(PROG, f"unable to write {self.name}/{self.place}/status", error)

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
            self.obey(AS_COMMANDS.get(number, b""))
        self._reap()
        self.obey(self._batch())
        now = time.monotonic()
        for process in self.processes():
            process.start_if_due(now)
        if self.exiting and self.log is not None and self.main.is_down():
            self.log.finish()

    def _is_over(self) -> bool:
        return self.exiting and all(process.is_down() for process in self.processes())

    def _patience(self) -> float | None:
        """Milliseconds to the next start that is waiting; None when there is none."""
        due = [process.due for process in self.processes() if process.due is not None]
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

    def _batch(self) -> bytes:
        """Every command in the fifo; after a trailing prefix, also what comes within a moment."""
        batch = b""
        while True:
            try:
                block = os.read(self._control, 512)
            except OSError:
                block = b""
            if block:
                batch += block
            elif batch[-1:] and batch[-1] in PREFIXES and self._more_commands():
                continue
            else:
                return batch

    def _more_commands(self) -> bool:
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        return bool(poller.poll(PREFIX_PATIENCE))

    def obey(self, commands: bytes) -> None:
        """Carry out one batch (daemontools 5.2); bytes that mean nothing are passed over."""
        target, group = self.main, False
        for byte in commands:
            if byte in PREFIXES:
                group = byte == 0x2B if byte in b"+=" else group
                if byte in b"Ll":
                    target = self.main if byte == 0x6C or self.log is None else self.log
            elif byte in WANTS:
                target.happen(WANTS[byte])
            elif byte == 0x78:
                self._prepare_to_exit()
            elif byte in b"pc":
                target.pause(byte == 0x70, group)
            elif byte in SIGNALS:
                target.kill(SIGNALS[byte], group)

    def _prepare_to_exit(self) -> None:
        """`x`: nothing is restarted from now on."""
        self.exiting = True
        for process in self.processes():
            process.forget_restart()

    def spawn(self, script: str, stdin: int | None, stdout: int | None) -> int:
        """Start ./SCRIPT; returns its pid. Raises OSError."""
        fds: dict[int, int] = {}
        if stdin is not None:
            fds[0] = stdin
        if stdout is not None:
            fds[1] = stdout
        return chain.spawn([f"./{script}"], self.env, fds, setsid=not os.path.lexists("no-setsid"))

    def notify(self, script: str, event: str, pid: int, code: int) -> None:
        """Tell an executable `notify`, which runs on its own."""
        if place.is_executable_file("notify"):
            try:
                chain.spawn(["./notify", script, event, str(pid), str(code)], self.env, {})
            except OSError as error:
                warn(PROG, f"unable to start {self.name}/notify", error)


def _make_directory(path: str) -> None:
    """`supervise/`, or the target of a link that leads nowhere yet. Trouble shows when the lock is opened."""
    calls: tuple[Callable[[], None], ...] = (
        lambda: os.mkdir(path, 0o700),
        lambda: os.mkdir(os.readlink(path), 0o700),
    )
    for call in calls if os.path.islink(path) else calls[:1]:
        try:
            call()
        except OSError:
            continue
