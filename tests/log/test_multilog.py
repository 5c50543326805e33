"""multilog as a process: actions, signals, processors, trouble."""

from __future__ import annotations

import os
import random
import resource
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.base import tai64n
from tests.log.test_directory import LINES, content, mode, names, old, seen
from tests.support import environment, ours, peer, run, spawn, wait_for


def both(words: list[str], data: bytes, tmp_path: Path) -> list[tuple[int, bytes, bytes]]:
    """Exit code and output of C's multilog and ours, each in a directory of its own: `c` and `o`."""
    results = []
    for name, program in (("c", peer("multilog")), ("o", ours("multilog"))):
        (tmp_path / name).mkdir()
        done = run([program, *words], input=data, cwd=tmp_path / name)
        results.append((done.returncode, done.stdout, done.stderr))
    return results


def lines_until(fd: int, count: int) -> bytes:
    """Read whole lines from a pipe until there are `count`; fails at the time-out."""
    data = b""
    while data.count(b"\n") < count:
        assert select.select([fd], [], [], 15)[0], data
        block = os.read(fd, 65536)
        assert block, data
        data += block
    return data


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["e"],
        ["-*", "e"],
        ["-*", "+*status*", "e", "=st", "./d"],
        ["-*x*", "e", "+*", "=st", "./d"],
        ["=st", "=st2", "-status*", "=st3"],
        ["./all", "-s*", "./most", "-*", "./none", "+* x*", "./x", "e"],
        ["unknown", "", "./d"],
        ["e", "e"],
        ["e", "-*", "+*t*", "e", "=st", "e", "./d", "-s*", "e"],
    ],
)
def test_actions_do_what_the_c_program_does(tmp_path: Path, words: list[str]) -> None:
    data = b"status one\nother x\n\nlong " + b"l" * 300 + b"\nstatus \xff\0two\n" + b"very " + b"x" * 3000 + b"\nend"
    theirs, mine = both(words, data, tmp_path)
    assert mine == theirs
    assert mine[0] == 0
    for path in sorted((tmp_path / "c").rglob("*")):
        if path.is_file():
            assert (tmp_path / "o" / path.relative_to(tmp_path / "c")).read_bytes() == path.read_bytes(), path
    assert {path.name for path in (tmp_path / "c").iterdir()} == {path.name for path in (tmp_path / "o").iterdir()}


def test_a_status_file_is_1001_bytes_and_not_truncated(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_bytes(b"y" * 1500)
    run([ours("multilog"), "=status"], input=b"one\ntwo\n", cwd=tmp_path)
    assert status.read_bytes() == b"two".ljust(1001, b"\n") + b"y" * 499
    run([ours("multilog"), "=status"], input=b"x" * 5000, cwd=tmp_path)
    assert status.read_bytes() == b"x" * 1000 + b"\n" + b"y" * 499


def test_local_time_as_a_stamp(tmp_path: Path) -> None:
    for zone in ("UTC", "XYZ-5:30"):
        done = run([ours("multilog"), "d", "e"], input=b"one\n\n", env={**environment(), "TZ": zone})
        hour = run(["/bin/date", "+%F %H:"], env={**environment(), "TZ": zone}).stdout.strip()
        first, second = done.stderr.splitlines()
        assert first[:14] == hour or first[14:16] == b"59"
        assert first[19:20] == b"."
        assert first[20:29].isdigit()
        assert first[29:] == b" one"
        assert second[29:] == b" "


@pytest.mark.parametrize("first", ["t", "T"])
def test_stamps(tmp_path: Path, first: str) -> None:
    before = tai64n.now()
    run([ours("multilog"), first, "=status", "./d"], input=b"one\n\n", cwd=tmp_path)
    after = tai64n.now()
    for line, text in zip(content(tmp_path / "d").splitlines(), [b"one", b""], strict=True):
        stamp, _, rest = line.partition(b" ")
        seconds, _, micros = stamp.partition(b".")
        ns = tai64n.parse_label(stamp) if first == "t" else int(seconds) * 10**9 + int(micros) * 1000
        assert before - 1000 <= ns <= after
        assert rest == text


def test_each_line_is_written_as_soon_as_it_is_read(tmp_path: Path) -> None:
    with spawn([ours("multilog"), "e", "./d"], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for number in range(5):
            os.write(process.stdin.fileno(), b"line %d\npart " % number)
            said = lines_until(process.stderr.fileno(), 1)
            wait_for(lambda said=said: content(tmp_path / "d").endswith(said))  # type: ignore[misc]
            assert said == b"line 0\n" if number == 0 else b"part line %d\n" % number


def test_a_line_of_a_hundred_megabytes_takes_no_memory(tmp_path: Path) -> None:
    script = 'head -c 100000000 /dev/zero | "$0" -x s1000000 n3 ./d; ulimit -a >/dev/null; grep -c . d/current'

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (64 << 20, 64 << 20))

    done = run(["/bin/sh", "-c", script, ours("multilog")], cwd=tmp_path, preexec=limit)
    assert done.stderr == b""
    assert [path.stat().st_size for path in old(tmp_path / "d")] == [1000000, 1000000]


@contextmanager
def waiting(tmp_path: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Our multilog that has started, and the descriptor to feed it by."""
    with spawn([ours("multilog"), *words], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        wait_for(lambda: (tmp_path / "d" / "current").exists())
        yield process, process.stdin.fileno()


def test_term_while_waiting_for_input(tmp_path: Path) -> None:
    with waiting(tmp_path, "./d") as (process, fd):
        os.write(fd, b"one\n")
        wait_for(lambda: content(tmp_path / "d") == b"one\n")
        process.terminate()
        assert process.wait(10) == 0
    assert mode(tmp_path / "d" / "current") == 0o744


def test_term_within_a_line_reads_to_its_end_and_no_further(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with spawn([ours("multilog"), "./d"], cwd=tmp_path, stdin=read_end) as process:
        os.write(write_end, b"one\ntw")
        wait_for(lambda: seen(tmp_path / "d") == b"one\n")
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        os.write(write_end, b"o\nthree\nfour\n")
        assert process.wait(10) == 0
    os.close(write_end)
    assert content(tmp_path / "d") == b"one\ntwo\n"
    assert os.read(read_end, 100) == b"three\nfour\n"
    os.close(read_end)


def test_term_within_a_line_and_then_the_end(tmp_path: Path) -> None:
    with waiting(tmp_path, "./d") as (process, fd):
        os.write(fd, b"x" * 1500)
        wait_for(lambda: content(tmp_path / "d") == b"x" * 1500)
        process.terminate()
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
    assert content(tmp_path / "d") == b"x" * 1500 + b"\n"


def test_alrm_rotates_what_is_not_empty(tmp_path: Path) -> None:
    with waiting(tmp_path, "./d", "-*", "./empty") as (process, fd):
        os.write(fd, b"one\n")
        wait_for(lambda: content(tmp_path / "d") == b"one\n")
        process.send_signal(signal.SIGALRM)
        wait_for(lambda: old(tmp_path / "d"))
        process.terminate()
        assert process.wait(10) == 0
    assert [path.read_bytes() for path in old(tmp_path / "d")] == [b"one\n"]
    assert old(tmp_path / "empty") == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_other_signals_kill_without_the_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    with waiting(tmp_path, "./d") as (process, fd):
        os.write(fd, b"one\n")
        wait_for(lambda: content(tmp_path / "d") == b"one\n")
        process.send_signal(number)
        assert process.wait(10) == -number
    assert mode(tmp_path / "d" / "current") == 0o644


def test_a_processor_gets_the_file_and_its_state(tmp_path: Path) -> None:
    count = 'read n <&4; n=$((n+1)); echo $n >&5; echo "file $n"; wc -c; ls -l /proc/self/fd/3 2>&1 | grep -c "No such"'
    data = b"".join(b"%04d " % number + b"x" * 94 + b"\n" for number in range(120))
    words = ["n99", f"!{count}", "s4096", "./d"]
    theirs, mine = both(words, data, tmp_path)
    assert mine[0] == theirs[0] == 0
    for top in (tmp_path / "c" / "d", tmp_path / "o" / "d"):
        assert (top / "state").read_bytes() == b"%d\n" % len(old(top))
        assert [path.read_bytes().splitlines()[0] for path in old(top)] == [b"file %d" % n for n in range(1, len(old(top)) + 1)]
        assert {mode(path) for path in old(top)} == {0o744}
        sizes = [int(path.read_bytes().splitlines()[1]) for path in old(top)]
        assert sum(sizes) + (top / "current").stat().st_size == len(data)
        assert names(top)[-3:] == ["current", "lock", "state"]
    assert [path.read_bytes().splitlines()[2] for path in old(tmp_path / "o" / "d")] == [b"1"] * len(old(tmp_path / "o" / "d"))


def test_a_processor_that_writes_nothing_leaves_empty_files(tmp_path: Path) -> None:
    run([ours("multilog"), "s4096", "!", "./d"], input=LINES[:5000], cwd=tmp_path)
    assert [path.read_bytes() for path in old(tmp_path / "d")] == [b""]
    assert (tmp_path / "d" / "state").read_bytes() == b""


def test_a_missing_state_is_made(tmp_path: Path) -> None:
    run([ours("multilog"), "s4096", "!cat; cat <&4; echo s >&5; rm -f state newstate", "./d"], input=LINES[:9000], cwd=tmp_path)
    assert content(tmp_path / "d").replace(b"s\n", b"s\n") == LINES[:9000] + b"\n" * (not LINES[:9000].endswith(b"\n"))


def test_finished_files_with_a_code_and_a_processor(tmp_path: Path) -> None:
    run([ours("multilog"), "s4096", "!gzip", "wgz", "./d"], input=LINES[:5000], cwd=tmp_path)
    (path,) = old(tmp_path / "d")
    assert path.name.endswith(".gz")
    unpacked = subprocess.run(["gzip", "-dc"], stdin=path.open("rb"), stdout=subprocess.PIPE, check=True).stdout
    assert unpacked == LINES[: len(unpacked)]


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        ("test -e ../ok || exit 3; cat", b"multilog: warning: processor failed in ./d, pausing\n"),
        ("test -e ../ok || kill -9 $$; cat", b"multilog: warning: processor crashed in ./d, pausing: file does not exist\n"),
    ],
)
def test_a_processor_that_fails_is_tried_again(tmp_path: Path, command: str, warning: bytes) -> None:
    with waiting(tmp_path, "s4096", f"!{command}", "./d") as (process, fd):
        os.write(fd, LINES[:5000] + b"\n")
        assert process.stderr is not None
        assert lines_until(process.stderr.fileno(), 1) == warning
        assert (tmp_path / "d" / "previous").read_bytes() == LINES[: (tmp_path / "d" / "previous").stat().st_size]
        process.terminate()  # acted on when the processor has done its work
        (tmp_path / "ok").touch()
        assert process.wait(15) == 0
    assert content(tmp_path / "d") == LINES[:5000] + b"\n"


def test_programs_of_a_processor_have_default_signals(tmp_path: Path) -> None:
    both(["s4096", "!grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status", "./d"], LINES[:5000], tmp_path)
    for top in (tmp_path / "c" / "d", tmp_path / "o" / "d"):
        masks = [int(line.split()[1], 16) for line in old(top)[0].read_bytes().splitlines()]
        assert [mask & 0x7FFFFFFF for mask in masks[:2]] == [0, 0]  # above: signals of the C library's own


def test_a_status_file_that_takes_nothing(tmp_path: Path) -> None:
    with spawn([ours("multilog"), "=/dev/full"], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b"a\n")
        process.stdin.close()
        process.stdin = None
        warning = b"multilog: warning: unable to write /dev/full, pausing: out of disk space\n"
        assert lines_until(process.stderr.fileno(), 2) == warning * 2
        process.kill()


def test_a_pipe_is_no_status_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with spawn([ours("multilog"), "=fifo"], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        os.write(process.stdin.fileno(), b"a\n")
        warning = b"multilog: warning: unable to move to beginning of fifo, pausing: unseekable descriptor\n"
        assert lines_until(process.stderr.fileno(), 1) == warning
        process.kill()
    os.close(reader)


def test_a_current_that_vanished_is_waited_for(tmp_path: Path) -> None:
    with waiting(tmp_path, "s4096", "./d") as (process, fd):
        os.write(fd, b"x" * 3000)
        wait_for(lambda: seen(tmp_path / "d") == b"x" * 3000)
        (tmp_path / "d" / "current").unlink()
        os.write(fd, b"y" * 1090 + b"\n")
        assert process.stderr is not None
        assert lines_until(process.stderr.fileno(), 1) == (
            b"multilog: warning: unable to rename current to previous in directory ./d, pausing: file does not exist\n"
        )
        (tmp_path / "d" / "current").write_bytes(b"restored")
        wait_for(lambda: old(tmp_path / "d"), timeout=15)


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own."""
    path.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]).returncode != 0:
        pytest.skip("cannot mount a tmpfs")
    try:
        yield path
    finally:
        run(["umount", str(path)])


@pytest.mark.root
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    data = b"".join(b"%06d" % number + b"x" * 93 + b"\n" for number in range(500))
    with small_disk(tmp_path / "d", "size=64k") as disk:
        (disk / "ballast").write_bytes(b"b" * 40000)
        with waiting(tmp_path, "s100000", "./d") as (process, fd):
            os.write(fd, data)
            assert process.stderr is not None
            warning = b"multilog: warning: unable to write to ./d/current, pausing: out of disk space\n"
            assert lines_until(process.stderr.fileno(), 1) == warning
            (disk / "ballast").unlink()
            wait_for(lambda: content(disk) == data, timeout=15)


@pytest.mark.root
def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "d", "ro"):
        for program in (peer("multilog"), ours("multilog")):
            done = run([program, "./d"], cwd=tmp_path)
            message = b"multilog: fatal: unable to lock directory ./d: read-only file system\n"
            assert (done.returncode, done.stderr) == (111, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o555)
    for program in (peer("multilog"), ours("multilog")):
        done = run([program, "./d"], cwd=tmp_path)
        assert (done.returncode, done.stderr) == (111, b"multilog: fatal: unable to lock directory ./d: access denied\n")


def test_closed_input_is_the_end(tmp_path: Path) -> None:
    for program in (peer("multilog"), ours("multilog")):
        done = run(["/bin/sh", "-c", f"exec {program} ./d <&-"], cwd=tmp_path, env=environment())
        assert (done.returncode, done.stderr) == (0, b"")


WORDS = st.lists(
    st.sampled_from(["-*", "+*", "-a*", "+*b", "-*x*", "+", "-a", "+* a*", "e", "=st", "./one", "./two", "n5", "odd"]),
    max_size=7,
    unique_by=lambda word: word if word[0] in "./=" else object(),
)
DATA = st.lists(st.sampled_from([b"a", b"b", b"x", b" a", b"\n", b"\n", b"a" * 201, b"x" * 998]), max_size=20).map(b"".join)


@settings(max_examples=25, deadline=None)
@given(words=WORDS, data=DATA)
def test_any_script_does_what_it_does_in_c(tmp_path_factory: pytest.TempPathFactory, words: list[str], data: bytes) -> None:
    top = tmp_path_factory.mktemp("script")
    theirs, mine = both(words, data, top)
    assert mine == theirs
    found = [{path.name: path for path in (top / who).iterdir()} for who in ("c", "o")]
    assert found[0].keys() == found[1].keys()
    for name, path in found[0].items():
        if path.is_dir():
            assert (found[1][name] / "current").read_bytes() == (path / "current").read_bytes()
        else:
            assert found[1][name].read_bytes() == path.read_bytes()


def test_killed_again_and_again_nothing_is_doubled_or_out_of_order(tmp_path: Path) -> None:
    """Through rotations and processors; what a killed process had read but not written may be missing, and torn."""
    read_end, write_end = os.pipe()
    number = 0
    moments = random.Random(7)
    for _ in range(12):
        (tmp_path / "d").mkdir(exist_ok=True)
        before = len(old(tmp_path / "d"))
        with spawn([ours("multilog"), "s4096", "n9999", "!cat", "./d"], cwd=tmp_path, stdin=read_end) as process:
            wanted = before + moments.randrange(1, 4)
            os.write(write_end, b"".join(b"%06d %s\n" % (number + line, b"x" * 92) for line in range(250)))
            number += 250
            wait_for(lambda wanted=wanted: len(old(tmp_path / "d")) >= wanted)  # type: ignore[misc]
            process.kill()
            process.wait(10)
    os.close(write_end)
    with spawn([peer("multilog"), "n9999", "./d"], cwd=tmp_path, stdin=read_end) as process:
        assert process.wait(20) == 0
    os.close(read_end)
    assert names(tmp_path / "d")[-3:] == ["current", "lock", "state"]
    intact = [int(line[:6]) for line in content(tmp_path / "d").split(b"\n") if len(line) == 99]
    assert intact == sorted(set(intact))
    assert len(intact) > 500
    assert {path.suffix for path in old(tmp_path / "d")} == {".s", ".u"}
