"""addcr, delcr, fixcrio, recordio, argv0, beside Debian's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.commands.recordio import lines
from qserver.net.newlines import AddCr, DelCr, FixCr
from tests.support import environment, ours, peer, run, spawn, wait_for

BOTH = ("ours", "theirs")
STREAM = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b"\xff"]), max_size=30).map(b"".join)


def program(who: str, name: str) -> str:
    return ours(name) if who == "ours" else peer(name)


def model_of_fixcr(data: bytes) -> bytes:
    out, last = bytearray(), 0
    for byte in data:
        if byte == 10 and last != 13:
            out.append(13)
        out.append(byte)
        last = byte
    return bytes(out)


MODELS: dict[type[AddCr | DelCr | FixCr], Callable[[bytes], bytes]] = {
    AddCr: lambda data: data.replace(b"\n", b"\r\n"),
    DelCr: lambda data: data.replace(b"\r\n", b"\n"),
    FixCr: model_of_fixcr,
}


@pytest.mark.parametrize("kind", MODELS)
@given(st.lists(STREAM, max_size=5))
def test_where_the_stream_is_cut_does_not_matter(kind: type[AddCr | DelCr | FixCr], blocks: list[bytes]) -> None:
    conversion = kind()
    done = b"".join(map(conversion.convert, blocks)) + conversion.rest()
    assert done == MODELS[kind](b"".join(blocks))


@settings(max_examples=15, deadline=None)
@given(STREAM)
def test_filters_are_the_c_programs(data: bytes) -> None:
    for name in ("addcr", "delcr"):
        here, there = (run([program(who, name)], input=data) for who in BOTH)
        assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)
    here, there = (run([program(who, "fixcrio"), "cat"], input=data) for who in BOTH)
    assert (here.returncode, here.stdout) == (there.returncode, there.stdout)


@pytest.mark.parametrize("name", ["addcr", "delcr"])
def test_a_filter_says_at_once_what_it_can(name: str) -> None:
    with spawn([ours(name)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), b"one\r\ntwo\r")
        expected = b"one\r\r\ntwo\r" if name == "addcr" else b"one\ntwo"
        assert process.stdout.read(len(expected)) == expected
        process.stdin.close()
        assert process.stdout.read() == (b"" if name == "addcr" else b"\r")
        assert process.wait(20) == 0
        process.stdin = None


@pytest.mark.parametrize("name", ["addcr", "delcr"])
def test_a_filter_that_cannot_write(name: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([ours(name)], input=b"x\n", stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert done.returncode == 111


# Between


@pytest.mark.parametrize("name", ["fixcrio", "recordio"])
@pytest.mark.parametrize("who", BOTH)
@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_the_end_is_the_program_s(who: str, name: str, end: str, code: int) -> None:
    assert run([program(who, name), "/bin/sh", "-c", end]).returncode == code


@pytest.mark.parametrize("name", ["fixcrio", "recordio"])
def test_the_process_becomes_the_program(name: str) -> None:
    with spawn([ours(name), "/bin/sh", "-c", "echo $$; cat"], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert int(process.stdout.readline()) == process.pid
        process.stdin.close()
        process.stdin = None
        assert process.wait(20) == 0


@pytest.mark.parametrize("name", ["fixcrio", "recordio"])
def test_messages(name: str) -> None:
    done = run([ours(name)])
    assert (done.returncode, done.stderr.decode()) == (100, f"{name}: usage: {name} program [ arg ... ]\n")
    done = run([ours(name), "no-such-program"])
    assert done.returncode == 111
    assert f"{name}: fatal: (111) unable to run: no-such-program: file does not exist\n" in done.stderr.decode()


def test_fixcrio_both_ways() -> None:
    done = run([ours("fixcrio"), "/bin/sh", "-c", "od -An -c >&2; printf 'a\\nb\\r\\nc'"], input=b"x\ny\r\nz")
    assert done.stderr.split() == rb"x \r \n y \r \n z".split()
    assert done.stdout == b"a\r\nb\r\nc"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (b"", b"7 < [EOF]\n"),
        (b"one\n", b"7 < one \n"),
        (b"one\ntwo", b"7 < one \n7 < two+\n"),
        (b"\n", b"7 <  \n"),
        (b"\n\nx\0\xff\n", b"7 <  \n7 <  \n7 < x\0\xff \n"),
    ],
)
def test_what_recordio_says(block: bytes, said: bytes) -> None:
    assert lines(7, b"<", block) == said


@pytest.mark.parametrize("data", [b"", b"one\ntwo\n", b"no newline", b"x" * 255 + b"\n" + b"y" * 700, b"\0\xff\r\n"])
def test_recordio_is_the_c_program(tmp_path: Path, data: bytes) -> None:
    results = []
    (tmp_path / "input").write_bytes(data)
    for who in BOTH:
        with open(tmp_path / "input", "rb") as source:
            words = [program(who, "recordio"), "/bin/sh", "-c", "cat; echo end; exit 3"]
            done = subprocess.run(words, stdin=source, capture_output=True, timeout=20)
        said = [line.partition(b" ")[2] for line in done.stderr.splitlines()]
        told_in = [line for line in said if line[:1] == b"<"]
        out = [line for line in said if line[:1] == b">" and line != b"> [EOF]"]
        told_out = b"".join(line[2:-1] + b"\n" * (line[-1:] == b" ") for line in out)
        results.append((done.returncode, done.stdout, told_in, told_out))  # how output is cut is a matter of time
    assert results[0] == results[1]
    assert results[0][1] == data + b"end\n"


def test_much_in_both_directions_at_once() -> None:
    """Each way goes on while the other waits."""
    data = os.urandom(3_000_000)
    for name in ("fixcrio", "recordio"):
        words, quiet = [ours(name), "/bin/cat"], subprocess.DEVNULL
        done = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=quiet, timeout=40, env=environment())
        assert done.stdout == (data if name == "recordio" else model_of_fixcr(model_of_fixcr(data)))


def test_between_a_socket_and_a_program_that_talks_first() -> None:
    here, there = socket.socketpair()
    words = [ours("recordio"), "/bin/sh", "-c", "echo hello; read x; echo you said $x; cat"]
    with here, spawn(words, stdin=there.fileno(), stdout=there.fileno()) as process:
        there.close()
        reader = here.makefile("rb")
        assert reader.readline() == b"hello\n"
        here.sendall(b"yes\n")
        assert reader.readline() == b"you said yes\n"
        here.shutdown(socket.SHUT_WR)
        assert reader.read() == b""
        assert process.wait(20) == 0


def test_a_client_that_goes_away_ends_the_copying() -> None:
    here, there = socket.socketpair()
    with spawn([ours("recordio"), "/bin/sh", "-c", "trap '' PIPE; while echo x; do :; done; exit 9"], stdin=there.fileno(),
               stdout=there.fileno(), stderr=subprocess.DEVNULL) as process:  # fmt: skip
        there.close()
        here.recv(1)
        here.close()
        assert process.wait(20) == 9


def test_a_program_that_is_killed() -> None:
    with spawn([ours("recordio"), "/bin/cat"], stdin=subprocess.PIPE) as process:
        wait_for(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "cat\n")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == -signal.SIGTERM
        assert process.stderr is not None
        assert process.stderr.read() == b"%d > [EOF]\n" % process.pid


# argv0


@pytest.mark.parametrize("who", BOTH)
def test_another_name(who: str) -> None:
    done = run([program(who, "argv0"), "sh", "another", "-c", "echo $0; exit 5"])
    assert (done.returncode, done.stdout) == (5, b"another\n")


def test_our_own_commands_by_another_name() -> None:
    done = run([ours("argv0"), "setlock", "lockset"])
    assert (done.returncode, done.stderr) == (100, b"setlock: usage: setlock [ -nNxX ] file program [ arg ... ]\n")


def test_messages_of_argv0() -> None:
    for words in ([], ["x"]):
        done = run([ours("argv0"), *words])
        assert (done.returncode, done.stderr) == (100, b"argv0: usage: argv0 realname program [ arg ... ]\n")
    done = run([ours("argv0"), "no-such-program", "x"])
    assert (done.returncode, done.stderr) == (111, b"argv0: fatal: (111) unable to run: no-such-program: file does not exist\n")
