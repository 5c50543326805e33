"""Words of daemontools that no ordinary day brings up."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from qserver.service import pair, scanner
from qserver.service.scanner import Scanner
from tests.support import environment, ours, peer, run


def test_the_options_of_svc() -> None:
    done = run([ours("svc"), "-y", "."])
    assert done.returncode == 100
    assert done.stderr.decode() == (
        "svc: illegal option -- y\nsvc options: + kill process group, = kill parent process, L kill log, l kill main, u up, "
        "d down, o once, x exit, p pause, c continue, h hup, a alarm, i interrupt, t term, k kill, q quit, 1 SIGUSR1, "
        "2 SIGUSR2, w SIGWINCH\n"
    )


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_commands_that_cannot_be_written(tmp_path: Path, who: str) -> None:
    (tmp_path / "supervise").mkdir()
    (tmp_path / "supervise" / "control").symlink_to("/dev/full")
    done = run([ours("svc") if who == "ours" else peer("svc"), "-u", str(tmp_path)])
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"svc: warning: error writing commands to {tmp_path}: out of disk space\n"


def test_no_descriptor_for_a_pipe(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"s{number:02}" / "log").mkdir(parents=True)
    line = f"ulimit -n 20; exec {ours('svscan')} {tmp_path}"
    with subprocess.Popen(
        ["/bin/sh", "-c", line], env={**environment(), "PATH": "/nowhere"}, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None
        said = next(text for text in process.stderr if b"pipe" in text)
        process.terminate()
        assert said.startswith(b"svscan: warning: unable to create pipe for s")
        assert said.endswith(b": process cannot open more files\n")
        process.stderr.read()
        assert process.wait(20) == 0


def test_no_process_for_a_supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "svc" / "log").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def none() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    made = Scanner(environment())
    monkeypatch.setattr(os, "fork", none)
    try:
        made.look()
        assert capfd.readouterr().err == (
            "svscan: warning: unable to fork for svc: temporary failure\n"
            "svscan: warning: unable to fork for svc/log: temporary failure\n"
        )
        (service,) = made._services.values()
        assert [half.state for half in service.halves()] == [pair.ABSENT, pair.ABSENT]
        assert all(half.due > half.last for half in service.halves())
    finally:
        made._wake.close()
    assert scanner.MOST_SERVICES == 1000


@pytest.mark.root
@pytest.mark.parametrize("name", ["setuidgid", "setuser"])
def test_an_identity_that_the_kernel_refuses(name: str) -> None:
    """Root without the right to change its user."""
    drop = "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 7); os.execv(sys.argv[1], sys.argv[1:])"
    done = run(["/usr/bin/python3", "-c", drop, ours(name), "daemon", "true"])
    assert (done.returncode, done.stdout) == (111, b"")
    assert done.stderr.decode() == f"{name}: fatal: unable to setuid: permission denied\n"
