"""The mbox writer: quoting in blocks of any size, locking, cutting off what failed."""

from __future__ import annotations

import fcntl
import mailbox
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.local import mbox
from qmail.local.mbox import LOCKED, deliver, quoted
from qmail.local.message import Message
from qserver.base.errors import Die
from tests.local.conftest import MESSAGE, Person
from tests.queue.strace import command
from tests.support import run, spawn

FROM_LINE = re.compile(rb"From s@x\.org (Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \d{4}\n")
HEAD = b"Return-Path: <s@x.org>\nDelivered-To: joe@example.org\n"
QUOTED = MESSAGE.replace(b"\n>From", b"\n>>From").replace(b"\nFrom", b"\n>From")


def by_lines(data: bytes) -> bytes:
    """The quoting as the rule says it, line by line."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return b"".join((b">" if re.match(rb">*From ", line) else b"") + line + b"\n" for line in lines)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", b""),
        (b"x", b"x\n"),
        (b"x\n", b"x\n"),
        (b"\n", b"\n"),
        (b"From x\n", b">From x\n"),
        (b">From x", b">>From x\n"),
        (b">>>From x\n", b">>>>From x\n"),
        (b"xFrom y\n", b"xFrom y\n"),
        (b"a\nFrom \nb\n", b"a\n>From \nb\n"),
        (b"From", b"From\n"),
        (b"From\n", b"From\n"),
        (b"from x\n", b"from x\n"),
        (b"> From x\n", b"> From x\n"),
        (b"From From From \n", b">From From From \n"),
    ],
)
def test_quoting(data: bytes, expected: bytes) -> None:
    assert b"".join(quoted(iter([data] if data else []))) == expected == by_lines(data)


mail = st.lists(st.sampled_from([b">", b"F", b"Fr", b"From ", b"From", b"\n", b"x", b" ", b"rom "])).map(b"".join)


@given(mail, st.lists(st.integers(1, 7), min_size=1, max_size=40))
def test_quoting_does_not_depend_on_blocks(data: bytes, sizes: list[int]) -> None:
    blocks: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(data[at : at + size])
        at += size
    assert b"".join(quoted(iter(blocks))) == by_lines(data)


def test_quoting_of_hostile_lines_is_linear() -> None:
    blocks = [b">" * 65536] * 200 + [b"From " * 13107] * 100
    assert b"".join(quoted(iter(blocks))) == b"".join(blocks)[: 65536 * 200] + b">" + b"".join(blocks[200:]) + b"\n"


def test_delivery(joe: Person) -> None:
    for _ in range(2):
        done = joe.deliver(default="./mbox")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"did 1+0+0\n", b"")
    data = (joe.home / "mbox").read_bytes()
    assert FROM_LINE.sub(b"FROM\n", data) == (b"FROM\n" + HEAD + QUOTED + b"\n") * 2
    assert (joe.home / "mbox").stat().st_mode & 0o7777 == 0o600
    assert [message["Subject"] for message in mailbox.mbox(str(joe.home / "mbox"))] == ["hello", "hello"]


def test_a_last_line_without_newline_gets_one(joe: Person) -> None:
    assert joe.deliver(default="./mbox", message=b"a").returncode == 0
    assert (joe.home / "mbox").read_bytes().endswith(b"example.org\na\n\n")


def test_an_empty_message(joe: Person) -> None:
    assert joe.deliver(default="./mbox", message=b"").returncode == 0
    assert (joe.home / "mbox").read_bytes().endswith(HEAD + b"\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("./no/mbox", b"Unable to open ./no/mbox: file does not exist. (#4.2.1)\n"),
        (".", b"Unable to open .: is a directory. (#4.2.1)\n"),
        ("./pipe", b"Unable to open ./pipe: device not configured. (#4.2.1)\n"),
        ("/dev/full", b"Unable to write /dev/full: out of disk space. (#4.3.0)\n"),
    ],
)
def test_trouble(joe: Person, name: str, text: bytes) -> None:
    os.mkfifo(joe.home / "pipe")
    done = joe.deliver(default=name)
    assert (done.returncode, done.stdout, done.stderr) == (111, b"", text)


def put(path: Path, message: Message) -> str:
    try:
        deliver(os.fsencode(path), b"From x\n", message)
    except Die as death:
        assert death.code == 111
        return death.text
    finally:
        os.close(message.fd)
    return ""


def test_an_unreadable_message_is_cut_off_again(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(b"before\n")
    assert put(path, Message(os.open("/", os.O_RDONLY))) == "Unable to read message: is a directory. (#4.3.0)"
    assert path.read_bytes() == b"before\n"


def test_a_limit_on_file_sizes_leaves_the_file_as_it_was(joe: Person) -> None:
    joe.message.write_bytes(b"x" * 300_000)
    (joe.home / "mbox").write_bytes(b"before\n")
    argv = ["/bin/sh", "-c", 'ulimit -f 200; exec "$@" <"$0"', str(joe.message), *joe.argv(default="./mbox")]
    done = run(argv, env=joe.env())
    assert (done.returncode, done.stderr) == (111, b"Unable to write ./mbox: file too big. (#4.3.0)\n")
    assert (joe.home / "mbox").read_bytes() == b"before\n"


def test_a_lock_that_is_held(tmp_path: Path, joe: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox, "PATIENCE", 1)
    with (tmp_path / "mbox").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert put(tmp_path / "mbox", Message(os.open(joe.message, os.O_RDONLY))) == LOCKED
    assert (tmp_path / "mbox").read_bytes() == b""


def test_it_waits_for_the_lock(joe: Person) -> None:
    with (joe.home / "mbox").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with joe.message.open("rb") as message, spawn(joe.argv(default="./mbox"), env=joe.env(), stdin=message) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            file.write(b"another's\n\n")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_UN)
            assert process.wait(10) == 0
    assert (joe.home / "mbox").read_bytes().startswith(b"another's\n\nFrom s@x.org ")


def test_where_locks_do_not_work_it_goes_on(tmp_path: Path, joe: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("qmail.local.mbox.fcntl.flock", flock)
    assert put(tmp_path / "mbox", Message(os.open(joe.message, os.O_RDONLY))) == ""
    assert (tmp_path / "mbox").read_bytes() == b"From x\n" + QUOTED + b"\n"


def test_parallel_writers_do_not_mix(joe: Person) -> None:
    body = b"From x\n" * 40_000  # several writes each

    def one(number: int) -> int:
        path = joe.home.parent / f"m{number}"
        path.write_bytes(b"Subject: %d\n\n" % number + body)
        return joe.run(joe.argv(default="./mbox"), path).returncode

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(16))) == {0}
    found = FROM_LINE.split((joe.home / "mbox").read_bytes())[2::2]
    expected = [HEAD + b"Subject: %d\n\n" % number + b">From x\n" * 40_000 + b"\n" for number in range(16)]
    assert sorted(found) == sorted(expected)


def test_a_new_file_and_its_entry_are_synced(joe: Person, tmp_path: Path) -> None:
    for synced in (["mbox", "joe"], ["mbox"]):
        argv = [command(), "-y", "-o", str(tmp_path / "trace"), "-e", "trace=fsync", *joe.argv(default="./mbox")]
        assert joe.run(argv, joe.message).returncode == 0
        trace = (tmp_path / "trace").read_text()
        assert re.findall(r"fsync\(\d+<.*/(\w+)>\) += 0", trace) == synced
