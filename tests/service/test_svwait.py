"""svwait (daemontools 24.4), with real services and with status files of 0.76."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qserver.service.status import DOWN, FAILED, RUNNING, STARTED, STOPPED, STOPPING, UP, Status
from tests.service.services import Service, is_asleep, supervised
from tests.service.test_svup import told
from tests.support import environment, ours, peer, run, spawn, wait_for

USAGE = b"svwait: usage: svwait [ -u | -U | -d | -D ] [ -a | -o ] [ -t timeout ] dir ...\n"
TIMED_OUT = (99, b"svwait: fatal: timed out\n")


def svwait(*words: str | Path) -> tuple[int, bytes]:
    done = run([ours("svwait"), *map(str, words)])
    assert done.stdout == b""
    return done.returncode, done.stderr


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "svc")


def test_up_and_down(service: Service) -> None:
    with supervised(service):
        assert svwait(service.path) == svwait("-u", service.path) == svwait("-U", service.path) == (0, b"")
        assert svwait("-d", "-t", "1", service.path) == TIMED_OUT
        service.svc("d")
        assert svwait("-d", service.path) == svwait("-D", service.path) == (0, b"")
        assert svwait("-t", "150", service.path) == TIMED_OUT


def test_it_really_waits(service: Service) -> None:
    (service.path / "down").touch()
    with supervised(service):
        process = subprocess.Popen([ours("svwait"), "-t", "20000", str(service.path)], env=environment())
        wait_for(lambda: is_asleep(process.pid))
        assert process.poll() is None
        service.svc("u")
        assert process.wait(20) == 0


def test_ready_is_more_than_up(service: Service) -> None:
    os.mkfifo(service.path / "go")
    service.script("run", "#!/bin/sh\nread x < go\necho >&3\nexec sleep 1000\n")
    (service.path / "notification-fd").write_text("3\n")
    with supervised(service):
        assert svwait("-u", service.path) == (0, b"")
        assert svwait("-U", "-t", "100", service.path) == TIMED_OUT
        (service.path / "go").write_text("\n")
        assert svwait("-U", service.path) == (0, b"")


def test_down_may_be_before_the_end(service: Service) -> None:
    os.mkfifo(service.path / "go")
    service.script("finish", "#!/bin/sh\nread x < go\n")
    with supervised(service):
        service.up()
        service.svc("d")
        assert svwait("-d", service.path) == (0, b"")
        assert svwait("-D", "-t", "100", service.path) == TIMED_OUT
        (service.path / "go").write_text("\n")
        assert svwait("-D", service.path) == (0, b"")


def test_all_or_one(tmp_path: Path) -> None:
    one, two = Service(tmp_path / "one"), Service(tmp_path / "two")
    (two.path / "down").touch()
    with supervised(one), supervised(two):
        one.up()
        assert svwait("-o", one.path, two.path) == svwait("-ao", one.path, two.path) == (0, b"")
        assert svwait("-d", "-o", one.path, two.path) == (0, b"")
        assert svwait("-oa", "-t100", one.path, two.path) == TIMED_OUT
        two.svc("u")
        assert svwait("-du", one.path, two.path) == (0, b"")


@pytest.mark.parametrize(
    ("pid", "state", "reached"),
    [(7, RUNNING, "uU"), (0, STARTED, "uUd"), (0, STOPPED, "dD"), (0, FAILED, "dD"), (0, STOPPING, "d"), (0, RUNNING, "d"),
     (7, None, "uU"), (0, None, "dD"), (7, STOPPING, "uU")],
)  # fmt: skip
def test_what_each_state_is(tmp_path: Path, pid: int, state: int | None, reached: str) -> None:
    data = Status(1, pid, False, UP if pid else DOWN, state).pack()[: 18 if state is None else 20]
    with told(tmp_path / "svc", data):
        for letter in "uUdD":
            assert svwait(f"-{letter}", "-t1", tmp_path / "svc") == ((0, b"") if letter in reached else TIMED_OUT), letter


def test_no_supervise(tmp_path: Path, service: Service) -> None:
    for path in (tmp_path / "nowhere", service.path):
        assert svwait(path) == (102, b"svwait: fatal: supervise not running in %s\n" % bytes(path))
    with supervised(service) as supervise:
        process = subprocess.Popen([ours("svwait"), "-d", str(service.path)], env=environment(), stderr=subprocess.DEVNULL)
        wait_for(lambda: is_asleep(process.pid))
        supervise.kill()
        assert process.wait(20) == 102


def test_trouble(tmp_path: Path) -> None:
    with told(tmp_path / "svc", b"x" * 17):
        assert svwait(tmp_path / "svc") == (
            111, b"svwait: fatal: unable to read the status of %s: bad format\n" % bytes(tmp_path / "svc"),
        )  # fmt: skip
    (tmp_path / "plain").touch()
    assert svwait(tmp_path / "plain") == (
        111, b"svwait: fatal: unable to read the status of %s: not a directory\n" % bytes(tmp_path / "plain"),
    )  # fmt: skip


def test_wrong_calls() -> None:
    assert svwait() == svwait("-D", "-o") == (0, b"")
    for words in (["-t", "x", "."], ["-t-1", "."], ["-t", "", "."]):
        assert svwait(*words) == (100, USAGE)
    assert svwait("-x") == (100, b"svwait: illegal option -- x\n" + USAGE)
    assert svwait("-t") == (100, b"svwait: option requires an argument -- t\n" + USAGE)


def test_a_service_of_c(service: Service) -> None:
    with spawn([peer("supervise"), str(service.path)]):
        wait_for(service.is_supervised)
        assert svwait("-U", service.path) == (0, b"")
        run([peer("svc"), "-dx", str(service.path)])
