"""svscan at work: which services there are, which of their supervise processes run, and the pipes between them.

svscan holds both ends of every log pipe, so that no byte is lost while a supervise or a logger is away.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time

from qserver.base import chain, signals
from qserver.base.errors import Die, say, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

PROG = "svscan"
MOST_SERVICES = 1000
INTERVAL = 5.0
"""Seconds between two scans."""
SHUTDOWN_INTERVAL = 1.0
DRAIN_INTERVAL = 0.02
PAUSE = 1.0
"""Seconds between two starts of one supervise, at least."""
LONGEST_LOGGED_NAME = 255
FIONREAD = 0x541B
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGHUP)


class Half:
    """One supervise: of the service or of its log."""

    __slots__ = ("last", "pid", "told")

    def __init__(self) -> None:
        self.pid = 0
        self.last = 0.0
        self.told = False
        """TERM was sent, at shutdown."""


class Service:
    """A service directory, known by device and inode."""

    __slots__ = ("identity", "log", "main", "name", "pipe", "seen")

    def __init__(self, name: str, identity: tuple[int, int], pipe: tuple[int, int] | None) -> None:
        self.name = name
        self.identity = identity
        self.pipe = pipe
        self.main = Half()
        self.log = Half() if pipe is not None else None
        self.seen = True

    def halves(self) -> list[Half]:
        """Main, and log if there is one."""
        return [self.main] if self.log is None else [self.main, self.log]

    def is_ours(self) -> bool:
        """It reads what svscan itself has to say."""
        return self.pipe is not None and self.log is None

    def is_idle(self) -> bool:
        """Neither supervise runs."""
        return not any(half.pid for half in self.halves())


class Scanner:
    """The services of the current directory."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._wake = signals.WakeUp(CAUGHT)
        self._services: dict[tuple[int, int], Service] = {}
        self._stopping = False
        self._title = _title_setter()

    def start_log_service(self, name: str) -> None:
        """Start the service that reads our own messages, and from now on write them to it."""
        try:
            info = os.stat(name)
        except OSError:
            return
        if info.st_mode & 0o170000 != 0o040000:
            return
        pipe = self._pipe(name)
        if pipe is None:
            return
        os.dup2(pipe[1], 1)
        os.dup2(pipe[1], 2)
        service = Service(name, (info.st_dev, info.st_ino), pipe)
        self._services[service.identity] = service
        self._start(service, service.main, None, pipe[0])
        service.log = None
        say(f"{PROG}: info: starting")

    def run(self) -> int:
        """Scan for ever; returns after TERM, when no supervise is left."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        next_scan = 0.0
        while True:
            self._reap()
            now = time.monotonic()
            if now >= next_scan:
                next_scan = now + INTERVAL
                self._look()
            elif not self._stopping:
                self._start_missing()
            if self._stopping and self._shut_down():
                return 0
            wait = SHUTDOWN_INTERVAL if self._stopping else max(0.0, min(next_scan, self._next_restart()) - now)
            poller.poll(wait * 1000 + 1)
            for number in self._wake.drain():
                if number in (signals.SIGTERM, signals.SIGINT):
                    self._stopping = True
                if number != signals.SIGCHLD:
                    next_scan = 0.0

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self._services.values():
                for half in service.halves():
                    if half.pid == pid:
                        half.pid = 0

    def _look(self) -> None:
        """One scan: note new services, forget those that are gone and idle, start what does not run."""
        if self._stopping:
            return
        for service in self._services.values():
            service.seen = service.name[:1] == "."
        try:
            names = os.listdir(".")
        except OSError as error:
            warn(PROG, "unable to read directory", error)
            return
        for name in names:
            if name[:1] != ".":
                self._see(name)
        for service in [service for service in self._services.values() if not service.seen and service.is_idle()]:
            self._forget(service)
        self._start_missing()

    def _see(self, name: str) -> None:
        try:
            info = os.stat(name)
        except OSError as error:
            warn(PROG, f"unable to stat {name}", error)
            return
        if info.st_mode & 0o170000 != 0o040000:
            return
        identity = (info.st_dev, info.st_ino)
        known = self._services.get(identity)
        if known is not None:
            known.seen = True
            return
        if len(self._services) >= MOST_SERVICES:
            warn(PROG, f"unable to start {name}: running too many services")
            return
        logged = _has_log(name)
        if logged is None:
            return
        pipe = self._pipe(name) if logged else None
        if logged and pipe is None:
            return
        self._services[identity] = Service(name, identity, pipe)

    def _pipe(self, name: str) -> tuple[int, int] | None:
        try:
            return os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            warn(PROG, f"unable to create pipe for {name}", error)
            return None

    def _forget(self, service: Service) -> None:
        for fd in service.pipe or ():
            if fd >= 0:
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

    def _next_restart(self) -> float:
        """When the first of those that died may be started again."""
        return min((half.last + PAUSE for _, half in self._missing()), default=float("inf"))

    def _start_missing(self) -> None:
        now = time.monotonic()
        for service, half in self._missing():
            if now < half.last + PAUSE and half.last:
                continue
            pipe = service.pipe
            if half is service.log:
                self._start(service, half, service.name, pipe[0] if pipe else None)
            elif service.log is None:
                self._start(service, half, None, pipe[0] if pipe else None)
            else:
                self._start(service, half, None, None, pipe[1] if pipe else None)

    def _start(
        self, service: Service, half: Half, inside: str | None, stdin: int | None, stdout: int | None = None
    ) -> None:
        """Fork the supervise of a service, or (`inside` = its directory) of its log."""
        half.last = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            warn(PROG, f"unable to fork for {service.name}", error)
            return
        if pid:
            half.pid = pid
            return
        self._become_supervise(service.name if inside is None else "log", inside, stdin, stdout)

    def _become_supervise(self, name: str, inside: str | None, stdin: int | None, stdout: int | None) -> NoReturn:
        """In the forked child: leave nothing of svscan behind, then run supervise."""
        shown = name if inside is None else f"{inside}/log"
        try:
            self._wake.close()
            if stdin is not None:
                os.dup2(stdin, 0)
            if stdout is not None:
                os.dup2(stdout, 1)
            for service in self._services.values():
                for fd in service.pipe or ():
                    if fd >= 0:
                        os.close(fd)
            if inside is not None:
                os.chdir(inside)
            chain.find("supervise", self._env.get("PATH"))
            self._title(f"supervise {name}")
            chain.execute(["supervise", name], self._env, PROG)
        except Die as death:
            say(death.text.replace("fatal: unable to run supervise", f"warning: unable to start supervise {shown}"))
        except OSError as error:
            warn(PROG, f"unable to start supervise {shown}", error)
        os._exit(111)

    def _shut_down(self) -> bool:
        """TERM to every main supervise, then, when that is gone, to its log's; True when none is left."""
        services = [service for service in self._services.values() if not service.is_idle()]
        for service in services:
            if service.main.pid:
                if not service.is_ours() or len(services) == 1:  # who reads our messages goes last
                    _terminate(service.main)
            elif service.log is not None and self._drained(service):
                _terminate(service.log)
        return not services

    def _drained(self, service: Service) -> bool:
        """Close our writing end; whether the logger has read all there was, or had a second for it."""
        pipe = service.pipe
        if pipe is None:
            return True
        if pipe[1] >= 0:
            os.close(pipe[1])
            service.pipe = (pipe[0], -1)
        left = fcntl.ioctl(pipe[0], FIONREAD, b"\0" * 4)
        return left == b"\0" * 4


def _terminate(half: Half) -> None:
    if not half.told:
        half.told = True
        os.kill(half.pid, signals.SIGTERM)


def _has_log(name: str) -> bool | None:
    """Whether NAME/log is a directory; None when one cannot know now."""
    if len(os.fsencode(name)) > LONGEST_LOGGED_NAME:
        return False
    try:
        return os.stat(f"{name}/log").st_mode & 0o170000 == 0o040000
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        warn(PROG, f"unable to stat {name}/log", error)
        return None


def _title_setter() -> Callable[[str], None]:
    """How to name a forked supervise for ps; nothing where the optional library is not installed."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return lambda title: None
    return setproctitle
