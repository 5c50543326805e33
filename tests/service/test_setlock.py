"""setlock beside Debian's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.service.services import WHO, program
from tests.support import run, spawn, wait_for

USAGE = b"setlock: usage: setlock [ -nNxX ] file program [ arg ... ]\n"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("words", [[], ["file"], ["-n"], ["-nx", "file"]])
def test_wrong_calls(who: str, words: list[str], tmp_path: Path) -> None:
    done = run([program(who, "setlock"), *words], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (100, USAGE)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_option(tmp_path: Path) -> None:
    done = run([program("ours", "setlock"), "-nq", "file", "true"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (100, b"setlock: illegal option -- q\n" + USAGE)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("flags", ["-n", "-nX", "-Nn", "-nxX", "-xnX", "-nx", "-n -x", "-NxXnx"])
def test_a_locked_file(who: str, flags: str, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    done = run([program(who, "setlock"), *flags.split(), "lock", "echo", "never"], cwd=tmp_path)
    os.close(lock)
    silent = flags.replace("-", "").replace(" ", "").rstrip("nN").endswith("x")
    complaint = b"setlock: fatal: unable to lock lock: temporary failure\n"
    assert (done.returncode, done.stdout, done.stderr) == ((0, b"", b"") if silent else (111, b"", complaint))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("flags", [[], ["-N"], ["-nN"], ["-xN"]])
def test_waiting_for_the_lock(who: str, flags: list[str], tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with spawn([program(who, "setlock"), *flags, "lock", "echo", "got it"], cwd=tmp_path) as process:
        wait_for(lambda: "/lock" in _files_of(process.pid))
        assert process.poll() is None
        os.close(lock)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"got it\n", b"")


def _files_of(pid: int) -> str:
    """The open files of a process, as text."""
    try:
        return " ".join(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return ""


@pytest.mark.parametrize("who", WHO)
def test_the_program_holds_the_lock_on_a_descriptor(who: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("kept")
    script = 'readlink /proc/$$/fd/* 2>/dev/null | grep -c "/lock$"; "$0" -n lock true; echo $?; exit 7'
    done = run([program(who, "setlock"), "lock", "sh", "-c", script, program(who, "setlock")], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (7, b"1\n111\n")
    assert done.stderr == b"setlock: fatal: unable to lock lock: temporary failure\n"
    assert (tmp_path / "lock").read_text() == "kept"


@pytest.mark.parametrize("who", WHO)
def test_the_file_is_made_for_its_owner(who: str, tmp_path: Path) -> None:
    def no_umask() -> None:
        os.umask(0)

    assert run([program(who, "setlock"), "lock", "true"], cwd=tmp_path, preexec=no_umask).returncode == 0
    assert (tmp_path / "lock").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("who", WHO)
def test_options_behind_the_file_belong_to_the_program(who: str, tmp_path: Path) -> None:
    done = run([program(who, "setlock"), "lock", "echo", "-n", "-q", "-x"], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"-q -x", b"")


@pytest.mark.parametrize("who", WHO)
def test_what_cannot_be_opened_or_run(who: str, tmp_path: Path) -> None:
    setlock = program(who, "setlock")
    done = run([setlock, "no/lock", "true"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"setlock: fatal: unable to open no/lock: file does not exist\n")
    done = run([setlock, "-x", "no/lock", "true"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run([setlock, ".", "true"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"setlock: fatal: unable to open .: is a directory\n")
    done = run([setlock, "-x", "lock", "./no-such"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"setlock: fatal: unable to run ./no-such: file does not exist\n")
