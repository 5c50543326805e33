"""svup (daemontools 9): real services, and status files of every kind with only `ok` held open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qserver.service.status import DOWN, FAILED, RUNNING, STARTED, STARTING, STOPPED, STOPPING, UP, Status
from tests.service.services import Service, supervised
from tests.support import ours, peer, run, spawn, wait_for


def svup(path: Path | str, *options: str) -> tuple[int, bytes]:
    done = run([ours("svup"), *options, str(path)])
    assert done.stdout == b""
    return done.returncode, done.stderr


@contextmanager
def told(path: Path, data: bytes) -> Iterator[None]:
    """A directory whose supervise has written this status."""
    (path / "supervise").mkdir(parents=True, exist_ok=True)
    (path / "supervise" / "status").write_bytes(data)
    if not (path / "supervise" / "ok").exists():
        os.mkfifo(path / "supervise" / "ok")
    fd = os.open(path / "supervise" / "ok", os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield
    finally:
        os.close(fd)


def block(pid: int, state: int) -> bytes:
    return Status(1, pid, False, UP if pid else DOWN, state).pack()


@pytest.mark.parametrize(
    ("pid", "state", "code"),
    [(5, RUNNING, 0), (0, RUNNING, 0), (0, STARTED, 0), (0, STOPPED, 100), (0, FAILED, 100), (0, STARTING, 100),
     (0, STOPPING, 100), (5, STOPPING, 0), (5, STARTING, 0), (0, 77, 100)],
)  # fmt: skip
def test_every_state(tmp_path: Path, pid: int, state: int, code: int) -> None:
    with told(tmp_path, block(pid, state)):
        assert svup(tmp_path) == svup(tmp_path, "-l") == (code, b"")
        assert svup(tmp_path, "-L") == (100, b"")


@pytest.mark.parametrize(("main", "log"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_with_a_log_both_must_be_up(tmp_path: Path, main: int, log: int) -> None:
    with told(tmp_path, block(main, RUNNING if main else STOPPED) + block(log, RUNNING if log else STOPPED)):
        assert svup(tmp_path)[0] == (0 if main and log else 100)
        assert svup(tmp_path, "-l")[0] == svup(tmp_path, "-Ll")[0] == (0 if main else 100)
        assert svup(tmp_path, "-L")[0] == svup(tmp_path, "-lL")[0] == (0 if log else 100)


def test_what_0_76_wrote(tmp_path: Path) -> None:
    with told(tmp_path, block(9, RUNNING)[:18]):
        assert svup(tmp_path) == (0, b"")
    with told(tmp_path, block(0, RUNNING)[:18]):
        assert svup(tmp_path) == (100, b"")


def test_troubles(tmp_path: Path) -> None:
    assert svup(tmp_path) == (100, b"")
    assert svup(tmp_path / "x") == (111, b"svup: fatal: unable to chdir to %s: file does not exist\n" % bytes(tmp_path / "x"))
    with told(tmp_path, b"x" * 17):
        assert svup(tmp_path) == (111, b"svup: fatal: bad data in supervise/status: truncated file\n")
    assert svup(tmp_path) == (100, b"")
    with told(tmp_path, b""):
        (tmp_path / "supervise" / "status").unlink()
        assert svup(tmp_path) == (100, b"")
        (tmp_path / "supervise" / "status").mkdir()
        assert svup(tmp_path) == (111, b"svup: fatal: unable to open supervise/status: is a directory\n")
    done = run([ours("svup")])
    assert (done.returncode, done.stderr) == (100, b"svup: usage: svup [-L] [-l] dir\n")
    done = run([ours("svup"), "-x", "."])
    assert (done.returncode, done.stderr) == (100, b"svup: illegal option -- x\nsvup: usage: svup [-L] [-l] dir\n")


def test_real_services(tmp_path: Path) -> None:
    service = Service(tmp_path / "svc")
    with supervised(service):
        service.up()
        assert svup(service.path) == (0, b"")
        service.svc("d")
        service.reaches(lambda told: told.pid == 0)
        assert svup(service.path) == (100, b"")


def test_a_service_of_c(tmp_path: Path) -> None:
    service = Service(tmp_path / "svc")
    with spawn([peer("supervise"), str(service.path)]):
        wait_for(service.is_supervised)
        wait_for(lambda: svup(service.path) == (0, b""))
        run([peer("svc"), "-dx", str(service.path)])
