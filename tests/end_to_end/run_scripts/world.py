"""The world seen from outside, by a test that may enter its network and read its files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.run_scripts import kernel
from tests.support import BIN, PEER_PATH, ROOT, end, environment, peer, run, wait_for

LIFETIME = 240
"""Seconds after which a world ends whatever happens."""
NAMESPACES = ("--mount", "--net", "--uts", "--pid")
LISTENING = "0A"
OURS_FIRST = f"{BIN}:{PEER_PATH}"


class World:
    """A running world; `init` is its first process as we see it."""

    def __init__(self, init: int) -> None:
        self.init = init
        self.root = Path(f"/proc/{init}/root")

    def path(self, name: str) -> Path:
        """A file of the world; symbolic links in it that are absolute do not lead there."""
        return self.root / name.lstrip("/")

    @contextmanager
    def network(self) -> Iterator[None]:
        """The calling thread, and what it starts, is in the world's network."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{self.init}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.enter_network(there)
            yield
        finally:
            kernel.enter_network(home)
            os.close(home)
            os.close(there)

    def run(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the world."""
        enter = [peer("nsenter"), "--target", str(self.init), *NAMESPACES, "--root", "--wd"]
        return run([*enter, "--", *argv], env=environment())

    def ours(self, name: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run one of our commands in the world."""
        return self.run(str(BIN / name), *words)

    def ports(self) -> set[int]:
        """The TCP ports somebody listens on, at every address."""
        lines = Path(f"/proc/{self.init}/net/tcp6").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        return {int(local.rpartition(":")[2], 16) for _, local, _, state, *_ in fields if state == LISTENING}

    def log(self, name: str) -> str:
        """A service's log without the labels of its lines."""
        current = self.path(f"/var/log/{name}/current")
        text = current.read_text(errors="replace") if current.exists() else ""
        return re.sub(r"^@[0-9a-f]{24} ", "", text, flags=re.MULTILINE)

    def processes(self) -> list[psutil.Process]:
        """All but the first one."""
        try:
            return psutil.Process(self.init).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def commands(self) -> list[list[str]]:
        """The command lines of the processes that have not ended."""
        found = []
        for process in self.processes():
            try:
                found.append(process.cmdline())
            except psutil.NoSuchProcess:
                continue
        return [words for words in found if words]

    def service_pid(self, name: str) -> int:
        """In the world; 0 while the service is down."""
        number = re.search(rb": up \(pid (\d+)\)", self.ours("svstat", f"/service/{name}").stdout)
        return int(number[1]) if number else 0

    def service(self, name: str) -> psutil.Process:
        """The process that `run` became."""
        pid = self.service_pid(name)
        return next(process for process in self.processes() if inner_pid(process) == pid)

    def maildir(self, name: str) -> Path:
        """Of alice or bob."""
        return self.path(f"/var/users/{name}/Maildir")

    def messages(self, name: str) -> list[Path]:
        """Everything in new/ and cur/."""
        return [path for part in ("new", "cur") for path in (self.maildir(name) / part).iterdir()]


def inner_pid(process: psutil.Process) -> int:
    """A process's pid in its own namespace; 0 where it has just ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def identity(process: psutil.Process) -> tuple[int, int, list[int]]:
    """Effective uid, gid and supplementary groups."""
    groups = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("Groups:"))
    return process.uids().effective, process.gids().effective, [int(word) for word in groups.split()[1:]]


def skip_unless_possible(unshare: Sequence[str]) -> None:
    """Every account must be able to reach our commands, and namespaces must be allowed."""
    for directory in {parent for file in (BIN, ROOT, Path(sys.executable).resolve()) for parent in (file, *file.parents)}:
        if not directory.stat().st_mode & 1:
            pytest.skip(f"not open to every account: {directory}")
    tried = run([*unshare, "--mount-proc", "true"])
    if tried.returncode != 0:
        pytest.skip(tried.stderr.decode().strip())


@contextmanager
def created(directory: Path, services: Sequence[str], path: str = OURS_FIRST, **variables: str) -> Iterator[World]:
    """A world with these services under the first svscan of a PATH, which gets variables; nothing of it is left at the end."""
    command = [peer("unshare"), "--fork", "--kill-child", *NAMESPACES]
    skip_unless_possible(command)
    first = [sys.executable, "-m", "tests.end_to_end.run_scripts.inside", str(directory), str(BIN), str(LIFETIME)]
    process = subprocess.Popen(
        [*command, *first, *services],
        cwd=ROOT,
        env={"PATH": path, "TZ": "UTC", **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    world: World | None = None
    try:
        assert process.stdout.readline() == b"ready\n"
        world = World(psutil.Process(process.pid).children()[0].pid)
        yield world
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        end(process)  # unshare takes its child, and with it the world, along
    wait_for(lambda: not psutil.pid_exists(world.init))
