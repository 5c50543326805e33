"""NAME
    svscanboot - start svscan, with its complaints visible in ps
SYNOPSIS
    svscanboot [ servicedir ]
DESCRIPTION
    Ends supervise processes that an earlier svscan has left in servicedir, then runs svscan there, with its messages shown
    by readproctitle. Runs until both have ended; TERM and INT end svscan in its orderly way. The environment of both is
    nothing but PATH, standard input and output are /dev/null. For systemd:

        [Service]
        ExecStart=/usr/local/bin/svscanboot /service
        Restart=always
        KillMode=mixed
ENVIRONMENT
    SVDIR  servicedir, if there is no argument; else it is /service
EXIT
    0 all has ended; 111 a program cannot be started (daemontools 4)
"""

from __future__ import annotations

import os
import select

from qserver.base import chain, signals
from qserver.base.errors import Die, fatal

PATH = "/command:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin:/usr/X11R6/bin"
DEFAULT_DIRECTORY = "/service"
ROOM = "." * 400
CAUGHT = (signals.SIGCHLD, signals.SIGTERM, signals.SIGINT)


def main(argv: list[str], env: dict[str, str]) -> int:
    """Start the pipeline and wait for its end."""
    directory = argv[1] if len(argv) > 1 else env.get("SVDIR") or DEFAULT_DIRECTORY
    own = chain.bin_directory()
    env = {"PATH": f"{own}:{PATH}" if own else PATH}
    _be_silent()
    wake = signals.WakeUp(CAUGHT)
    _end_stale(directory, env)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        shower = chain.spawn(["readproctitle", "service", "errors:", ROOM], env, {0: reader})
        os.close(reader)
        svscan = chain.spawn(["svscan", directory], env, {1: writer, 2: writer})
    except OSError as error:
        raise fatal("svscanboot", "unable to start svscan", error) from error
    os.close(writer)
    _wait(wake, svscan, {svscan, shower})
    return 0


def _be_silent() -> None:
    """Descriptors 0, 1 and 2 become /dev/null."""
    try:
        null = os.open("/dev/null", os.O_RDWR)
    except OSError as error:
        raise fatal("svscanboot", "unable to open /dev/null", error) from error
    for fd in range(3):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def _end_stale(directory: str, env: dict[str, str]) -> None:
    """svc -dx for every service there is and its log; whether there is anything to be told is svc's affair."""
    try:
        names = sorted(name for name in os.listdir(directory) if name[:1] != ".")
    except OSError:
        return
    services = [f"{directory}/{name}" for name in names]
    logs = [f"{service}/log" for service in services if os.path.exists(f"{service}/log")]
    if services:
        try:
            os.waitpid(chain.spawn(["svc", "-dx", *services, *logs], env, {}), 0)
        except OSError as error:
            raise Die(f"svscanboot: fatal: unable to run svc: {error.strerror}", 111) from error


def _wait(wake: signals.WakeUp, svscan: int, running: set[int]) -> None:
    """Until all have ended; TERM and INT are passed on to svscan, which ends the rest."""
    poller = select.poll()
    poller.register(wake.fileno(), select.POLLIN)
    while running:
        poller.poll()
        told = {number for number in wake.drain() if number != signals.SIGCHLD}
        if told and svscan in running:
            os.kill(svscan, signals.SIGTERM)
        running -= _ended(running)


def _ended(running: set[int]) -> set[int]:
    return {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]}
