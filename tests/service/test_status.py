"""The status file and svstat's words for it; beside Debian's svstat."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qserver.base import tai64n
from qserver.service import status
from qserver.service.status import DOWN, FAILED, ONCE, RUNNING, STARTED, STARTING, STOPPED, STOPPING, UP, Status
from tests.support import environment, ours, peer, run, wait_for

EXAMPLE = bytes.fromhex("400000006b0312f3389e879c93200000007503 00".replace(" ", ""))
NOW = 1795363569


def test_the_example_of_the_format() -> None:
    told = status.unpack(EXAMPLE)
    assert told is not None
    assert (told.pid, told.paused, told.want, told.state) == (8339, False, UP, RUNNING)
    assert told.pack() == EXAMPLE


@pytest.mark.parametrize("pid", [0, 1, 8339, 4194304])
@pytest.mark.parametrize("want", [UP, DOWN, ONCE])
@pytest.mark.parametrize("state", [STOPPED, STARTING, STARTED, RUNNING, STOPPING, FAILED])
def test_what_is_packed_is_what_is_unpacked(pid: int, want: int, state: int) -> None:
    data = Status(NOW * 10**9 + 123456789, pid, True, want, state).pack()
    assert len(data) == 20
    assert data[:12] == tai64n.pack(NOW * 10**9 + 123456789)
    assert data[12:16] == pid.to_bytes(4, "little")
    assert data[16:] == bytes((pid != 0, want, state, 0))
    told = status.unpack(data)
    assert told is not None
    assert (told.when, told.pid, told.paused, told.want, told.state) == (NOW * 10**9 + 123456789, pid, pid != 0, want, state)


@pytest.mark.parametrize("size", [0, 1, 17])
def test_fewer_than_18_bytes_are_no_status(size: int) -> None:
    assert status.unpack(EXAMPLE[:size]) is None


@pytest.mark.parametrize("size", [18, 19])
def test_what_0_76_wrote_has_no_state(size: int) -> None:
    told = status.unpack(EXAMPLE[:size])
    assert told is not None
    assert (told.pid, told.state) == (8339, None)


@pytest.mark.parametrize(
    ("pid", "paused", "want", "state", "normally_up", "words"),
    [
        # in the order of spec 8
        (9, False, UP, RUNNING, True, "up (pid 9) 7 seconds"),
        (9, False, UP, None, True, "up (pid 9) 7 seconds"),
        (9, False, UP, RUNNING, False, "up (pid 9) 7 seconds, normally down"),
        (9, True, UP, RUNNING, True, "up (pid 9) 7 seconds, paused"),
        (9, False, DOWN, STOPPING, True, "up (pid 9) 7 seconds, want down"),
        (9, True, DOWN, STOPPING, False, "up (pid 9) 7 seconds, normally down, paused, want down"),
        (9, False, ONCE, RUNNING, True, "up (pid 9) 7 seconds"),
        (9, False, UP, STARTING, True, "up (pid 9) 7 seconds, starting"),
        (9, False, UP, STOPPING, True, "up (pid 9) 7 seconds, stopping"),
        (9, False, UP, 6, True, "up (pid 9) 7 seconds, status unknown"),
        (0, False, DOWN, STOPPED, False, "down 7 seconds"),
        (0, False, DOWN, STOPPED, True, "down 7 seconds, normally up"),
        (0, False, DOWN, None, True, "down 7 seconds, normally up"),
        (0, True, UP, RUNNING, True, "down 7 seconds, normally up, want up"),
        (0, False, UP, STARTING, False, "down 7 seconds, want up, starting"),
        (0, False, ONCE, STOPPED, True, "down 7 seconds, normally up"),
        (0, False, ONCE, STARTED, True, "down 7 seconds, normally up, started"),
        (0, False, DOWN, FAILED, True, "down 7 seconds, normally up, failed"),
        (0, False, DOWN, STOPPING, True, "down 7 seconds, normally up, stopping"),
        (0, False, DOWN, 255, False, "down 7 seconds, status unknown"),
    ],
)
def test_the_words(
    pid: int, paused: bool, want: int, state: int | None, normally_up: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: (NOW + 7) * 10**9)
    told = status.Status(NOW * 10**9 + 999_999_999, pid, paused, want, state)
    assert status.phrase(told, normally_up) == words


def test_a_start_in_the_future_was_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 10**9)
    assert status.Status((NOW + 90) * 10**9, 1, False, UP, RUNNING).seconds() == 0


@contextmanager
def pretended(path: Path, data: bytes | None, down: bool = False) -> Iterator[Path]:
    """A service directory in which something holds `ok` as supervise does."""
    (path / "supervise").mkdir(parents=True, exist_ok=True)
    if data is not None:
        (path / "supervise" / "status").write_bytes(data)
    if down:
        (path / "down").touch()
    os.mkfifo(path / "supervise" / "ok", 0o600)
    fd = os.open(path / "supervise" / "ok", os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield path
    finally:
        os.close(fd)


def svstat(program: str, *words: str, cwd: Path) -> bytes:
    done = run([program, *words], cwd=cwd)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def agreed(cwd: Path, *words: str) -> bytes:
    """What both say, which must become the same (the seconds may tick between the two)."""
    theirs = peer("svstat")
    both: list[bytes] = []

    def same() -> bool:
        both[:] = [svstat(program, *words, cwd=cwd) for program in (theirs, ours("svstat"))]
        return both[0] == both[1]

    wait_for(same, timeout=3)
    return both[0]


def stamp(seconds_ago: int = 0, nanoseconds: int = 5) -> bytes:
    return (tai64n.EPOCH + int(time.time()) - seconds_ago).to_bytes(8, "big") + nanoseconds.to_bytes(4, "big")


GARBAGE = {
    "empty": b"",
    "short": b"x" * 17,
    "text": b"hello, not a status",
    "ones": b"\xff" * 18,
    "paused 2": stamp(9) + b"\x01\0\0\0\x02u",
    "paused down": stamp(9) + b"\0\0\0\0\x01d",
    "pid 2^32-1": stamp(9) + b"\xff\xff\xff\xff\0u",
    "want x": stamp(9) + b"\0\0\0\0\0x",
    "want x, up": stamp(9) + b"\x01\0\0\0\0x",
    "future": stamp(-5000) + b"\x01\0\0\0\0u",
    "long ago": stamp(10**9) + b"\x01\0\0\0\0u",
    "many nanoseconds": stamp(9, 0xFFFFFFFF) + b"\x01\0\0\0\0u",
}


@pytest.mark.parametrize("down", [False, True])
def test_garbage_is_read_as_c_reads_it(tmp_path: Path, down: bool) -> None:
    names = [f"g{number}" for number in range(len(GARBAGE))]
    for name, data in zip(names, GARBAGE.values(), strict=True):
        with pretended(tmp_path / name, data, down):
            assert agreed(tmp_path, name).startswith(f"{name}: ".encode())


@pytest.mark.parametrize("state", [STOPPED, RUNNING])
@pytest.mark.parametrize("pid", [0, 77])
def test_every_state_that_c_has_words_for(tmp_path: Path, state: int, pid: int) -> None:
    for want in (UP, DOWN, ONCE):
        for paused in (False, True):
            for down in (False, True):
                data = Status(time.time_ns() - 10**11, pid, paused, want, state).pack()
                with pretended(tmp_path / f"{want}{paused}{down}", data, down):
                    assert b" seconds" in agreed(tmp_path, f"{want}{paused}{down}")


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "dead" / "supervise").mkdir(parents=True)
    os.mkfifo(tmp_path / "dead" / "supervise" / "ok")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "down").symlink_to("down")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "supervise").touch()
    words = ["no-such", "file", "none", "dead", "loop", "text", "none/../none"]
    expected = (
        b"no-such: unable to chdir: file does not exist\n"
        b"file: unable to chdir: not a directory\n"
        b"none: unable to open supervise/ok: file does not exist\n"
        b"dead: supervise not running\n"
        b"loop: unable to stat down: symbolic link loop\n"
        b"text: unable to open supervise/ok: not a directory\n"
        b"none/../none: unable to open supervise/ok: file does not exist\n"
    )
    assert agreed(tmp_path, *words) == expected
    with pretended(tmp_path / "unwritten", None) as path:
        expected = b"unwritten: unable to open supervise/status: file does not exist\n"
        assert agreed(tmp_path, "unwritten") == expected
        (path / "supervise" / "status").write_bytes(b"x" * 17)
        assert agreed(tmp_path, "unwritten") == b"unwritten: unable to read supervise/status: bad format\n"


def test_a_second_block_is_the_log_process(tmp_path: Path) -> None:
    main_block = Status(time.time_ns() - 10**11, 7, False, UP, RUNNING).pack()
    log_block = Status(time.time_ns() - 10**11, 0, False, DOWN, FAILED).pack()
    program = ours("svstat")
    with pretended(tmp_path / "two", main_block + log_block):
        first, second = svstat(program, "two", cwd=tmp_path).splitlines()
        assert first.startswith(b"two: up (pid 7) ")
        assert second.startswith(b"two log: down ")
        assert second.endswith(b" seconds, normally up, failed")
        assert svstat(program, "-l", "two", cwd=tmp_path).startswith(b"two: up (pid 7) ")
        assert svstat(program, "-L", "two", cwd=tmp_path).startswith(b"two log: down ")
        assert svstat(program, "-l", "two", cwd=tmp_path).count(b"\n") == 1
        assert svstat(program, "-L", "two", cwd=tmp_path).count(b"\n") == 1
        assert svstat(peer("svstat"), "two", cwd=tmp_path).startswith(b"two: up (pid 7) ")
    for size in (18, 20, 37):
        with pretended(tmp_path / f"one{size}", (main_block + log_block)[:size]):
            assert svstat(program, f"one{size}", cwd=tmp_path).count(b"\n") == 1
            assert svstat(program, "-L", f"one{size}", cwd=tmp_path) == b"one%d: no log service\n" % size
    with pretended(tmp_path / "old", main_block + log_block[:18]):
        assert b"old log: down" in svstat(program, "old", cwd=tmp_path)


def test_wrong_calls(tmp_path: Path) -> None:
    usage = b"svstat: usage: svstat [-L] [-l] dir [dir ...]\n"
    done = run([ours("svstat")])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", usage)
    done = run([ours("svstat"), "-x", "."])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", b"svstat: illegal option -- x\n" + usage)


def test_supervise_directories_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    place = tmp_path / "elsewhere" / str(tmp_path / "s")[1:].replace("/", ":")
    place.mkdir(parents=True)
    os.mkfifo(place / "ok")
    fd = os.open(place / "ok", os.O_RDONLY | os.O_NONBLOCK)
    (place / "status").write_bytes(Status(time.time_ns(), 7, False, UP, RUNNING).pack())
    env = environment(SUPERVISEDIR=str(tmp_path / "elsewhere"))
    assert run([ours("svstat"), "s"], cwd=tmp_path, env=env).stdout.startswith(b"s: up (pid 7)")
    assert run([ours("svok"), "s"], cwd=tmp_path, env=env).returncode == 0
    os.close(fd)
    assert run([ours("svok"), "s"], cwd=tmp_path, env=env).returncode == 100
