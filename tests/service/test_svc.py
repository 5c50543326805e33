"""svc, svok: what they send and say; beside Debian's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qserver.base.errors import Die
from qserver.commands import svc
from tests.service.services import WHO, program
from tests.support import environment, ours, run

OPTIONS = (
    b"svc options: + kill process group, = kill parent process, L kill log, l kill main, u up, d down, o once, x exit, "
    b"p pause, c continue, h hup, a alarm, i interrupt, t term, k kill, q quit, 1 SIGUSR1, 2 SIGUSR2, w SIGWINCH\n"
)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("", b"l"),
        ("u", b"lu"),
        ("dx", b"ldx"),
        ("xd", b"lxd"),
        ("ududd", b"lud"),
        ("l", b"ll"),
        ("dLd", b"ldLd"),
        ("dLdd+ld", b"ldLd+ld"),
        ("+t=t", b"l+t="),
        (svc.LETTERS, b"l+=Lludopchaitkwxq12"),
        ("Ll" * 15 + "L", b"l" + b"Ll" * 15 + b"L"),
        ("u" * 100, b"lu"),
    ],
)
def test_the_bytes_sent(given: str, sent: bytes) -> None:
    assert svc.letters(list(given)) == sent


@pytest.mark.parametrize("given", ["L" * 32, "Ll" * 15 + "Lu", "Ll" * 100])
def test_more_than_31_letters(given: str) -> None:
    with pytest.raises(Die, match=r"^svc: fatal: too many options$") as caught:
        svc.letters(list(given))
    assert caught.value.code == 100


@contextmanager
def listener(path: Path) -> Iterator[int]:
    """A fifo `control` that is read as supervise reads it."""
    (path / "supervise").mkdir(parents=True)
    os.mkfifo(path / "supervise" / "control", 0o600)
    fd = os.open(path / "supervise" / "control", os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def test_every_directory_gets_the_letters_and_trouble_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "dead" / "supervise").mkdir(parents=True)
    os.mkfifo(tmp_path / "dead" / "supervise" / "control")
    with listener(tmp_path / "a") as first, listener(tmp_path / "b" / "c") as second:
        done = run([ours("svc"), "-u", "-kx", "a", "no-such", "file", "none", "dead", "b/c"], cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, b"")
        assert os.read(first, 100) == os.read(second, 100) == b"lukx"
    assert done.stderr == (
        b"svc: warning: unable to chdir to no-such: file does not exist\n"
        b"svc: warning: unable to chdir to file: not a directory\n"
        b"svc: warning: unable to control none: file does not exist\n"
        b"svc: warning: unable to control dead: supervise not running\n"
    )


@pytest.mark.parametrize("who", WHO)
def test_warnings_are_c_s(tmp_path: Path, who: str) -> None:
    (tmp_path / "dead" / "supervise").mkdir(parents=True)
    os.mkfifo(tmp_path / "dead" / "supervise" / "control")
    done = run([program(who, "svc"), "-u", "no-such", "dead", "."], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == (
        b"svc: warning: unable to chdir to no-such: file does not exist\n"
        b"svc: warning: unable to control dead: supervise not running\n"
        b"svc: warning: unable to control .: file does not exist\n"
    )


def test_a_plain_file_as_control_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "supervise").mkdir()
    (tmp_path / "supervise" / "control").touch()
    assert run([ours("svc"), "-t", str(tmp_path)]).stderr == b""
    assert (tmp_path / "supervise" / "control").read_bytes() == b"lt"


def test_calls_without_effect() -> None:
    for words in ([], ["-u"]):
        done = run([ours("svc"), *words])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_wrong_calls() -> None:
    done = run([ours("svc"), "-uz", "."])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", b"svc: illegal option -- z\n" + OPTIONS)
    done = run([ours("svc"), "-" + "Ll" * 16, "."])
    assert (done.returncode, done.stderr) == (100, b"svc: fatal: too many options\n")


def test_supervise_elsewhere(tmp_path: Path) -> None:
    with listener(tmp_path / "elsewhere") as fd:
        env = environment(SUPERVISEDIR="elsewhere/supervise")
        assert run([ours("svc"), "-h", "."], cwd=tmp_path, env=env).stderr == b""
        assert os.read(fd, 100) == b"lh"


@pytest.mark.parametrize("who", WHO)
def test_svok(tmp_path: Path, who: str) -> None:
    svok = program(who, "svok")
    assert run([svok, "."], cwd=tmp_path).returncode == 100
    (tmp_path / "supervise").mkdir()
    assert run([svok, "."], cwd=tmp_path).returncode == 100
    os.mkfifo(tmp_path / "supervise" / "ok")
    done = run([svok, str(tmp_path)])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", b"")
    fd = os.open(tmp_path / "supervise" / "ok", os.O_RDONLY | os.O_NONBLOCK)
    done = run([svok, str(tmp_path)])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    os.close(fd)
    done = run([svok, "no-such"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"svok: fatal: unable to chdir to no-such: file does not exist\n")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "supervise").touch()
    done = run([svok, "odd"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"svok: fatal: unable to open odd/supervise/ok: not a directory\n")
    done = run([svok])
    assert (done.returncode, done.stderr) == (100, b"svok: usage: svok dir\n")
