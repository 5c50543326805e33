"""What the tests share: our bin directory, running and watching processes, a qmail home, the peer programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))
PEER_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
T = TypeVar("T")


def environment(**extra: str) -> dict[str, str]:
    """A minimal environment with our commands first on PATH."""
    return {"PATH": f"{BIN}:{PEER_PATH}", "HOME": "/", "TZ": "UTC", **extra}


def ours(name: str) -> str:
    """The path of one of our commands."""
    return str(BIN / name)


def peer(name: str) -> str:
    """The path of a peer program (never ours); the test is skipped with its name where it is missing."""
    path = shutil.which(name, path=PEER_PATH)
    if path is None:
        pytest.skip(f"peer program not installed: {name}")
    return path


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    input: bytes | None = b"",
    cwd: Path | str | None = None,
    timeout: float = 20,
    preexec: Callable[[], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end with a time-out, output captured."""
    return subprocess.run(
        list(argv),
        env=dict(environment() if env is None else env),
        input=input,
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        check=False,
        preexec_fn=preexec,
        pass_fds=pass_fds,
    )


@contextmanager
def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own session that is ended, with all it started in that session, when the block ends."""
    process = subprocess.Popen(
        list(argv),
        env=dict(environment() if env is None else env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL, the process and its process group; reap it and close its pipes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def wait_for(condition: Callable[[], T], timeout: float = 10, every: float = 0.01) -> T:
    """Poll `condition` until it is true and return its value; fails the test at the time-out."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not true within {timeout} s: {condition}")
        time.sleep(every)


CONTROL = {
    "me": "mail.example.org",
    "locals": "mail.example.org\nexample.org",
    "rcpthosts": "mail.example.org\nexample.org",
    "defaultdomain": "example.org",
    "plusdomain": "example.org",
}


def make_home(path: Path, control: Mapping[str, str] = CONTROL) -> Path:
    """A qmail home for a test: control files, an empty queue, bin linked to our commands."""
    from qmail.queue import layout

    for name in ("control", "users", "alias", "run"):
        (path / name).mkdir(parents=True, exist_ok=True)
    for name, text in control.items():
        (path / "control" / name).write_text(text + "\n")
    if not (path / "bin").exists():
        (path / "bin").symlink_to(BIN)
    layout.make(str(path))
    return path
