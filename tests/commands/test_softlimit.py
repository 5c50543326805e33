"""softlimit: every option, beside Debian's; and the room that it leaves interpreters."""

from __future__ import annotations

import os
import resource

import pytest

from qserver.base import limits
from tests.commands.test_envdir import BOTH, program
from tests.support import ROOT, environment, ours, run

USAGE = (
    b"softlimit: usage: softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes] [-m membytes]"
    b" [-o openfiles] [-p processes] [-r residentbytes] [-s stackbytes] [-t cpusecs] child\n"
)
SHOW = ["/bin/cat", "/proc/self/limits"]
INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("5", (1, 10), (5, 10)),
        ("", (1, 10), (0, 10)),
        ("10", (1, 10), (10, 10)),
        ("11", (1, 10), (10, 10)),
        ("9" * 30, (1, 10), (10, 10)),
        ("9" * 30, (1, INFINITY), (INFINITY, INFINITY)),
        ("9" * 18, (1, INFINITY), (10**18 - 1, INFINITY)),
        ("=", (1, 10), (10, 10)),
        ("=", (1, INFINITY), (INFINITY, INFINITY)),
        ("-", (1, 10), (INFINITY, INFINITY)),
    ],
)
def test_values(text: str, limit: tuple[int, int], expected: tuple[int, int]) -> None:
    assert limits.changed(text, limit) == expected


@pytest.mark.parametrize("text", ["x", "5x", " 5", "-5", "0x5", "٣", "==", "+1", "unlimited"])
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(ValueError):
        limits.changed(text, (1, 10))


@pytest.mark.parametrize("letter", list(limits.OPTIONS))
@pytest.mark.parametrize("value", ["100000000", "=", "123456789012345"])
def test_each_option_sets_what_the_c_program_sets(letter: str, value: str) -> None:
    theirs, mine = (run([program(who, "softlimit"), f"-{letter}", value, *SHOW]) for who in BOTH)
    assert (mine.returncode, mine.stderr) == (0, b"")
    assert mine.stdout == theirs.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["-m100000000", "-a50000000"],
        ["-a50000000", "-m100000000"],
        ["-o", "64", "-o", "="],
        ["-c0", "-o20", "-p=", "-t", "60", "--"],
        ["-o", "000000000000000000000000000064"],
    ],
)
def test_options_from_left_to_right(words: list[str]) -> None:
    theirs, mine = (run([program(who, "softlimit"), *words, *SHOW]) for who in BOTH)
    assert mine.stdout == theirs.stdout
    assert mine.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], b""),
        (["-o5"], b""),
        (["-o", "5x", "true"], b""),
        (["-o", "x", "/no/such"], b""),
        (["-z", "true"], b"softlimit: illegal option -- z\n"),
        (["-co"], b""),
        (["-o"], b"softlimit: option requires an argument -- o\n"),
    ],
)
@pytest.mark.parametrize("who", BOTH)
def test_wrong_calls(who: str, words: list[str], complaint: bytes) -> None:
    done = run([program(who, "softlimit"), *words])
    assert (done.returncode, done.stderr) == (100, complaint + USAGE)


@pytest.mark.parametrize("who", BOTH)
def test_what_cannot_run(who: str) -> None:
    done = run([program(who, "softlimit"), "-m", "4000000", "no-such"])
    assert (done.returncode, done.stderr) == (111, b"softlimit: fatal: unable to run no-such: file does not exist\n")


def test_not_an_executable_format(tmp_path: str) -> None:
    path = f"{tmp_path}/file"
    with open(path, "wb") as file:
        file.write(b"\x7fnothing")
    os.chmod(path, 0o755)
    for who in BOTH:
        done = run([program(who, "softlimit"), "-a", "1000", path])
        assert (done.returncode, done.stderr) == (111, f"softlimit: fatal: unable to run {path}: exec format error\n".encode())


def shown(words: list[str], limit: str, **env: str) -> list[str]:
    """Soft and hard of one line of /proc/self/limits, in the child."""
    done = run([ours("softlimit"), *words, *SHOW], env=environment(**env))
    assert done.stderr == b""
    (line,) = [line for line in done.stdout.decode().splitlines() if line.startswith(limit)]
    return line.removeprefix(limit).split()[:2]


def test_variables_come_before_options() -> None:
    assert shown([], "Max open files", SOFTLIMIT_OPENFILES="50")[0] == "50"
    assert shown(["-o60"], "Max open files", SOFTLIMIT_OPENFILES="50")[0] == "60"
    assert shown([], "Max data size", SOFTLIMIT_MEMBYTES="90000000", SOFTLIMIT_DATABYTES="80000000")[0] == "90000000"
    for letter, (names, variable) in limits.OPTIONS.items():
        assert run([ours("softlimit"), "true"], env=environment(**{variable: "x"})).returncode == 100, (letter, names)


def may_raise() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, which root in a container may lack."""
    with open("/proc/self/status") as file:
        return any(int(line.split()[1], 16) >> 24 & 1 for line in file if line.startswith("CapEff:"))


@pytest.mark.root
@pytest.mark.skipif(not may_raise(), reason="needs the right to raise hard limits")
def test_root_may_remove_the_hard_limit() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (10, 20))
        resource.setrlimit(resource.RLIMIT_AS, (10**9, 2 * 10**9))

    done = run([ours("softlimit"), "-c-", "-a", "-", *SHOW], preexec=lower)
    assert done.stdout.count(b"Max core file size        unlimited            unlimited") == 1
    assert done.stdout.count(b"Max address space         unlimited            unlimited") == 1
    words = [ours("softlimit"), "-c20", "setuidgid", "nobody", "softlimit", "-c-", "true"]
    done = run(words, preexec=lower)
    assert (done.returncode, done.stderr) == (111, b"softlimit: fatal: setrlimit failed: permission denied\n")


def test_a_small_program_fits_where_an_interpreter_would_not() -> None:
    for who in BOTH:
        assert run([program(who, "softlimit"), "-m", "4000000", "/bin/true"]).returncode == 0


@pytest.mark.parametrize(("count", "size"), [(40, 10000), (4000, 60), (10000, 1), (2, 120000), (1, 0)])
def test_a_large_environment_still_fits(count: int, size: int) -> None:
    env = environment(**{f"V{number}": "x" * size for number in range(count)})
    for who in BOTH:
        assert run([program(who, "softlimit"), "-a", "6000000", "/bin/true"], env=env).returncode == 0


@pytest.mark.parametrize("exec_all", [False, True], ids=["in-process", "exec"])
def test_our_programs_get_room_and_foreign_ones_the_number(exec_all: bool) -> None:
    env = environment(QSERVER_EXEC="1") if exec_all else environment()
    data = b"x" * 200000 + b"\n"
    done = run([ours("softlimit"), "-m", "3000000", "envuidgid", "root", "tai64n"], input=data, env=env)
    assert (done.returncode, done.stderr, done.stdout[26:]) == (0, b"", data)
    done = run([ours("softlimit"), "-m", "3000000", "envuidgid", "root", *SHOW], env=environment())
    assert b"Max address space         3000000 " in done.stdout
    assert b"Max data size             3000000 " in done.stdout


def test_what_our_programs_start_gets_the_number(tmp_path: str) -> None:
    script = "!sleep 0.2; cat /proc/self/limits"
    words = [ours("softlimit"), "-a", "30000000", "multilog", "s4096", script, f"{tmp_path}/d"]
    assert run(words, input=b"x" * 4095 + b"\n").returncode == 0
    (finished,) = [name for name in os.listdir(f"{tmp_path}/d") if name.startswith("@")]
    with open(f"{tmp_path}/d/{finished}", "rb") as file:
        assert b"Max address space         30000000 " in file.read()


def test_a_server_may_import_with_the_limits_lifted() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import resource\n"
        "from qserver.base import chain, limits\n"
        "wanted = {}\n"
        "limits.setting(wanted, 'a', '1000000')\n"
        "chain.limit_memory(limits.impose(wanted))\n"
        "held = []\n"
        "chain.with_room(lambda: held.append(bytes(50_000_000)))\n"
        "soft = resource.getrlimit(resource.RLIMIT_AS)[0]\n"
        "with open('/proc/self/statm') as file: mapped = int(file.read().split()[0]) * resource.getpagesize()\n"
        "print(50_000_000 < mapped <= soft <= mapped + 2_000_000)\n"
        "try: bytes(5_000_000)\n"
        "except MemoryError: print('limited')\n"
    )
    done = run([ours("python"), "-IS", "-c", code, str(ROOT)])
    assert (done.stdout, done.stderr) == (b"True\nlimited\n", b"")
