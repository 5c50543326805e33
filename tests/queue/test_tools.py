"""qmail-clean, qmail-qread and qmail-qstat."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import environment, ours, run, spawn


def put(home: Path, *paths: str, data: bytes = b"") -> None:
    for path in paths:
        (home / "queue" / path).write_bytes(data)


def there(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home / "queue")) for path in home.glob("queue/*/*/*"))


def clean(home: Path, commands: bytes) -> subprocess.CompletedProcess[bytes]:
    return run([ours("qmail-clean")], env=environment(QMAILHOME=str(home)), input=commands)


ALL = ("intd/17/40", "mess/17/40", "todo/17/40", "mess/0/23")


@pytest.mark.parametrize(
    ("command", "answer", "left"),
    [
        (b"foop/40\0", b"+", ["mess/0/23", "todo/17/40"]),
        (b"foop/17/40\0", b"+", ["mess/0/23", "todo/17/40"]),
        (b"todo/40\0", b"+", ["mess/0/23", "mess/17/40"]),
        (b"todo/17/40\0", b"+", ["mess/0/23", "mess/17/40"]),
        (b"foop/41\0", b"+", sorted(ALL)),
        (b"foop/4\0foop/x\0todo/\0bar1/40\0mess/40\0FOOP/40\0\0foop/4 \0foop/-1\0", b"+xxxxxxxx", sorted(ALL)),
        (b"foop/" + b"0" * 94 + b"\0", b"+", sorted(ALL)),
        (b"foop/" + b"0" * 95 + b"\0", b"x", sorted(ALL)),
        (b"foop/40\0todo/40\0foop/23\0", b"+++", []),
        (b"foop/40", b"", sorted(ALL)),
        (b"", b"", sorted(ALL)),
    ],
)
def test_clean(home: Path, command: bytes, answer: bytes, left: list[str]) -> None:
    put(home, *ALL)
    done = clean(home, command)
    assert (done.returncode, done.stdout, done.stderr) == (0, answer, b"")
    assert there(home) == left


def test_clean_answers_at_once(home: Path) -> None:
    with spawn([ours("qmail-clean")], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(70):
            os.write(process.stdin.fileno(), b"foop/40\0")
            assert os.read(process.stdout.fileno(), 10) == b"+"
        process.stdin.close()
        assert process.wait(10) == 0


def test_clean_says_what_it_could_not_remove(home: Path) -> None:
    put(home, "mess/17/40")
    (home / "queue" / "intd" / "17" / "40").mkdir()
    done = clean(home, b"foop/40\0foop/41\0")
    assert (done.returncode, done.stdout) == (0, b"!+")
    assert there(home) == ["intd/17/40", "mess/17/40"]  # it stops at the first


def test_clean_collects_old_pid_files(home: Path) -> None:
    old = time.time() - 129_700
    for name, when in (("old", old), ("young", old + 300), (".hidden", old)):
        put(home, f"pid/{name}")
        os.utime(home / "queue" / "pid" / name, (when, time.time()))
    assert clean(home, b"").returncode == 0
    assert sorted(os.listdir(home / "queue" / "pid")) == [".hidden", "young"]


def test_clean_collects_again_after_thirty_commands(home: Path) -> None:
    with spawn([ours("qmail-clean")], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        stale = home / "queue" / "pid" / "stale"
        for number in range(32):
            os.write(process.stdin.fileno(), b"foop/40\0")
            assert os.read(process.stdout.fileno(), 10) == b"+"
            if number == 0:
                stale.touch()
                os.utime(stale, (0, 0))
            if number == 20:
                assert stale.exists()
        assert not stale.exists()


def test_clean_without_a_queue_and_without_a_reader(home: Path, tmp_path: Path) -> None:
    assert clean(tmp_path, b"").returncode == 111
    with spawn([ours("qmail-clean")], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"foop/40\0")
        process.stdin.flush()
        assert process.wait(10) == 100


def qread(home: Path) -> subprocess.CompletedProcess[bytes]:
    return run([ours("qmail-qread")], env=environment(QMAILHOME=str(home)))


BIRTH = 810_276_413


def test_qread(home: Path) -> None:
    put(home, "info/17/40", data=b"Fjoe\x07\xe9@x.org\0")
    put(home, "mess/17/40", data=b"x" * 1234)
    put(home, "local/17/40", data=b"Da@b\0Tc\n@d\0")
    put(home, "remote/17/40", data=b"Te@f\0Dg@h\0")
    put(home, "bounce/40")
    put(home, "info/0/23", data=b"F\0")
    put(home, "mess/0/23", data=b"y")
    put(home, "todo/1/24", "mess/1/24")
    for path in ("info/17/40", "info/0/23"):
        os.utime(home / "queue" / path, (BIRTH, BIRTH))
    done = qread(home)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (
        b"5 Sep 1995 04:46:53 GMT  #23  1  <> \n"
        b"5 Sep 1995 04:46:53 GMT  #40  1234  <joe__@x.org>  bouncing\n"
        b"  done\tlocal\ta@b\n\tlocal\tc_@d\n\tremote\te@f\n  done\tremote\tg@h\n"
    )


def test_qread_without_messages_and_without_a_queue(home: Path, tmp_path: Path) -> None:
    assert (qread(home).returncode, qread(home).stdout) == (0, b"")
    done = qread(tmp_path)
    assert (done.returncode, done.stdout) == (111, b"fatal: unable to chdir: file does not exist\n")


def test_qread_warns_of_trouble(home: Path) -> None:
    (home / "queue" / "info" / "17" / "40").mkdir()
    assert qread(home).stdout == b"warning: trouble with #40: is a directory\n"


def test_qread_of_a_message_that_vanishes_says_nothing(home: Path) -> None:
    put(home, "info/17/40", data=b"Fa\0")
    assert qread(home).stdout == b""


def test_qstat(home: Path, tmp_path: Path) -> None:
    put(home, "mess/17/40", "mess/0/23", "mess/1/24", "todo/1/24", "mess/1/core")
    done = run([ours("qmail-qstat")], env=environment(QMAILHOME=str(home)))
    assert (done.returncode, done.stdout) == (
        0,
        b"messages in queue: 3\nmessages in queue but not yet preprocessed: 1\n",
    )
    assert run([ours("qmail-qstat")], env=environment(QMAILHOME=str(tmp_path))).returncode == 111
