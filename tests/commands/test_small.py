"""pgrphack, fghack, setuser, envini, readproctitle: what they do, and Debian's programs beside them where there are any."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.commands.envini import settings
from tests.service.services import is_asleep
from tests.support import environment, ours, peer, run, wait_for

BOTH = ("ours", "theirs")


def program(who: str, name: str) -> str:
    return ours(name) if who == "ours" else peer(name)


# pgrphack


@pytest.mark.parametrize("who", BOTH)
def test_pgrphack_leads_a_session(who: str) -> None:
    done = run([program(who, "pgrphack"), "/bin/sh", "-c", "cut -d' ' -f1,5,6 /proc/$$/stat"])
    pid, group, session = done.stdout.split()
    assert pid == group == session
    assert done.returncode == 0


@pytest.mark.parametrize("who", BOTH)
def test_pgrphack_where_a_group_is_led_already(who: str) -> None:
    done = subprocess.run([program(who, "pgrphack"), "/bin/echo", "here"], capture_output=True, process_group=0, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")


@pytest.mark.parametrize("name", ["pgrphack", "fghack"])
@pytest.mark.parametrize("words", [[], ["-x"], ["--", "true"], ["no-such-program"], ["/etc/passwd"], ["true"], [""]])
def test_messages_and_codes_are_those_of_c(name: str, words: list[str]) -> None:
    here, there = (run([program(who, name), *words]) for who in BOTH)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)


# fghack


@pytest.mark.parametrize("who", BOTH)
@pytest.mark.parametrize("end", ["exit 0", "exit 3", "exit 111", "kill -9 $$", "kill -TERM $$"])
def test_fghack_ends_as_its_child(who: str, end: str) -> None:
    done = run([program(who, "fghack"), "/bin/sh", "-c", end])
    code = {"exit 0": 0, "exit 3": 3}.get(end, 111)
    said = b"fghack: fatal: child crashed\n" if end.startswith("kill") else b""
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize("who", BOTH)
def test_fghack_waits_for_what_went_into_the_background(tmp_path: Path, who: str) -> None:
    os.mkfifo(tmp_path / "go")
    script = "(read x < go; echo done > done) & echo started > started; exit 5"
    process = subprocess.Popen(
        [program(who, "fghack"), "/bin/sh", "-c", script], cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL
    )
    wait_for((tmp_path / "started").exists)
    wait_for(lambda: is_asleep(process.pid))
    assert process.poll() is None
    (tmp_path / "go").write_text("\n")
    assert process.wait(20) == 5
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("who", BOTH)
def test_fghack_passes_thirty_descriptors_on(who: str) -> None:
    done = run([program(who, "fghack"), "/bin/ls", "-l", "/proc/self/fd"])
    held = Counter(line.rpartition(b" ")[2] for line in done.stdout.splitlines() if b"pipe:" in line)
    assert held.most_common(1)[0][1] in (30, 31)


# setuser


@pytest.mark.root
@pytest.mark.parametrize("name", ["nobody", "daemon", "root"])
def test_setuser_is_the_account(name: str, tmp_path: Path) -> None:
    entry = pwd.getpwnam(name)
    if not os.path.isdir(entry.pw_dir):
        done = run([ours("setuser"), name, "true"])
        assert done.returncode == 111
        assert done.stderr == b"setuser: fatal: unable to chdir to %s: file does not exist\n" % os.fsencode(entry.pw_dir)
        return
    script = "echo $HOME $SHELL $USER $UID $GID; pwd; id -u; id -g; id -G; echo $OTHER"
    done = run([ours("setuser"), name, "/bin/sh", "-c", script], env={**environment(), "OTHER": "kept", "HOME": "/x"})
    groups = sorted(os.getgrouplist(name, entry.pw_gid))
    variables, place, uid, gid, all_groups, other = done.stdout.decode().splitlines()
    expected = f"{entry.pw_dir} {entry.pw_shell} {name} {entry.pw_uid} {entry.pw_gid}"
    assert (variables, place, other) == (expected, entry.pw_dir, "kept")
    assert (int(uid), int(gid), sorted(map(int, all_groups.split()))) == (entry.pw_uid, entry.pw_gid, groups)


def test_setuser_messages() -> None:
    for words in ([], ["root"]):
        done = run([ours("setuser"), *words])
        assert (done.returncode, done.stderr) == (100, b"setuser: usage: setuser account child\n")
    for name in ("no-such-account", "-s", "0", ""):
        done = run([ours("setuser"), name, "true"])
        assert (done.returncode, done.stderr) == (111, b"setuser: fatal: unknown account %s\n" % name.encode())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become everybody")
def test_setuser_needs_root() -> None:
    done = run([ours("setuser"), "daemon", "true"])
    assert (done.returncode, done.stderr) == (111, b"setuser: fatal: unable to initgroups: permission denied\n")


# envini


INI = b"""; a comment
 first = 1
FIRST=one = two ; three\t \r
no value
= nameless
[sect]
Message=x\t
Message = last one
  empty =
spaced   name = no
[]
bare=1
[other
broken] = 2
[a b]
n = \xff\xe9
"""


def test_envini_settings() -> None:
    assert settings(INI) == {
        b"first": b"1",
        b"FIRST": b"one = two ; three",
        b"": b"nameless",
        b"sect_Message": b"last one",
        b"sect_empty": b"",
        b"_bare": b"1",
        b"_broken]": b"2",
        b"a b_n": b"\xff\xe9",
    }


@given(st.binary(max_size=60))
def test_envini_takes_any_file(data: bytes) -> None:
    for name, value in settings(data).items():
        assert b"\0" not in name + value
        assert b"\n" not in name + value


def test_envini_runs_its_child(tmp_path: Path) -> None:
    ini = tmp_path / "conf.ini"
    ini.write_bytes(INI)
    given = {"PATH": "/nowhere", "PRE_first": "0"}
    done = run([ours("envini"), "-pX", "-p", "PRE_", str(ini), "/usr/bin/env", "-0"], env=given)
    assert set(done.stdout.split(b"\0")) >= {b"PRE_first=1", b"PRE_sect_Message=last one", b"PATH=/nowhere"}
    done = run([ours("envini"), str(tmp_path / "missing"), "/bin/sh", "-c", "exit 7"])
    assert (done.returncode, done.stderr) == (7, b"")


def test_envini_finds_its_child_on_the_path_given_at_first(tmp_path: Path) -> None:
    ini = tmp_path / "conf.ini"
    ini.write_text("PATH=/nowhere\n")
    done = run([ours("envini"), str(ini), "env"], env={"PATH": "/usr/bin"})
    assert done.stdout == b"PATH=/nowhere\n"


def test_envini_messages(tmp_path: Path) -> None:
    usage = b"envini: usage: envini [ -p prefix ] inifile child\n"
    for words in ([], ["x"], ["-p", "x", "y"]):
        done = run([ours("envini"), *words])
        assert (done.returncode, done.stderr) == (111, usage)
    done = run([ours("envini"), "-q", "x", "y"])
    assert (done.returncode, done.stderr) == (111, b"envini: illegal option -- q\n" + usage)
    done = run([ours("envini"), str(tmp_path), "true"])
    assert (done.returncode, done.stderr) == (111, b"envini: fatal: unable to read %s: is a directory\n" % bytes(tmp_path))


# readproctitle


def shown(process: subprocess.Popen[bytes]) -> bytes:
    return (b"\0" + Path(f"/proc/{process.pid}/cmdline").read_bytes()).split(b"\0")[-2]  # empty just before exec


@pytest.mark.parametrize("who", BOTH)
def test_readproctitle_shows_the_last_bytes(who: str) -> None:
    with subprocess.Popen(
        [program(who, "readproctitle"), "service", "errors:", "abcdefghij"], stdin=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        wait_for(lambda: shown(process) == b"." * 10)
        for text, seen in (
            (b"x", b".........x"),
            (b"yz\n", b"......xyz\n"),
            (b"\0a\0", b".....xyz\na"),
            (b"0123456789", b"...3456789"),
            (b"\xff", b"...456789\xff"),
        ):
            process.stdin.write(text)
            process.stdin.flush()
            wait_for(lambda seen=seen: shown(process) == seen)  # type: ignore[misc]
        assert Path(f"/proc/{process.pid}/cmdline").read_bytes().count(b"service\0errors:\0") == 1
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("who", BOTH)
@pytest.mark.parametrize("words", [[], ["x"], ["abcd"], ["abcdefgh", "abcd"], ["", "", ""]])
def test_readproctitle_without_room(who: str, words: list[str]) -> None:
    done = run([program(who, "readproctitle"), *words])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", b"")


@pytest.mark.parametrize("who", BOTH)
def test_readproctitle_that_cannot_read(who: str, tmp_path: Path) -> None:
    with open(tmp_path / "output", "wb") as output:
        done = subprocess.run([program(who, "readproctitle"), "abcde"], stdin=output, timeout=20, env=environment())
    assert done.returncode == 111


def test_readproctitle_reads_whatever_the_speed() -> None:
    with subprocess.Popen([ours("readproctitle"), "." * 400], stdin=subprocess.PIPE, env=environment()) as process:
        assert process.stdin is not None
        process.stdin.write(b"0123456789" * 1_000_000 + b"end")
        process.stdin.flush()
        wait_for(lambda: shown(process).endswith(b"6789end"))
        assert shown(process) == b"..." + (b"0123456789" * 40)[-394:] + b"end"
        process.stdin.close()
        assert process.wait(20) == 0


def test_readproctitle_behind_another_command_of_ours(tmp_path: Path) -> None:
    """It has a command line of its own there too."""
    with subprocess.Popen(
        [ours("setlock"), str(tmp_path / "lock"), "readproctitle", "word", "." * 20], stdin=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"hello")
        process.stdin.flush()
        wait_for(lambda: shown(process) == b"." * 15 + b"hello")
        process.stdin.close()
        assert process.wait(20) == 0
