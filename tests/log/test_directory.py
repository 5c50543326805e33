"""Log directories: names, modes, rotation, taking up what others left; against Debian's multilog in both directions."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import ours, peer, run, spawn, wait_for

LINES = b"".join(b"line number %d of many\n" % number for number in range(1000))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def old(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.name.startswith("@"))


def content(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in [*old(directory), directory / "current"])


def seen(directory: Path) -> bytes:
    """The content of a directory that is being written; nothing in the middle of a rotation."""
    try:
        return content(directory)
    except FileNotFoundError:
        return b""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def shape(directory: Path) -> list[tuple[str, int, bytes]]:
    """Names with the time taken out, modes and contents."""
    paths = sorted(directory.iterdir())
    return [("@" + path.name[25:] if path.name[0] == "@" else path.name, mode(path), path.read_bytes()) for path in paths]


def test_a_fresh_directory(tmp_path: Path) -> None:
    assert run([ours("multilog"), "./d"], input=b"one\ntwo", cwd=tmp_path).returncode == 0
    assert mode(tmp_path / "d") == 0o700
    assert shape(tmp_path / "d") == [("current", 0o744, b"one\ntwo\n"), ("lock", 0o600, b""), ("state", 0o644, b"")]


def test_a_clean_end_is_continued(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        run([ours("multilog"), "./d"], input=text, cwd=tmp_path)
    assert shape(tmp_path / "d")[0] == ("current", 0o744, b"one\ntwo\n")


@pytest.mark.parametrize("size", [4096, 5000, 10000])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_rotation(tmp_path: Path, size: int, number: int) -> None:
    run([ours("multilog"), f"s{size}", f"n{number}", "./d"], input=LINES, cwd=tmp_path)
    files = old(tmp_path / "d")
    assert len(files) == min(number - 1, len(LINES) // size)
    for path in files:
        assert len(path.name) == 27
        assert path.name.endswith(".s")
        assert mode(path) == 0o744
        assert size - 2000 <= path.stat().st_size <= size
        assert path.read_bytes().endswith(b"\n")
    assert LINES.endswith(content(tmp_path / "d"))


def test_all_of_it_is_kept_when_the_number_allows(tmp_path: Path) -> None:
    run([ours("multilog"), "s4096", "n99", "./d"], input=LINES, cwd=tmp_path)
    assert content(tmp_path / "d") == LINES


def test_a_line_without_end_is_split_at_exactly_the_size(tmp_path: Path) -> None:
    run([ours("multilog"), "s4096", "n9", "./d"], input=b"x" * 10000, cwd=tmp_path)
    assert [path.stat().st_size for path in old(tmp_path / "d")] == [4096, 4096]
    assert (tmp_path / "d" / "current").read_bytes() == b"x" * (10000 - 8192) + b"\n"


def test_too_big_a_current_is_rotated_when_something_is_written(tmp_path: Path) -> None:
    run([ours("multilog"), "s9000", "./d"], input=b"x" * 6000 + b"\n", cwd=tmp_path)
    run([ours("multilog"), "s4096", "./d"], input=b"", cwd=tmp_path)
    assert names(tmp_path / "d") == ["current", "lock", "state"]
    run([ours("multilog"), "s4096", "./d"], input=b"y\n", cwd=tmp_path)
    assert [path.stat().st_size for path in old(tmp_path / "d")] == [6001]
    assert (tmp_path / "d" / "current").read_bytes() == b"y\n"


def test_only_names_as_long_as_a_label_count(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "@short").touch()
    (directory / ("@" + "0" * 24 + ".s")).touch()
    (directory / ("@" + "0" * 24 + ".u")).touch()
    (directory / ("@4" + "0" * 23)).touch()
    run([ours("multilog"), "s4096", "n4", "./d"], input=b"x" * 4095 + b"\n", cwd=tmp_path)
    kept = [path.name for path in old(directory)]
    assert "@short" in kept
    assert len(kept) == 4
    assert "@4" + "0" * 23 in kept


# how a crash, or another multilog, may have left a directory: file → (mode, content)
LEFT: dict[str, dict[str, tuple[int, bytes]]] = {
    "nothing": {},
    "clean": {"current": (0o744, b"c\n"), "state": (0o644, b"S")},
    "written": {"current": (0o644, b"c\nhalf"), "state": (0o644, b"S"), "lock": (0o600, b"")},
    "empty current": {"current": (0o644, b"")},
    "before the new current": {"previous": (0o644, b"p\n"), "state": (0o644, b"S")},
    "before the processor": {"current": (0o644, b""), "previous": (0o744, b"p\n"), "state": (0o644, b"S")},
    "processing": {
        "current": (0o644, b""),
        "previous": (0o744, b"p\n"),
        "processed": (0o644, b"half"),
        "newstate": (0o644, b"N"),
        "state": (0o644, b"S"),
    },
    "processed": {
        "current": (0o644, b"c\n"),
        "previous": (0o744, b"p\n"),
        "processed": (0o744, b"done"),
        "newstate": (0o644, b"N"),
    },
    "processed and clean": {"current": (0o744, b"c\n"), "previous": (0o744, b"p\n"), "processed": (0o744, b"done")},
}


def leave(directory: Path, files: dict[str, tuple[int, bytes]]) -> Path:
    directory.mkdir(mode=0o700)
    for name, (bits, data) in files.items():
        (directory / name).write_bytes(data)
        (directory / name).chmod(bits)
    return directory


@pytest.mark.parametrize("left", LEFT)
def test_what_a_crash_left_is_taken_up_as_by_the_c_program(tmp_path: Path, left: str) -> None:
    for name, program in (("a", peer("multilog")), ("b", ours("multilog"))):
        leave(tmp_path / name, LEFT[left])
        done = run([program, f"./{name}"], input=b"new\n", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
    assert shape(tmp_path / "b") == shape(tmp_path / "a")


@pytest.mark.parametrize("name", ["previous", "current", "processed"])
def test_a_crash_between_link_and_unlink_makes_no_second_name(tmp_path: Path, name: str) -> None:
    bits = 0o744 if name == "processed" else 0o644
    results: list[list[tuple[str, int, bytes]]] = []
    for program in (peer("multilog"), ours("multilog")):
        directory = leave(tmp_path / f"d{len(results)}", {name: (bits, b"data\n")})
        os.link(directory / name, directory / "@400000003b4a39c23294b13c.s")
        run([program, f"./{directory.name}"], cwd=tmp_path)
        results.append(shape(directory))
    assert results[0] == results[1]
    assert ("@.s", bits, b"data\n") in results[1]


@pytest.mark.parametrize("turns", ["CO", "OC", "COCO", "OCOC"])
def test_c_and_ours_take_turns_in_one_directory(tmp_path: Path, turns: str) -> None:
    written = b""
    for turn, who in enumerate(turns):
        text = b"".join(b"turn %d line %d\n" % (turn, number) for number in range(300))
        program = peer("multilog") if who == "C" else ours("multilog")
        done = run([program, "s4096", "n99", "./d"], input=text, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        written += text
    assert content(tmp_path / "d") == written
    assert all(path.name.endswith(".s") for path in old(tmp_path / "d"))


@pytest.mark.parametrize("next_one", ["C", "O"])
def test_kill_9_in_the_middle_of_a_stream(tmp_path: Path, next_one: str) -> None:
    current = tmp_path / "d" / "current"
    with spawn([ours("multilog"), "s4096", "n999", "./d"], cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(LINES + b"partial")
        process.stdin.flush()
        wait_for(lambda: seen(tmp_path / "d") == LINES)
        process.kill()
        process.wait(10)
    assert mode(current) == 0o644
    crashed = current.read_bytes()
    program = peer("multilog") if next_one == "C" else ours("multilog")
    assert run([program, "n999", "./d"], input=b"after\n", cwd=tmp_path).returncode == 0
    assert content(tmp_path / "d") == LINES + b"after\n"
    (unfinished,) = [path for path in old(tmp_path / "d") if path.name.endswith(".u")]
    assert (mode(unfinished), unfinished.read_bytes()) == (0o644, crashed)


LINE = st.sampled_from([b"a\n", b"bb" * 600 + b"\n", b"\0\xff\n", b"\n", b"c" * 1990 + b"\n"])


@settings(max_examples=15, deadline=None)
@given(lines=st.lists(LINE, max_size=60), newline=st.booleans())
def test_the_kept_bytes_are_the_c_programs(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], newline: bool) -> None:
    top = tmp_path_factory.mktemp("same")
    data = b"".join(lines)[: None if newline else -1]
    for name, program in (("a", peer("multilog")), ("b", ours("multilog"))):
        run([program, "s4096", "n999", f"./{name}"], input=data, cwd=top)
    assert content(top / "a") == content(top / "b")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("./file", b"unable to open directory ./file: not a directory"),
        ("./no/such", b"unable to open directory ./no/such: file does not exist"),
        ("/proc/d", b"unable to open directory /proc/d: file does not exist"),
        ("=no/such", b"unable to create no/such: file does not exist"),
        ("=dir", b"unable to create dir: is a directory"),
        ("./locked", b"unable to lock directory ./locked: is a directory"),
    ],
)
def test_what_cannot_be_opened_ends_it_before_anything_is_read(tmp_path: Path, action: str, message: bytes) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "locked" / "lock").mkdir(parents=True)
    expected = (111, b"multilog: fatal: " + message + b"\n")
    for program in (peer("multilog"), ours("multilog")):
        done = run([program, action], cwd=tmp_path)
        assert (done.returncode, done.stderr) == expected


def test_status_files_are_opened_before_directories(tmp_path: Path) -> None:
    done = run([ours("multilog"), "./d", "=no/such"], cwd=tmp_path)
    assert b"unable to create no/such" in done.stderr
    assert not (tmp_path / "d").exists()


def test_the_same_directory_twice_and_a_locked_one(tmp_path: Path) -> None:
    message = b"multilog: fatal: unable to lock directory ./d: temporary failure\n"
    done = run([ours("multilog"), "./d", "./d"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, message)
    with spawn([peer("multilog"), "./d"], cwd=tmp_path, stdin=subprocess.PIPE):
        wait_for(lambda: (tmp_path / "d" / "current").exists())
        done = run([ours("multilog"), "./d"], cwd=tmp_path)
        assert (done.returncode, done.stderr) == (111, message)
