"""Finding programs, becoming them, starting them."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from qserver.base import chain
from tests.support import BIN, environment, ours, run


def script(path: Path, text: str = "#!/bin/sh\necho ran\n", mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_find_searches_path_in_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        script(tmp_path / name / "prog")
    assert chain.find("prog", f"{tmp_path}/one:{tmp_path}/two") == f"{tmp_path}/one/prog"


def test_find_empty_element_is_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "prog")
    monkeypatch.chdir(tmp_path)
    assert chain.find("prog", "/nonexistent::/bin") == "./prog"


def test_find_goes_on_after_a_file_it_may_not_execute(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    script(tmp_path / "one" / "prog", mode=0o644)
    script(tmp_path / "two" / "prog")
    assert chain.find("prog", f"{tmp_path}/one:{tmp_path}/two") == f"{tmp_path}/two/prog"


@pytest.mark.parametrize(("mode", "expected"), [(None, errno.ENOENT), (0o644, errno.EACCES)], ids=["nothing", "not executable"])
def test_find_reports_the_last_error_that_was_not_enoent(tmp_path: Path, mode: int | None, expected: int) -> None:
    if mode is not None:
        script(tmp_path / "prog", mode=mode)
    with pytest.raises(OSError) as caught:
        chain.find("prog", f"{tmp_path}:/nonexistent")
    assert caught.value.errno == expected


def test_find_ends_at_an_element_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    script(tmp_path / "two" / "prog")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        chain.find("prog", f"{tmp_path}/file:{tmp_path}/two")


def test_the_empty_name_is_the_directories_themselves() -> None:
    with pytest.raises(PermissionError):
        chain.find("")


def test_execute_reports_what_cannot_run(tmp_path: Path) -> None:
    done = run([ours("envdir"), str(tmp_path), "no-such-program"])
    assert done.returncode == 111
    assert done.stderr == b"envdir: fatal: unable to run no-such-program: file does not exist\n"


@pytest.mark.parametrize("exec_all", [False, True], ids=["in-process", "exec"])
def test_a_chain_of_our_own_commands_ends_in_the_program(tmp_path: Path, exec_all: bool) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "GREETING").write_text("hello\n")
    env = environment(QSERVER_EXEC="1") if exec_all else environment()
    argv = [
        "envdir",
        str(tmp_path / "env"),
        "setlock",
        str(tmp_path / "lock"),
        "softlimit",
        "-o",
        "64",
        "envuidgid",
        "root",
    ]
    done = run([ours(argv[0]), *argv[1:], "/bin/sh", "-c", 'echo "$GREETING $UID $(ulimit -n) $PPID"'], env=env)
    assert done.stderr == b""
    assert done.stdout.split()[:3] == [b"hello", b"0", b"64"]


def test_in_process_links_keep_the_pid(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    done = run(["/bin/sh", "-c", f'echo $$; exec {BIN}/envdir {tmp_path}/env setlock {tmp_path}/l /bin/sh -c "echo \\$\\$"'])
    first, second = done.stdout.split()
    assert first == second


def test_programs_get_default_signals_and_no_added_environment(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    probe = "grep -E 'SigIgn|SigBlk|SigCgt' /proc/self/status; env"
    plain = run(["/bin/sh", "-c", probe], env={"PATH": "/bin:/usr/bin", "A": "1"})
    chained = run([ours("envdir"), str(tmp_path / "env"), "/bin/sh", "-c", probe], env={"PATH": "/bin:/usr/bin", "A": "1"})
    assert chained.stdout == plain.stdout


def test_spawn_maps_descriptors(tmp_path: Path) -> None:
    out_r, out_w = os.pipe()
    pid = chain.spawn(["/bin/sh", "-c", "echo one; echo two >&3"], {"PATH": "/bin"}, {1: out_w, 3: out_w})
    os.close(out_w)
    with open(out_r, "rb") as file:
        assert sorted(file.read().split()) == [b"one", b"two"]
    assert os.waitpid(pid, 0)[1] == 0


def test_spawn_exchanges_descriptors_without_loss() -> None:
    a_r, a_w = os.pipe()
    b_r, b_w = os.pipe()
    say = f"import os; os.write({b_w}, b'a\\n'); os.write({a_w}, b'b\\n')"
    pid = chain.spawn([sys.executable, "-IS", "-c", say], {"PATH": "/bin"}, {a_w: b_w, b_w: a_w})
    os.close(a_w)
    os.close(b_w)
    with open(a_r, "rb") as first, open(b_r, "rb") as second:
        assert (first.read(), second.read()) == (b"a\n", b"b\n")
    assert os.waitpid(pid, 0)[1] == 0


def test_spawn_of_what_cannot_run_raises() -> None:
    with pytest.raises(OSError):
        chain.spawn(["no-such-program"], {"PATH": "/bin"}, {})


def test_odd_variable_names_reach_a_program_as_far_as_they_can(tmp_path: Path) -> None:
    for name in ("=", "A=B", "C"):
        (tmp_path / name).write_text("x\n")
    done = run([ours("envdir"), str(tmp_path), "/usr/bin/env"], env={})
    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, [b"A=B=x", b"C=x"], b"")


@pytest.mark.parametrize("words", ["tai64n", "svok /nonexistent", "svc --help"])
def test_a_closed_output_is_no_bug(words: str) -> None:
    done = run(["/bin/sh", "-c", f"exec {BIN}/{words} >&-"])
    assert done.returncode in (0, 111)
    assert b"Traceback" not in done.stderr
    assert b"bug" not in done.stderr
