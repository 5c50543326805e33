"""supervise at work: carries out what the table in `machine` says for the main process and, if there is one, its log."""

from __future__ import annotations

import errno
import os
import select
import time

from qserver.base import files, signals
from qserver.base.errors import fatal, warn
from qserver.service import channel, detail, machine, orphan, place
from qserver.service.children import CAUGHT, Children
from qserver.service.commands import Commands
from qserver.service.needs import Needs
from qserver.service.pipes import DRAIN_INTERVAL, Drain
from qserver.service.process import Process
from qserver.service.status import DOWN, STOPPING, UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROG = "supervise"
WRITTEN = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | place.LISTEN


class Supervisor:
    """One service directory, which is the current one; `base` is the one that supervise was started in.

    Raises Die in its constructor, with daemontools' words.
    """

    def __init__(self, name: str, env: dict[str, str], base: str) -> None:
        self.name = name
        self.exiting = False
        self._place, self._shown = _place_of(name, env)
        self._lock = self._take_lock()
        self._wake = signals.WakeUp(CAUGHT)
        self._log_pipe = self._make_log_pipe()
        self.children = Children(name, env, self._log_pipe)
        self.needs = Needs(name, base, env)
        wanted = DOWN if self._is_normally_down() else UP
        self.main = Process(self, "main", wanted)
        self.log = Process(self, "log", wanted) if self._log_pipe is not None else None
        self._drain: Drain | None = None
        self._orphan = self._adopt()
        self._told: dict[int, bytes] = {}
        """Descriptor → what was last written there."""
        self._status = self._open("status", "open", WRITTEN, " for writing")
        self._detail = self._open_detail()
        self._control = self._fifo("control")
        self._control_writer = self._open("control", "write", place.SPEAK)
        self._commands = Commands(self._control, self.main, self.log, self._prepare_to_exit)
        self.announce()
        self._ok = self._fifo("ok")
        self._poller = select.poll()
        self._watched: dict[int, Callable[[], None]] = {}

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
        self.main.adopt(told, detail.read(self._place))
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

    def _open_detail(self) -> int:
        """-1, with a warning, where it cannot be: nothing depends on it."""
        try:
            return os.open(f"{self._place}/detail", WRITTEN, 0o644)
        except OSError as error:
            warn(PROG, f"unable to open {self._shown}/detail for writing", error)
            return -1

    def processes(self) -> list[Process]:
        """The log first: a logger must be there before what it logs."""
        return [self.main] if self.log is None else [self.log, self.main]

    def announce(self) -> None:
        """Write the status file, and what it has no room for, where they have changed: in place, in one write each."""
        data = self.main.status() + (b"" if self.log is None else self.log.status())
        self._tell(self._status, data)
        if self._detail >= 0:
            self._tell(self._detail, self.main.detail.pack())

    def _tell(self, fd: int, data: bytes) -> None:
        if self._told.get(fd) == data:
            return
        try:
            os.pwrite(fd, data, 0)
            self._told[fd] = data
        except OSError as error:
            warn(PROG, "unable to write status", error)

    def run(self) -> int:
        """Supervise until the exit flag is set and nothing runs."""
        self._watch(self._wake.fileno(), self._heed_signals)
        self._watch(self._control, self._commands.read)
        if self._orphan >= 0:
            self._watch(self._orphan, self._bury)
        for process in self.processes():
            if process.want == UP and not process.pid:
                process.happen(machine.WANT_UP)
        while not self._is_over():
            self._watch_channels()
            for fd, _ in self._poller.poll(self._patience()):
                if fd in self._watched:  # still, after what came before it
                    self._watched[fd]()
            self._turn()
        self.announce()
        self.children.sockets.close()
        return 0

    def _watch(self, fd: int, call: Callable[[], None]) -> None:
        if fd not in self._watched:
            self._watched[fd] = call
            self._poller.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def _watch_channels(self) -> None:
        """The ways in which the service says that it is ready, as its latest start has left them."""
        if self.children.pipe.fd >= 0:
            self._watch(self.children.pipe.fd, self._read_pipe)
        if self.children.datagrams is not None:
            self._watch(self.children.datagrams.fileno(), self._read_datagrams)

    def _read_pipe(self) -> None:
        ready, over = self.children.pipe.read()
        if ready:
            self.main.become_ready()
        if ready or over:
            self.close_pipe()

    def close_pipe(self) -> None:
        """No word is expected any more."""
        self._forget(self.children.pipe.fd)
        self.children.pipe.close()

    def _read_datagrams(self) -> None:
        if self.children.datagrams is None:
            return
        own_session = self.children.own_session()
        for sender, text in self.children.datagrams.read():
            if channel.says_ready(text) and self.main.pid and channel.belongs(sender, self.main.pid, own_session=own_session):
                self.main.become_ready()

    def _bury(self) -> None:
        """The process we took over has ended; how, only the one who reaped it knows."""
        self._forget(self._orphan)
        os.close(self._orphan)
        self._orphan = -1
        self.main.ended(0)

    def _heed_signals(self) -> None:
        for number in self._wake.drain():
            self._commands.heed(number)

    def _turn(self) -> None:
        """Ends of children, starts and ends that are due."""
        self._reap()
        now = time.monotonic()
        for process in self.processes():
            process.tick(now)
        self._end_log()

    def _is_over(self) -> bool:
        return self.exiting and all(process.is_down() for process in self.processes())

    def _patience(self) -> float | None:
        """Milliseconds to the next moment of a process, or the next look at the pipe; None when there is neither."""
        moments = [moment for process in self.processes() for moment in process.moments()]
        if self._drain is not None:
            moments.append(time.monotonic() + DRAIN_INTERVAL)
        return max(0.0, (min(moments) - time.monotonic()) * 1000 + 1) if moments else None

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
                elif process.finisher == pid:
                    process.finished(status)

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

    def _prepare_to_exit(self) -> None:
        """`x`: nothing is restarted from now on."""
        self.exiting = True
        for process in self.processes():
            process.happen(machine.LEAVE)


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
