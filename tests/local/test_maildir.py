"""The Maildir writer: names, contents, order of its system calls, troubles, parallel writers, sudden death."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qmail.local import maildir
from qmail.local.maildir import NO_MAILDIR, TIMEOUT, TROUBLE, UNREADABLE, Name, deliver, host_part
from qmail.local.message import BLOCK, Message
from qserver.base.errors import Die
from tests.local.conftest import MESSAGE, Person
from tests.queue.powercut import Call, Machine
from tests.queue.strace import command, kill_at
from tests.support import peer, run, spawn, wait_for

HEAD = b"Return-Path: <s@x.org>\nDelivered-To: joe@example.org\n"
NAME = re.compile(r"(\d+)\.I([0-9a-f]+)V([0-9a-f]+)M(\d+)P(\d+)\.(.+)")


def files(box: Path) -> list[Path]:
    return sorted(path for folder in ("tmp", "new", "cur") for path in (box / folder).iterdir())


@pytest.fixture
def box(joe: Person) -> Path:
    return joe.maildir()


def message(path: Path, data: bytes = MESSAGE) -> Message:
    path.write_bytes(data)
    return Message(os.open(path, os.O_RDONLY))


def put(box: Path, data: Message) -> str:
    """Deliver in this process; the text of the trouble there was."""
    try:
        deliver(os.fsencode(box) + b"/", HEAD, data)
    except Die as death:
        assert death.code == 111
        return death.text
    finally:
        os.close(data.fd)
    return ""


def test_delivery(joe: Person, box: Path) -> None:
    before = int(time.time())
    done = joe.deliver(default="./Maildir/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"did 1+0+0\n", b"")
    (path,) = files(box)
    assert path.read_bytes() == HEAD + MESSAGE
    status = path.stat()
    assert (status.st_mode & 0o7777, status.st_nlink) == (0o600, 1)
    seconds, inode, device, micros, pid, host = NAME.fullmatch(path.name).groups()  # type: ignore[union-attr]
    assert path.parent.name == "new"
    assert (int(inode, 16), int(device, 16)) == (status.st_ino, status.st_dev)
    assert before <= int(seconds) <= time.time() and int(micros) < 1_000_000 and int(pid) > 1
    assert host == host_part(os.uname().nodename)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_sizes(tmp_path: Path, box: Path, size: int) -> None:
    assert put(box, message(tmp_path / "m", b"x" * size)) == ""
    assert [path.read_bytes() for path in files(box)] == [HEAD + b"x" * size]


def test_names() -> None:
    name = Name(1_700_000_000_000_042, 99, "h")
    assert name.temporary() == "tmp/1700000000.M42P99.h"
    status = os.stat("/")
    assert name.final(status) == f"new/1700000000.I{status.st_ino:x}V{status.st_dev:x}M42P99.h"
    assert host_part("a/b:c") == "a057b072c"
    assert host_part("x" * 64) == "x" * 63


def test_a_name_that_is_taken(tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1_000_000_000, 1_000_000_000, 2_000_000_000])
    pauses: list[float] = []
    monkeypatch.setattr("qmail.local.maildir.time.time_ns", lambda: next(times))
    monkeypatch.setattr("qmail.local.maildir.time.sleep", pauses.append)
    (box / Name(1_000_000, os.getpid(), host_part(os.uname().nodename)).temporary()).touch()
    assert put(box, message(tmp_path / "m")) == ""
    assert len(pauses) == 2 and pauses[0] == 2
    assert [path.parent.name for path in files(box)] == ["new", "tmp"]


def test_a_name_that_stays_taken(tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("qmail.local.maildir.time.time_ns", lambda: 1_000_000_000)
    monkeypatch.setattr("qmail.local.maildir.time.sleep", pauses.append)
    taken = box / Name(1_000_000, os.getpid(), host_part(os.uname().nodename)).temporary()
    taken.write_bytes(b"another's")
    assert put(box, message(tmp_path / "m")) == TROUBLE
    assert len(pauses) == 2
    assert taken.read_bytes() == b"another's"


@pytest.mark.parametrize("default", ["./nowhere/", "./message/", "./Maildir/new/deeper/"])
def test_no_maildir(joe: Person, box: Path, default: str) -> None:
    (joe.home / "message").touch()
    done = joe.deliver(default=default)
    assert (done.returncode, done.stdout, done.stderr) == (111, b"", NO_MAILDIR.encode() + b"\n")


@pytest.mark.parametrize("folder", ["tmp", "new"])
def test_a_folder_is_missing(joe: Person, box: Path, folder: str) -> None:
    (box / folder).rmdir()
    done = joe.deliver(default="./Maildir/")
    assert (done.returncode, done.stdout, done.stderr) == (111, b"", TROUBLE.encode() + b"\n")
    assert [path for path in box.rglob("*") if path.is_file()] == []


def test_an_unreadable_message(box: Path) -> None:
    assert put(box, Message(os.open("/", os.O_RDONLY))) == UNREADABLE
    assert files(box) == []


def test_a_message_that_cannot_be_rewound(box: Path) -> None:
    r, w = os.pipe()
    os.close(w)
    assert put(box, Message(r)) == "Unable to rewind message. (#4.3.0)"
    assert files(box) == []


def test_a_delivery_that_takes_a_day(tmp_path: Path, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "DEADLINE", 1)

    class Slow(Message):
        __slots__ = ()

        def blocks(self):  # type: ignore[no-untyped-def]
            yield b"begun"
            signal.pause()

    (tmp_path / "m").touch()
    assert put(box, Slow(os.open(tmp_path / "m", os.O_RDONLY))) == TIMEOUT
    assert files(box) == []
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.alarm(0) == 0


def test_a_limit_on_file_sizes_is_an_error_like_others(joe: Person, box: Path) -> None:
    joe.message.write_bytes(b"x" * 100_000)
    argv = ["/bin/sh", "-c", 'ulimit -f 20; exec "$@" <"$0"', str(joe.message), *joe.argv(default="./Maildir/")]
    done = run(argv, env=joe.env())
    assert (done.returncode, done.stderr) == (111, TROUBLE.encode() + b"\n")
    assert files(box) == []


@pytest.mark.root
def test_full_disk(joe: Person, tmp_path: Path) -> None:
    disk = joe.home / "disk"
    disk.mkdir()
    if run([peer("mount"), "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", str(disk)]).returncode:
        pytest.skip("unable to mount a tmpfs")
    try:
        box = joe.maildir("disk/Maildir")
        done = joe.deliver(default="./disk/Maildir/", message=b"x" * 1_000_000)
        assert (done.returncode, done.stdout, done.stderr) == (111, b"", TROUBLE.encode() + b"\n")
        assert files(box) == []
        assert joe.deliver(default="./disk/Maildir/", message=MESSAGE).returncode == 0
        done = joe.deliver(default="./disk/mbox", message=b"x" * 1_000_000)
        assert (done.returncode, done.stderr) == (111, b"Unable to write ./disk/mbox: out of disk space. (#4.3.0)\n")
        assert (disk / "mbox").read_bytes() == b""
        assert len(files(box)) == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_parallel_writers_lose_and_double_nothing(joe: Person, box: Path) -> None:
    def one(number: int) -> int:
        path = joe.home.parent / f"m{number}"
        path.write_bytes(b"number %d\n" % number)
        return joe.run(joe.argv(default="./Maildir/\n./Maildir/"), path).returncode

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(24))) == {0}
    found = sorted(path.read_bytes() for path in files(box))
    assert found == sorted([HEAD + b"number %d\n" % number for number in range(24)] * 2)


def test_killed_while_writing(joe: Person, box: Path) -> None:
    """A message that takes long (a terabyte of nothing) is cut off by kill -9: only tmp has a part of it."""
    joe.message.write_bytes(b"\n\n")
    os.truncate(joe.message, 1 << 40)
    with joe.message.open("rb") as file, spawn(joe.argv(default="./Maildir/"), env=joe.env(), stdin=file) as process:
        wait_for(lambda: any(path.stat().st_size > 0 for path in (box / "tmp").iterdir()))
        process.kill()
        process.wait(10)
    assert [path.parent.name for path in files(box)] == ["tmp"]
    for path in files(box):
        path.unlink()


CALLS = "openat,write,fsync,close,link,linkat,unlink,unlinkat,exit_group"
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(?:<.*>)?$")
WHOLE = HEAD + MESSAGE


def trace(joe: Person, directory: Path) -> list[tuple[str, str, int]]:
    """(system call, arguments, result) of one delivery, as far as they concern the Maildir; descriptors with their paths."""
    argv = [command(), "-y", "-o", str(directory / "trace"), "-e", f"trace={CALLS}", *joe.argv(default="./Maildir/")]
    assert joe.run(argv, joe.message).returncode == 0
    found = []
    for line in (directory / "trace").read_text().splitlines():
        match = CALL.match(line)
        if match and ("/Maildir" in line or match[1] == "exit_group"):
            found.append((match[1], match[2], int(match[3].replace("?", "0"))))
    return found


def test_order_of_system_calls(joe: Person, box: Path, tmp_path: Path) -> None:
    steps = iter(trace(joe, tmp_path))
    for name, arguments in (
        ("openat", r'.*"tmp/\d+\.M\d+P\d+\..*O_WRONLY\|O_CREAT\|O_EXCL\|O_CLOEXEC, 0644'),
        ("write", r"\d+<.*/Maildir/tmp/.*>, \"Return-Path: .*"),
        ("fsync", r"\d+<.*/Maildir/tmp/.*>"),
        ("close", r"\d+<.*/Maildir/tmp/.*>"),
        ("linkat", r'.*"tmp/\d.*"new/\d+\.I.*'),
        ("unlinkat", r'.*"tmp/\d.*'),
        ("fsync", r"\d+<.*/Maildir/new>"),
        ("exit_group", "0"),
    ):
        assert any(call[0] == name and re.fullmatch(arguments, call[1]) for call in steps), (name, arguments)


def moves(found: list[tuple[str, str, int]]) -> Iterator[Call]:
    """The trace as the model of a disk takes it."""
    at = 0
    for name, arguments, result in found:
        strings = re.findall(r'"(.*?)"', arguments)
        fd = int(arguments.split("<")[0]) if arguments[0].isdigit() else -1
        if name == "openat" and "O_PATH" not in arguments:
            yield Call("create" if "O_CREAT" in arguments else "open", strings[0], fd=result)
        elif name == "write":
            yield Call("write", fd=fd, data=WHOLE[at : at + result])
            at += result
        elif name in ("fsync", "close"):
            yield Call(name, fd=fd)
        elif name in ("linkat", "unlinkat"):
            yield Call(name.removesuffix("at"), *strings)
        elif name == "exit_group":
            yield Call("ack")


def test_no_power_cut_shows_half_a_message_or_loses_a_delivered_one(joe: Person, box: Path, tmp_path: Path) -> None:
    machine = Machine()
    states = 0
    for call in [*moves(trace(joe, tmp_path)), Call("close")]:
        for disk in machine.disks():
            states += 1
            delivered = [data for path, data in disk.items() if path.startswith("new/")]
            assert delivered == [WHOLE] or (not delivered and not machine.acknowledged), call
        machine.do(call)
    assert machine.acknowledged and states > 20


def test_killed_at_every_system_call(joe: Person, box: Path, tmp_path: Path) -> None:
    """new/ has the whole message or nothing; what is left in tmp/ is one file at most."""
    found = trace(joe, tmp_path)
    names = [name for name, _, _ in found]
    for path in files(box):
        path.unlink()
    lines = (tmp_path / "trace").read_text().splitlines()
    for name in dict.fromkeys(names):
        every = [line for line in lines if line.startswith(name + "(")]
        for count, line in enumerate(every, 1):
            if "/Maildir" not in line and name != "exit_group":
                continue
            done = joe.run(kill_at(name, count, joe.argv(default="./Maildir/")), joe.message)
            assert done.returncode == -signal.SIGKILL
            kinds = [(path.parent.name, path.read_bytes()) for path in files(box)]
            assert [data for folder, data in kinds if folder == "new"] in ([], [WHOLE])
            assert len([folder for folder, _ in kinds if folder == "tmp"]) <= 1
            for path in files(box):
                path.unlink()
