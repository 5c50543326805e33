"""svscan and supervise against Debian's daemontools: idle cost, memory, restarts, how soon a command takes effect."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from bench import servers
from bench.measure import Contender, Row, interleave
from bench.plan import Figures, Plan
from qserver.service import status
from qserver.service.status import Status

MANY = 200
IDLE_SECONDS = 20.0
PATIENCE = 60.0
TICK = 0.001
RUN = "#!/bin/sh\nexec sleep 100000\n"
SIDES = (("qserver", True), ("daemontools (C)", False))


class Services:
    """svscan with `count` services of sleep, ours or Debian's."""

    def __init__(self, scan: Path, svscan: psutil.Process, directories: list[Path]) -> None:
        self.scan = scan
        self.svscan = svscan
        self.directories = directories

    def supervises(self) -> list[psutil.Process]:
        """Its children."""
        return self.svscan.children()

    def status(self, directory: Path) -> Status | None:
        """What the status file says; None while there is none."""
        try:
            return status.unpack((directory / "supervise" / "status").read_bytes()[: status.SIZE])
        except OSError:
            return None

    def pid(self, directory: Path) -> int:
        """The pid of the service, 0 if it is down."""
        told = self.status(directory)
        return 0 if told is None else told.pid

    def await_pids(self, old: dict[Path, int]) -> int:
        """Wait until every service runs as another process than before; how many never did."""
        deadline = time.monotonic() + PATIENCE
        missing = dict(old)
        while missing and time.monotonic() < deadline:
            missing = {directory: pid for directory, pid in missing.items() if self.pid(directory) in (0, pid)}
            time.sleep(0.01)
        return len(missing)

    def descriptors(self) -> int:
        """Open descriptors of svscan and all supervises."""
        return sum(process.num_fds() for process in [self.svscan, *self.supervises()])


@contextmanager
def scanning(count: int, *, ours: bool) -> Iterator[Services]:
    """All services are up; at the end none is left."""
    with tempfile.TemporaryDirectory() as top:
        scan = Path(top)
        directories = [scan / f"s{number:04}" for number in range(count)]
        for directory in directories:
            directory.mkdir()
            (directory / "run").write_text(RUN)
            (directory / "run").chmod(0o755)
        program = str(servers.BIN / "svscan") if ours else servers.peer("svscan")
        path = servers.environment()["PATH"] if ours else "/usr/bin:/bin"
        process = subprocess.Popen(
            [program, str(scan)], env={**servers.environment(), "PATH": path}, stdin=subprocess.DEVNULL, start_new_session=True
        )
        services = Services(scan, psutil.Process(process.pid), directories)
        try:
            if services.await_pids(dict.fromkeys(directories, 0)):
                raise RuntimeError("not all services came up")
            yield services
        finally:
            _end(services, process, ours)


def _end(services: Services, process: subprocess.Popen[bytes], ours: bool) -> None:
    """svscan first (C's dies at once), then every service and its supervise."""
    process.terminate()
    process.wait(PATIENCE)
    if not ours:
        subprocess.run([servers.peer("svc"), "-dx", *map(str, services.directories)], check=True)
    deadline = time.monotonic() + PATIENCE
    while any(map(services.pid, services.directories)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _private(process: psutil.Process) -> int:
    """KiB that no other process shares."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))


def _cpu_seconds(services: Services) -> float:
    processes = [services.svscan, *services.supervises()]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def idle(plan: Plan) -> Figures:
    """200 services of sleep: CPU while nothing happens, private memory of each supervise."""
    cpu, memory = [], []
    for name, ours in SIDES:
        with scanning(MANY, ours=ours) as services:
            used, start = _cpu_seconds(services), time.monotonic()
            time.sleep(IDLE_SECONDS * min(1.0, plan.scale))
            percent = (_cpu_seconds(services) - used) / (time.monotonic() - start) * 100
            private = [_private(process) for process in services.supervises()]
            cpu.append(Contender(name, lambda: 0.0, [percent]))
            memory.append(Contender(name, lambda: 0.0, [value / 1024 for value in private]))
    yield Row(f"svscan with {MANY} services, idle: CPU of all", "% of a core", cpu[0], None, 1.0, goal_is_at_most=True)
    yield Row("the same by the C programs", "% of a core", cpu[1], None, None)
    yield Row("private memory per supervise", "MiB", memory[0], None, 3.0, goal_is_at_most=True)
    yield Row("the same of the C program", "MiB", memory[1], None, None)


def _restart(services: Services) -> float:
    """Milliseconds from kill -9 of a service that has only just started to its successor."""
    directory = services.directories[0]
    old = services.pid(directory)
    os.kill(old, signal.SIGKILL)
    _await(lambda: services.pid(directory) not in (0, old))
    old = services.pid(directory)
    start = time.perf_counter()
    os.kill(old, signal.SIGKILL)
    _await(lambda: services.pid(directory) not in (0, old))
    return (time.perf_counter() - start) * 1000


def _down(svc: str, services: Services) -> float:
    """Milliseconds from the start of svc -d until the service is down."""
    directory = services.directories[0]
    _await(lambda: services.pid(directory))
    start = time.perf_counter()
    subprocess.run([svc, "-d", str(directory)], check=True)
    _await(lambda: services.pid(directory) == 0)
    took = (time.perf_counter() - start) * 1000
    subprocess.run([svc, "-u", str(directory)], check=True)
    _await(lambda: services.pid(directory))
    time.sleep(1.1)  # C's supervise obeys nothing for a second after a start
    return took


def _await(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not true within {PATIENCE} s: {condition}")
        time.sleep(TICK)


def reactions(plan: Plan) -> Figures:
    """How soon a killed service is back, and how soon svc -d takes effect."""
    with scanning(1, ours=True) as here, scanning(1, ours=False) as there:
        for workload, figure, goal in (
            ("restart of a service killed right after its start", _restart, 1100.0),
            ("svc -d until the service is down", None, 50.0),
        ):
            sides = []
            for services, (name, ours) in zip((here, there), SIDES, strict=True):
                svc = str(servers.BIN / "svc") if ours else servers.peer("svc")
                sides.append(Contender(name, partial(figure or partial(_down, svc), services)))
            interleave(sides, plan.rounds)
            yield Row(workload, "ms", sides[0], None, goal, goal_is_at_most=True)
            yield Row("the same by the C programs", "ms", sides[1], None, None)


def kills(plan: Plan) -> Figures:
    """10,000 kills of 200 services in turn: restarts that never came, descriptors that were left open."""
    rounds = plan.count(50)
    with scanning(MANY, ours=True) as services:
        before, missed = services.descriptors(), 0
        for _ in range(rounds):
            old = {directory: services.pid(directory) for directory in services.directories}
            for pid in old.values():
                os.kill(pid, signal.SIGKILL)
            missed += services.await_pids(old)
        leaked = services.descriptors() - before
    for what, figure in (("restarts missed", missed), ("descriptors leaked", leaked)):
        row = Contender("qserver", lambda: 0.0, [float(figure)])
        yield Row(f"{what} in {rounds * MANY} kills", "", row, None, 0.0, goal_is_at_most=True)
