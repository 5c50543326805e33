"""svscan at work: which services there are, which of their supervise processes run, and the pipes between them.

svscan holds both ends of every log pipe, so that no byte is lost while a supervise or a logger is away.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import time

from qserver.base import chain, signals, title
from qserver.base.errors import Die, say, warn
from qserver.service.pipes import DRAIN_INTERVAL, Drain, fill_standard_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROG = "svscan"
MOST_SERVICES = 1000
INTERVAL = 5.0
"""Seconds between two scans."""
SHUTDOWN_INTERVAL = 1.0
PAUSE = 1.0
"""Seconds between two starts of one supervise, at least."""
COULD_NOT_START = 111 << 8
"""Wait status of a supervise that had nothing to supervise: it is tried again no sooner than at the next scan."""
LONGEST_LOGGED_NAME = 255
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGHUP)


class Half:
    """One supervise: of the service or of its log."""

    __slots__ = ("due", "last", "pid", "told")

    def __init__(self) -> None:
        self.pid = 0
        self.last = 0.0
        """Monotonic time of its last start."""
        self.due = 0.0
        """Monotonic time before which it is not started."""
        self.told = False
        """TERM was sent, at shutdown."""

    def ended(self, status: int) -> None:
        """It is gone, with this wait status."""
        self.pid = 0
        self.due = self.last + (INTERVAL if status == COULD_NOT_START else PAUSE)


class Service:
    """A service directory, known by device and inode."""

    __slots__ = ("drain", "identity", "log", "main", "name", "ours", "pipe", "seen")

    def __init__(self, name: str, identity: tuple[int, int], pipe: tuple[int, int] | None, *, ours: bool = False) -> None:
        self.name = name
        self.identity = identity
        self.pipe = pipe
        self.ours = ours
        """It reads what svscan itself has to say."""
        self.main = Half()
        self.log = Half() if pipe is not None and not ours else None
        self.seen = True
        """The last scan found it."""
        self.drain: Drain | None = None

    def halves(self) -> list[Half]:
        """Main, and log if there is one."""
        return [self.main] if self.log is None else [self.main, self.log]

    def is_idle(self) -> bool:
        """Neither supervise runs."""
        return not any(half.pid for half in self.halves())

    def is_drained(self) -> bool:
        """Whether the logger has read what the service left behind; first asked when the service is gone."""
        if self.pipe is None:
            return True
        if self.drain is None:
            self.drain = Drain(self.pipe[0])
        return self.drain.is_over()


class Scanner:
    """The services of the current directory."""

    def __init__(self, env: dict[str, str]) -> None:
        fill_standard_descriptors()
        self._env = env
        self._wake = signals.WakeUp(CAUGHT)
        self._services: dict[tuple[int, int], Service] = {}
        self._first_output: tuple[int, ...] = ()
        """Descriptors 1 and 2 as they were before `start_log_service`."""
        self._next_scan = 0.0
        self._stopping = False
        self._title = title.setter()
        _preload(env)

    def start_log_service(self, name: str) -> None:
        """Start the service that reads our own messages, and from now on write them to it."""
        try:
            identity = _directory_identity(name)
        except OSError:
            return
        pipe = None if identity is None else self._pipe(name)
        if identity is None or pipe is None:
            return
        service = Service(name, identity, pipe, ours=True)
        self._services[identity] = service
        self._start(service, service.main)
        self._first_output = (os.dup(1), os.dup(2))
        os.dup2(pipe[1], 1)
        os.dup2(pipe[1], 2)
        say(f"{PROG}: info: starting")

    def run(self) -> int:
        """Scan for ever; returns after TERM, when no supervise is left."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        while True:
            self._reap()
            if self._stopping:
                if self._shut_down():
                    return 0
            elif time.monotonic() >= self._next_look():
                self._look()
            poller.poll(self._patience() * 1000 + 1)
            for number in self._wake.drain():
                self._heed(number)

    def _heed(self, number: int) -> None:
        """What a signal asks for."""
        if number in (signals.SIGTERM, signals.SIGINT):
            self._stopping = True
        elif number == signals.SIGHUP:
            self._next_scan = 0.0
            for service in self._services.values():
                for half in service.halves():
                    half.due = min(half.due, half.last + PAUSE)

    def _next_look(self) -> float:
        """When to scan again: in any case some seconds after the last time, sooner if a supervise is to be replaced."""
        return min([self._next_scan, *(half.due for _, half in self._missing())])

    def _patience(self) -> float:
        """Seconds until something is to be done."""
        if not self._stopping:
            return max(0.0, self._next_look() - time.monotonic())
        draining = any(service.drain for service in self._services.values() if not service.is_idle())
        return DRAIN_INTERVAL if draining else SHUTDOWN_INTERVAL

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self._services.values():
                for half in service.halves():
                    if half.pid == pid:
                        half.ended(status)

    def _look(self) -> None:
        """One scan: note new services, forget those that are gone and idle, start what does not run."""
        self._next_scan = time.monotonic() + INTERVAL
        try:
            names = os.listdir(".")
        except OSError as error:
            warn(PROG, "unable to read directory", error)
            return
        for service in self._services.values():
            service.seen = service.ours
        for name in names:
            if name[:1] != ".":
                self._see(name)
        for service in [service for service in self._services.values() if not service.seen and service.is_idle()]:
            self._forget(service)
        now = time.monotonic()
        for service, half in self._missing():
            if now >= half.due:
                self._start(service, half)

    def _see(self, name: str) -> None:
        """An entry of the directory: a service that is known, perhaps by another name, or a new one, or none."""
        try:
            identity = _directory_identity(name)
        except OSError as error:
            warn(PROG, f"unable to stat {name}", error)
            return
        if identity is None:
            return
        known = self._services.get(identity)
        if known is None:
            self._welcome(name, identity)
        elif not known.seen:
            known.seen = True
            known.name = name

    def _welcome(self, name: str, identity: tuple[int, int]) -> None:
        """A new service, with its pipe if it has a log."""
        if len(self._services) >= MOST_SERVICES:
            warn(PROG, f"unable to start {name}: running too many services")
            return
        logged = _has_log(name)
        pipe = self._pipe(name) if logged else None
        if logged is False or pipe is not None:
            self._services[identity] = Service(name, identity, pipe)

    def _pipe(self, name: str) -> tuple[int, int] | None:
        try:
            return os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            warn(PROG, f"unable to create pipe for {name}", error)
            return None

    def _forget(self, service: Service) -> None:
        for fd in service.pipe or ():
            os.close(fd)
        del self._services[service.identity]

    def _missing(self) -> list[tuple[Service, Half]]:
        """Every supervise that ought to run and does not."""
        return [
            (service, half)
            for service in self._services.values()
            if service.seen
            for half in service.halves()
            if not half.pid
        ]

    def _start(self, service: Service, half: Half) -> None:
        """Fork one supervise. Signals wait meanwhile: one meant for the child must not end up in our pipe of signals."""
        half.last = time.monotonic()
        half.due = half.last + INTERVAL
        signals.block(*CAUGHT)
        try:
            half.pid = os.fork()
        except OSError as error:
            warn(PROG, f"unable to fork for {_shown(service, half)}", error)
        else:
            if half.pid == 0:
                self._become_supervise(service, half)
        signals.unblock_all()

    def _become_supervise(self, service: Service, half: Half) -> NoReturn:
        """In the forked child: leave nothing of svscan behind, then run supervise."""
        name = "log" if half is service.log else service.name
        try:
            self._wake.close()
            signals.unblock_all()
            self._connect(service, half)
            if half is service.log:
                os.chdir(service.name)
            chain.find("supervise", self._env.get("PATH"))
            self._title(f"supervise {name}")
            chain.execute(["supervise", name], self._env, PROG)
        except OSError as error:
            trouble: BaseException | None = error
        except Die as death:
            trouble = death.__cause__
        warn(PROG, f"unable to start supervise {_shown(service, half)}", trouble if isinstance(trouble, OSError) else None)
        os._exit(111)

    def _connect(self, service: Service, half: Half) -> None:
        """Put the pipe where it belongs and close all others. Who reads our messages does not write to its own pipe."""
        if service.ours:
            for number, fd in enumerate(self._first_output, 1):
                os.dup2(fd, number)
        if service.pipe is not None:
            if service.ours or half is service.log:
                os.dup2(service.pipe[0], 0)
            else:
                os.dup2(service.pipe[1], 1)
        for other in self._services.values():
            for fd in other.pipe or ():
                os.close(fd)
        for fd in self._first_output:
            os.close(fd)

    def _shut_down(self) -> bool:
        """TERM to every main supervise, then, when that is gone, to its log's; True when none is left."""
        running = [service for service in self._services.values() if not service.is_idle()]
        for service in running:
            if service.ours and (len(running) > 1 or not service.is_drained()):
                continue  # who reads our messages goes last
            if service.main.pid:
                _terminate(service.main)
            elif service.log is not None and service.is_drained():
                _close_writing_end(service)
                _terminate(service.log)
        return not running


def _terminate(half: Half) -> None:
    if not half.told:
        half.told = True
        os.kill(half.pid, signals.SIGTERM)


def _close_writing_end(service: Service) -> None:
    """From now on a logger in the middle of a line finds the end of its input instead of waiting for the rest."""
    if service.pipe is not None:
        null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, service.pipe[1], inheritable=False)
        os.close(null)


def _shown(service: Service, half: Half) -> str:
    """How messages call one supervise."""
    return f"{service.name}/log" if half is service.log else service.name


def _directory_identity(name: str) -> tuple[int, int] | None:
    """Device and inode, symbolic links followed; None for what is no directory. Raises OSError."""
    info = os.stat(name)
    return (info.st_dev, info.st_ino) if info.st_mode & 0o170000 == 0o040000 else None


def _has_log(name: str) -> bool | None:
    """Whether NAME/log is a directory; None when one cannot know now."""
    if len(os.fsencode(name)) > LONGEST_LOGGED_NAME:
        return False
    try:
        return os.stat(f"{name}/log").st_mode & 0o170000 == 0o040000
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        warn(PROG, f"unable to stat {name}/log", error)
        return None


def _preload(env: dict[str, str]) -> None:
    """Import what a forked supervise needs, if it is ours that PATH finds: so all of them share that memory."""
    try:
        if env.get("QSERVER_EXEC") != "1" and chain.own_command(chain.find("supervise", env.get("PATH"))) == "supervise":
            chain.load("supervise")
    except OSError:
        return
    gc.freeze()
