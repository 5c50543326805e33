"""envdir: what files make of the environment, messages, and Debian's envdir beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qserver.commands.envdir import value_of
from tests.support import environment, ours, peer, run

BOTH = ("theirs", "ours")


def program(who: str, name: str = "envdir") -> str:
    return ours(name) if who == "ours" else peer(name)


def resulting(who: str, directory: Path, *options: str, **given: str) -> dict[bytes, bytes]:
    """The environment that a child sees."""
    done = run([program(who), *options, str(directory), "/usr/bin/env", "-0"], env={"PATH": "/usr/bin:/bin", **given})
    assert done.stderr == b""
    found: dict[bytes, bytes] = {}
    for item in done.stdout.split(b"\0")[:-1]:
        name, _, value = item.partition(b"=")
        found[name] = value
    return found


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"v", b"v"),
        (b"v\n", b"v"),
        (b"v \t \n", b"v"),
        (b"  v w\n", b"  v w"),
        (b"\n", b""),
        (b" \t", b""),
        (b"one\ntwo\n", b"one"),
        (b"a\0b\0\n", b"a\nb\n"),
        (b"a \0 \n", b"a \n"),
        (b"a\r\n", b"a\r"),
        (b"\xff=\xe9", b"\xff=\xe9"),
        (b"x" * 100000, b"x" * 100000),
    ],
)
@pytest.mark.parametrize("who", BOTH)
def test_values(tmp_path: Path, who: str, data: bytes, value: bytes) -> None:
    (tmp_path / "NAME").write_bytes(data)
    assert resulting(who, tmp_path)[b"NAME"] == value
    assert value_of(data) == value


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.sampled_from(["A", "B", "C=D", "E.F", ".G"]), st.binary(max_size=6), max_size=5))
def test_any_files_mean_what_they_mean_to_c(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    directory = tmp_path_factory.mktemp("env")
    for name, data in files.items():
        (directory / name).write_bytes(data)
    inherited = {"A": "1", "C": "2", "G": "3"}
    assert resulting("ours", directory, **inherited) == resulting("theirs", directory, **inherited)


@pytest.mark.parametrize("who", BOTH)
def test_what_removes_and_what_is_ignored(tmp_path: Path, who: str) -> None:
    (tmp_path / "EMPTY").touch()
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / ".hidden").write_text("x")
    found = resulting(who, tmp_path, EMPTY="1", FIFO="2", hidden="3", OTHER="4")
    assert found == {b"PATH": b"/usr/bin:/bin", b"hidden": b"3", b"OTHER": b"4"}


def test_a_link_to_nothing_removes(tmp_path: Path) -> None:
    (tmp_path / "LINK").symlink_to("nowhere")
    assert b"LINK" not in resulting("ours", tmp_path, LINK="1")


def test_a_prefix_counts_for_settings_and_removals(tmp_path: Path) -> None:
    (tmp_path / "A").write_text("a\n")
    (tmp_path / "B").touch()
    found = resulting("ours", tmp_path, "-pX", "-p", "PRE_", A="1", B="2", PRE_B="3")
    assert found == {b"PATH": b"/usr/bin:/bin", b"A": b"1", b"B": b"2", b"PRE_A": b"a"}


@pytest.mark.parametrize("who", BOTH)
def test_the_child_is_found_on_the_path_given_at_first(tmp_path: Path, who: str) -> None:
    (tmp_path / "PATH").write_text("/nonexistent")
    done = run([program(who), str(tmp_path), "env"], env={"PATH": "/usr/bin"})
    assert done.stdout == b"PATH=/nonexistent\n"
    done = run([program(who), str(tmp_path), "env"], env={})
    assert done.stdout == b"PATH=/nonexistent\n"


@pytest.mark.parametrize("who", BOTH)
def test_the_child_runs_where_envdir_was_started(tmp_path: Path, who: str) -> None:
    (tmp_path / "env").mkdir()
    assert run([program(who), "env", "/bin/pwd"], cwd=tmp_path).stdout == os.fsencode(tmp_path) + b"\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], b"envdir: usage: envdir dir child\n"),
        (["dir"], b"envdir: usage: envdir dir child\n"),
        (["no-such-dir"], b"envdir: usage: envdir dir child\n"),
        (["no-such-dir", "no-such"], b"envdir: fatal: unable to switch to directory no-such-dir: file does not exist\n"),
        (["file", "true"], b"envdir: fatal: unable to switch to directory file: not a directory\n"),
        (["with-dir", "true"], b"envdir: fatal: unable to read with-dir/sub: is a directory\n"),
        (["with-loop", "true"], b"envdir: fatal: unable to read with-loop/loop: symbolic link loop\n"),
        (["dir", "no-such"], b"envdir: fatal: unable to run no-such: file does not exist\n"),
        (["dir", "./dir"], b"envdir: fatal: unable to run ./dir: access denied\n"),
    ],
)
@pytest.mark.parametrize("who", BOTH)
def test_messages(tmp_path: Path, who: str, arguments: list[str], message: bytes) -> None:
    for name in ("dir", "with-dir/sub", "with-loop"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "with-loop" / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    done = run([program(who), *arguments], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, message)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["-x"], b"envdir: illegal option -- x\n"), (["-p"], b"envdir: option requires an argument -- p\n")],
)
def test_wrong_options(arguments: list[str], complaint: bytes) -> None:
    done = run([ours("envdir"), *arguments])
    assert (done.returncode, done.stderr) == (111, complaint + b"envdir: usage: envdir dir child\n")


def test_the_childs_status_is_envdirs(tmp_path: Path) -> None:
    assert run([ours("envdir"), str(tmp_path), "sh", "-c", "exit 7"], env=environment()).returncode == 7
