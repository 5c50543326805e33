"""Service directories for tests: making them, running supervise in them, looking at them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from qserver.service import status
from qserver.service.status import SIZE, Status
from tests.support import BIN, environment, ours, peer, run, wait_for

WHO = ("ours", "theirs")
SLEEP = "#!/bin/sh\nexec sleep 1000\n"
RECORDER = f"""#!{BIN}/python -IS
import os, signal
fd = os.open("got", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def note(number, frame):
    os.write(fd, signal.Signals(number).name.encode() + b"\\n")
for name in "HUP ALRM INT TERM QUIT USR1 USR2 WINCH CONT".split():
    signal.signal(getattr(signal, "SIG" + name), note)
os.write(fd, b"ready\\n")
while True:
    signal.pause()
"""
"""A run script that writes the names of the signals it gets to `got`, and ends only by KILL."""
NOTIFY = '#!/bin/sh\necho "$@" >> events\n'


def program(who: str, name: str) -> str:
    """Our command, or the C program of that name (the test is skipped where that is missing)."""
    return ours(name) if who == "ours" else peer(name)


class Service:
    """One service directory, by its path."""

    def __init__(self, path: Path, run_script: str | None = SLEEP) -> None:
        self.path = path
        path.mkdir(parents=True)
        if run_script is not None:
            self.script("run", run_script)

    def script(self, name: str, text: str, mode: int = 0o755) -> None:
        """Put an executable file there, in one step."""
        temporary = self.path / f".{name}.new"
        temporary.write_text(text)
        temporary.chmod(mode)
        temporary.rename(self.path / name)

    def svc(self, letters: str, who: str = "ours") -> None:
        """Send commands."""
        done = run([program(who, "svc"), f"-{letters}", str(self.path)])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

    def svstat(self, who: str = "ours", *options: str) -> str:
        """What svstat says, without the name of the directory."""
        done = run([program(who, "svstat"), *options, str(self.path)])
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode().replace(f"{self.path}: ", "", 1)

    def is_supervised(self) -> bool:
        """svok's answer."""
        return run([ours("svok"), str(self.path)]).returncode == 0

    def status(self, block: int = 0) -> Status:
        """The main block of the status file, or (1) that of the log process."""
        data = (self.path / "supervise" / "status").read_bytes()[block * SIZE :]
        told = status.unpack(data)
        assert told is not None, data
        return told

    def reaches(self, condition: Callable[[Status], object], block: int = 0, timeout: float = 10) -> Status:
        """Wait for a state."""
        seen: list[Status] = []

        def reached() -> bool:
            try:
                seen[:] = [self.status(block)]
            except (OSError, AssertionError):  # not yet written
                return False
            return bool(condition(seen[0]))

        wait_for(reached, timeout)
        return seen[0]

    def up(self, other_than: int = 0, block: int = 0) -> int:
        """Wait until a process runs that is another than the one known; returns its pid."""
        return self.reaches(lambda told: told.pid not in (0, other_than), block).pid

    def lines(self, name: str) -> list[str]:
        """The lines of a file of the service; none while it is not there."""
        try:
            return (self.path / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def messages(self) -> list[str]:
        """What supervise has said."""
        return self.lines("../stderr")

    def read(self, name: str) -> str:
        """The whole of a file that a script writes in one step or not at all; waits for it."""
        return wait_for(lambda: (self.path / name).read_text() if (self.path / name).exists() else "")

    def pids(self) -> list[int]:
        """The processes told of by the status file."""
        try:
            data = (self.path / "supervise" / "status").read_bytes()
        except OSError:
            return []
        blocks = [status.unpack(data[:SIZE]), status.unpack(data[SIZE:])]
        return [told.pid for told in blocks if told is not None and told.pid]


def facts(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session, …"""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def is_gone(pid: int) -> bool:
    """Whether a process has ended, if perhaps nobody has reaped it yet."""
    try:
        return facts(pid)[0] == "Z"
    except OSError:
        return True


def is_asleep(pid: int) -> bool:
    """Whether it waits for something to happen."""
    return facts(pid)[0] == "S"


def switches(pid: int) -> int:
    """How often a process has gone to sleep or been made to."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


@contextmanager
def supervised(
    service: Service, who: str = "ours", *, env: Mapping[str, str] | None = None, name: str | None = None, wait: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """A supervise in the service's directory, until the end of the block; its messages go to `../stderr`."""
    with open(service.path.parent / "stderr", "ab") as stderr, open(service.path.parent / "stdout", "ab") as stdout:
        process = subprocess.Popen(
            [program(who, "supervise"), str(service.path) if name is None else name],
            env=dict(env or environment()),
            cwd=service.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        if wait:
            wait_for(service.is_supervised)
            wait_for(lambda: len((service.path / "supervise" / "status").read_bytes()) >= status.OLD_SIZE)
        yield process
    finally:
        leave(process, [service])


def leave(process: subprocess.Popen[bytes], services: list[Service]) -> None:
    """End a supervise or svscan and, whatever state they are in, its services."""
    deadline = time.monotonic() + 10
    process.terminate()
    while process.poll() is None and time.monotonic() < deadline:
        for service in services:
            for pid in service.pids():
                _kill_group(pid)
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    if process.poll() is None:
        process.kill()
        process.wait(5)
    for service in services:
        for pid in service.pids():
            _kill_group(pid)


def _kill_group(pid: int) -> None:
    """The process and its group, if it has one of its own."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, signal.SIGKILL)
        except OSError:
            continue
