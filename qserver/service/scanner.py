"""svscan at work: which services there are, which of their supervise processes run, and the pipes between them.

svscan holds both ends of every log pipe, so that no byte is lost while a supervise or a logger is away. What it does when is
in the tables of `pair`.
"""

from __future__ import annotations

import gc
import os
import select
import time

from qserver.base import chain, signals, title
from qserver.base.errors import Die, say, warn
from qserver.service import sockets
from qserver.service.pair import (
    DISMISS,
    HUP,
    HURRY,
    INTERVAL,
    LOOK,
    SCANNER,
    SCANNING,
    STOPPING,
    TERM,
    TIME,
    Half,
    Service,
    directory_identity,
    end_of,
    has_log,
)
from qserver.service.pipes import DRAIN_INTERVAL, fill_standard_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PROG = "svscan"
MOST_SERVICES = 1000
SHUTDOWN_INTERVAL = 1.0
"""Seconds between two looks at what is still running."""
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT, signals.SIGHUP)
EVENTS: dict[int, str] = {signals.SIGTERM: TERM, signals.SIGINT: TERM, signals.SIGHUP: HUP}


class Scanner:
    """The services of the current directory."""

    def __init__(self, env: dict[str, str]) -> None:
        fill_standard_descriptors()
        self._handed = sockets.inherited(env)
        self._env = sockets.without(env) if self._handed else env
        self._wake = signals.WakeUp(CAUGHT)
        self._services: dict[tuple[int, int], Service] = {}
        self._first_output: tuple[int, ...] = ()
        """Descriptors 1 and 2 as they were before `start_log_service`."""
        self._next_scan = 0.0
        self._state = SCANNING
        self._over = False
        self._title = title.setter()
        _preload(env)

    def start_log_service(self, name: str) -> None:
        """Start the service that reads our own messages, and from now on write them to it."""
        try:
            identity = directory_identity(name)
        except OSError:
            return
        pipe = None if identity is None else self._pipe(name)
        if identity is None or pipe is None:
            return
        service = Service(name, identity, pipe, ours=True)
        self._services[identity] = service
        service.main.happen(LOOK)
        self._fork(service, service.main)
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
            if self._state == STOPPING or time.monotonic() >= self._next_look():
                self._happen(TIME)
            if self._over:
                return 0
            poller.poll(self._patience() * 1000 + 1)
            for number in self._wake.drain():
                if number in EVENTS:
                    self._happen(EVENTS[number])

    def _happen(self, event: str) -> None:
        action = SCANNER.get((self._state, event))
        if action is not None:
            getattr(self, action)()

    def stop(self) -> None:
        """From now on supervises are only ended."""
        self._state = STOPPING

    def hurry(self) -> None:
        """Scan at once, and start as soon as may be what is away."""
        self._next_scan = 0.0
        for service in self._services.values():
            for half in service.halves():
                half.happen(HURRY)

    def _next_look(self) -> float:
        """When to scan again: in any case some seconds after the last time, sooner if a supervise is to be replaced."""
        return min([self._next_scan, *(half.due for _, half in self._missing())])

    def _patience(self) -> float:
        """Seconds until something is to be done."""
        if self._state == SCANNING:
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
                        half.happen(end_of(status))

    def look(self) -> None:
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
            if now >= half.due and half.happen(LOOK):
                self._fork(service, half)

    def _see(self, name: str) -> None:
        """An entry of the directory: a service that is known, perhaps by another name, or a new one, or none."""
        try:
            identity = directory_identity(name)
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
        logged = has_log(name)
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
            (service, half) for service in self._services.values() if service.seen for half in service.halves() if not half.pid
        ]

    def _fork(self, service: Service, half: Half) -> None:
        """Start one supervise. Signals wait meanwhile: one meant for the child must not end up in our pipe of signals."""
        signals.block(*CAUGHT)
        try:
            pid = os.fork()
        except OSError as error:
            warn(PROG, f"unable to fork for {service.shown(half)}", error)
        else:
            if pid == 0:
                self._become_supervise(service, half)
            half.started(pid)
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
            env = self._env
            if self._handed:
                env = sockets.hand_over(self._handed, "" if half is service.log else service.name, env)
            chain.find("supervise", env.get("PATH"))
            self._title(f"supervise {name}")
            chain.execute(["supervise", name], env, PROG)
        except OSError as error:
            trouble: BaseException | None = error
        except Die as death:
            trouble = death.__cause__
        warn(PROG, f"unable to start supervise {service.shown(half)}", trouble if isinstance(trouble, OSError) else None)
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

    def shut_down(self) -> None:
        """TERM to every main supervise, then, when that is gone, to its log's; over when none is left."""
        running = [service for service in self._services.values() if not service.is_idle()]
        for service in running:
            if service.ours and (len(running) > 1 or not service.is_drained()):
                continue  # who reads our messages goes last
            if service.main.pid:
                service.main.happen(DISMISS)
            elif service.log is not None and service.is_drained():
                service.close_writing_end()
                service.log.happen(DISMISS)
        self._over = not running


def _preload(env: dict[str, str]) -> None:
    """Import what a forked supervise needs, if it is ours that PATH finds: so all of them share that memory."""
    try:
        if env.get("QSERVER_EXEC") != "1" and chain.own_command(chain.find("supervise", env.get("PATH"))) == "supervise":
            chain.load("supervise")
    except OSError:
        return
    gc.freeze()
