"""A running stack for end-to-end tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import environment, ours, run

START_TIMEOUT = 60


class Stack:
    """A stack that `qmailctl up` started, seen through stack.json."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.queue = home / "qmail" / "queue"

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return facts

    def service(self, name: str) -> dict[str, Any]:
        return next(dict(item) for item in self.facts()["services"] if item["name"] == name)

    def address(self, name: str) -> tuple[str, int]:
        service = self.service(name)
        return service["host"], service["port"]

    @property
    def smtp(self) -> tuple[str, int]:
        return self.address("qmail-smtpd")

    @property
    def pop3(self) -> tuple[str, int]:
        return self.address("qmail-pop3d")

    def user(self, name: str) -> dict[str, str]:
        return next(dict(item) for item in self.facts()["users"] if item["address"].startswith(f"{name}@"))

    def maildir(self, name: str) -> Path:
        return Path(self.user(name)["maildir"])

    def messages(self, name: str) -> list[Path]:
        """Everything in new/ and cur/ of a user."""
        return [path for part in ("new", "cur") for path in (self.maildir(name) / part).iterdir()]

    def queued(self) -> int:
        """Messages still in the queue."""
        return sum(1 for _ in (self.queue / "mess").glob("*/*"))

    def log(self, name: str) -> str:
        current = self.home / "log" / name / "current"
        return current.read_text(errors="replace") if current.exists() else ""

    def ctl(self, *words: str, timeout: float = START_TIMEOUT) -> subprocess.CompletedProcess[bytes]:
        return run([ours("qmailctl"), words[0], "--home", str(self.home), *words[1:]], timeout=timeout)

    def processes(self) -> list[psutil.Process]:
        """Every process of this stack: svscan and what stands below it."""
        found = {}
        try:
            pid = int((self.home / "run" / "svscan.pid").read_text().split()[0])
            top = psutil.Process(pid)
            for process in [top, *top.children(recursive=True)]:
                found[process.pid] = process
        except (OSError, ValueError, psutil.Error):
            pass
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(self.home)):
                    found[process.pid] = process
            except psutil.Error:
                continue
        return list(found.values())


@contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that every account can reach (pytest's own are closed to all but their owner)."""
    path = Path(tempfile.mkdtemp(prefix="qserver-test-", dir="/var/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def started(home: Path, *words: str) -> Iterator[Stack]:
    """`qmailctl up`, and at the end `qmailctl stop`, after which nothing of it may run."""
    stack = Stack(home)
    up = stack.ctl("up", "--ports", "free", "--address", "127.0.0.1", *words)
    try:
        assert up.returncode == 0, up.stderr.decode() + up.stdout.decode()
        yield stack
    finally:
        stopped = stack.ctl("stop")
        left = stack.processes()
        for process in left:
            process.send_signal(signal.SIGKILL)
    assert stopped.returncode == 0, stopped.stderr
    assert not left, f"left running: {left}"


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every account can reach."""
    with open_directory() as path:
        yield path


@pytest.fixture
def stack(open_path: Path) -> Iterator[Stack]:
    """A stack of one's own."""
    with started(open_path / "home") as running:
        yield running


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    """One stack for all tests of a module that leave it as it was."""
    with open_directory() as path, started(path / "home") as running:
        yield running


def plain_environment() -> dict[str, str]:
    """For the clients."""
    return environment(HOME="/nonexistent", USER=os.environ.get("USER", "root"))
