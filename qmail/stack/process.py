"""Starting, watching and stopping the stack's processes.

svscan runs in a session of its own. The service `guard` (a process of ours under supervise like every other) starts
svscan again should it die, so that no single kill takes the stack down.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from qmail.queue import handover
from qmail.stack.facts import Facts, Paths, ServiceFacts
from qmail.stack.layout import command
from qmail.stack.services import LOG_OF_SVSCAN, SERVICES
from qserver.base import chain

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
GREETINGS = {service.name: service.greeting for service in SERVICES}


class NotReady(Exception):
    """A service did not answer in time; the text says which and where its log is."""


@contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """One starting or stopping at a time. Raises BlockingIOError when another is at work."""
    paths.run.mkdir(parents=True, exist_ok=True)
    fd = os.open(paths.lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def svscan_process(paths: Paths) -> psutil.Process | None:
    """The running svscan of this stack, or None. The pid file holds its start time too, so a reused pid is no match."""
    try:
        pid, _, started = paths.pid_file.read_text().partition(" ")
        process = psutil.Process(int(pid))
        if process.status() != psutil.STATUS_ZOMBIE and f"{process.create_time():.2f}" == started.strip():
            return process
    except (OSError, ValueError, psutil.Error):
        return None
    return None


def start_svscan(paths: Paths) -> psutil.Process:
    """Start svscan, detached, its own messages going to LOG/svscan; returns the process."""
    env = chain.environment()
    env["PATH"] = f"{chain.bin_directory()}:{env.get('PATH', chain.DEFAULT_PATH)}"
    child = subprocess.Popen(
        [command("svscan"), str(paths.service), LOG_OF_SVSCAN],
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process = psutil.Process(child.pid)
    temporary = paths.pid_file.with_suffix(".new")
    temporary.write_text(f"{child.pid} {process.create_time():.2f}\n")
    os.replace(temporary, paths.pid_file)
    return process


def service_pid(paths: Paths, name: str) -> int:
    """The pid in a service's supervise/status; 0 when it is down or supervise does not run."""
    directory = paths.service / name / "supervise"
    if not _has_reader(directory / "ok"):
        return 0
    try:
        return int.from_bytes((directory / "status").read_bytes()[12:16], "little")
    except OSError:
        return 0


def _has_reader(fifo: Path) -> bool:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def answers(paths: Paths, service: ServiceFacts) -> bool:
    """Whether a service does its work: a server greets, qmail-send listens to its trigger, another one runs."""
    if not service_pid(paths, service.name):
        return False
    if service.name == "qmail-send":
        return _has_reader(paths.qmail / "queue/lock/trigger") and _accepts_unix(paths.queue_socket)
    greeting = GREETINGS.get(service.name, b"")
    return not greeting or _greets(service, greeting)


def _accepts_unix(path: Path) -> bool:
    try:
        handover.connect(os.fspath(path)).close()
    except OSError:
        return False
    return True


def _greets(service: ServiceFacts, greeting: bytes) -> bool:
    try:
        with socket.create_connection((service.host, service.port), timeout=5) as client:
            seen = client.recv(512).startswith(greeting)
            client.sendall(b"QUIT\r\n")
            return seen
    except OSError:
        return False


def wait_ready(paths: Paths, facts: Facts, timeout: float = READY_TIMEOUT) -> None:
    """Wait until every service answers, noting each one's pid. Raises NotReady."""
    deadline = time.monotonic() + timeout
    for service in facts.services:
        while not answers(paths, service):
            if svscan_process(paths) is None:
                raise NotReady(f"svscan ended; see {paths.log}/svscan/current")
            if time.monotonic() > deadline:
                raise NotReady(f"{service.name} does not answer; see {paths.log}/{service.name}/current")
            time.sleep(0.02)
        service.pid = service_pid(paths, service.name)


def family(paths: Paths) -> list[psutil.Process]:
    """svscan, all below it, and processes of this stack that lost it.

    These are found by their directory, which is in the home; nobody's shell there is taken for one: they have no terminal.
    """
    found: dict[int, psutil.Process] = {}
    top = svscan_process(paths)
    roots = [top] if top else []
    prefixes = tuple(f"{place}/" for place in (paths.service, paths.qmail, paths.log, paths.users))
    for process in psutil.process_iter():
        try:
            if (process.cwd() + "/").startswith(prefixes) and process.terminal() is None:
                roots.append(process)
        except psutil.Error:
            continue
    me = os.getpid()
    for root in roots:
        try:
            for process in [root, *root.children(recursive=True)]:
                if process.pid != me:
                    found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def stop(paths: Paths, timeout: float = STOP_TIMEOUT) -> int:
    """End the stack in order: guard, then svscan, which ends services and then their logs.

    What is left at the time-out is killed; returns how many processes that were.
    """
    members = family(paths)
    send_commands(paths, b"d", ["guard"])  # not x: svscan would start its supervise again
    wait_until(lambda: not service_pid(paths, "guard"), 3)
    top = svscan_process(paths)
    if top is None:
        every = [service.name for service in SERVICES]
        send_commands(paths, b"dx", [*every, *(f"{name}/log" for name in every), LOG_OF_SVSCAN])
    else:
        top.terminate()
    _, alive = psutil.wait_procs(members, timeout=timeout)
    left = {process.pid: process for process in [*alive, *family(paths)]}
    for process in left.values():
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    psutil.wait_procs(list(left.values()), timeout=5)
    for leftover in (paths.pid_file, paths.queue_socket):
        leftover.unlink(missing_ok=True)
    return len(left)


def send_commands(paths: Paths, commands: bytes, names: list[str]) -> None:
    """What `svc` does, silently, for each service directory whose supervise runs."""
    for name in names:
        try:
            fd = os.open(paths.service / name / "supervise" / "control", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            os.write(fd, commands)
        finally:
            os.close(fd)


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def guard(paths: Paths) -> int:
    """Watch svscan; when it dies, end what it left behind, as svscanboot does at a boot, and start it again."""
    top = svscan_process(paths)
    if top is not None:
        _wait_for_end(top.pid)
    others = [service.name for service in SERVICES if service.name != "guard"]
    logs = [*(f"{name}/log" for name in others), LOG_OF_SVSCAN]
    send_commands(paths, b"dx", [*others, *logs])
    wait_until(lambda: not any(_has_reader(paths.service / name / "supervise/ok") for name in [*others, LOG_OF_SVSCAN]), 2)
    start_svscan(paths)
    # this guard's own supervise is one of the orphans: it leaves the place to the new svscan's
    send_commands(paths, b"dx", ["guard", "guard/log"])
    signal.pause()
    return 0


def _wait_for_end(pid: int) -> None:
    """Block until the process is gone (pidfd; woken by the kernel, no polling)."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([fd], [], [])
    finally:
        os.close(fd)
