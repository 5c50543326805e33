"""qmail-queue as a command: what it writes, and every exit code that can be provoked."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from qmail.queue.layout import make
from qmail.queue.names import parse_todo
from qmail.queue.states import survey
from qmail.queue.trigger import Trigger
from tests.queue.conftest import OWNER, become
from tests.support import environment, make_home, ours, run, spawn, wait_for

ENVELOPE = b"Fa@b.c\0Td@e.f\0Tg@h.i\0\0"
MESSAGE = b"Subject: x\n\nbody without newline"


def queue(
    home: Path,
    envelope: bytes = ENVELOPE,
    message: bytes = MESSAGE,
    preexec: Callable[[], object] | None = None,
    env: Mapping[str, str] = MappingProxyType({}),
    stdin: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run qmail-queue with the descriptors 0 and 1 that its callers give it, both to be read; `stdin` instead of a message."""
    read, write = os.pipe()
    assert len(envelope) <= 60_000
    os.write(write, envelope)
    os.close(write)
    try:
        with subprocess.Popen(
            [ours("qmail-queue")],
            env=environment(QMAILHOME=str(home)) | dict(env),
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=read,
            stderr=subprocess.PIPE,
            preexec_fn=preexec,
        ) as process:
            _, complaint = process.communicate(message if stdin is None else None, timeout=20)
    finally:
        os.close(read)
    return subprocess.CompletedProcess("qmail-queue", process.returncode, b"", complaint)


def files(home: Path) -> list[str]:
    """Everything in the queue but the lock directory."""
    found = [*home.glob("queue/*/*/*"), *home.glob("queue/pid/*"), *home.glob("queue/bounce/*")]
    return sorted(str(path.relative_to(home / "queue")) for path in found)


def test_what_is_written(home: Path) -> None:
    done = queue(home)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (mess,) = home.glob("queue/mess/*/*")
    number = mess.stat().st_ino
    part = number % 23
    assert files(home) == [f"intd/{part}/{number}", f"mess/{part}/{number}", f"todo/{part}/{number}"]
    todo = home / "queue" / "todo" / str(part) / str(number)
    received, _, text = mess.read_bytes().partition(b"\n")
    assert text == MESSAGE
    match = re.fullmatch(
        rb"Received: \(qmail (\d+) invoked by uid (\d+)\); (\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d) -0000", received
    )
    assert match
    assert int(match[2]) == os.getuid()
    assert todo.read_bytes() == b"u%d\0p%b\0Fa@b.c\0Td@e.f\0Tg@h.i\0" % (os.getuid(), match[1])
    assert todo.stat().st_ino == (home / "queue" / "intd" / str(part) / str(number)).stat().st_ino
    assert survey(f"{home}/queue", 23) == ({number: "S4"}, [])


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_modes(home: Path, umask: int) -> None:
    assert queue(home, preexec=lambda: os.umask(umask)).returncode == 0
    for path in home.glob("queue/*/*/*"):
        assert path.stat().st_mode & 0o777 == 0o644


def test_arguments_mean_nothing(home: Path) -> None:
    done = run(["/bin/sh", "-c", f"exec {ours('qmail-queue')} -x foo 1</dev/null"], env=environment(QMAILHOME=str(home)))
    assert done.returncode == 54


def test_no_recipients_are_fine(home: Path) -> None:
    assert queue(home, b"F\0\0").returncode == 0
    (todo,) = home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).recipients == []


def test_an_empty_message_and_a_large_one(home: Path) -> None:
    assert queue(home, message=b"").returncode == 0
    assert queue(home, message=b"x" * 1_000_000).returncode == 0
    sizes = sorted(path.stat().st_size for path in home.glob("queue/mess/*/*"))
    assert sizes[0] < 200 and sizes[1] - sizes[0] == 1_000_000


def test_many_recipients(home: Path) -> None:
    recipients = [b"user%d@example.org" % number for number in range(2_000)]
    envelope = b"Fs\0" + b"".join(b"T%b\0" % recipient for recipient in recipients) + b"\0"
    assert queue(home, envelope).returncode == 0
    (todo,) = home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).recipients == recipients


def test_the_trigger_is_pulled_once_it_is_in_todo(home: Path) -> None:
    end = Trigger(f"{home}/queue")
    assert queue(home).returncode == 0
    assert os.read(end.fileno(), 10) == b"\0"
    end.close()


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (b"", 54), (b"F", 54), (b"Fa\0", 54), (b"Fa\0Tb\0", 54), (b"Fa\0Tb", 54),
        (b"\0", 91), (b"Ta\0\0", 91), (b"Fa\0Fb\0\0", 91), (b"Fa\0x\0\0", 91), (b"fa\0\0", 91),
        (b"F" + b"a" * 1003 + b"\0\0", 11), (b"Fa\0T" + b"b" * 1003 + b"\0\0", 11), (b"F" + b"a" * 50_000, 11),
    ],
)  # fmt: skip
def test_bad_envelopes_leave_nothing(home: Path, envelope: bytes, code: int) -> None:
    done = queue(home, envelope)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert files(home) == []


def test_the_longest_address(home: Path) -> None:
    assert queue(home, b"F" + b"a" * 1002 + b"\0T" + b"b" * 1002 + b"\0\0").returncode == 0


def test_54_the_message_cannot_be_read(home: Path) -> None:
    with open("/dev/null", "wb") as null:
        assert queue(home, stdin=null.fileno()).returncode == 54
    assert files(home) == []


def test_61_no_home(tmp_path: Path) -> None:
    assert queue(tmp_path / "nowhere").returncode == 61


def test_62_no_queue(tmp_path: Path) -> None:
    assert queue(tmp_path).returncode == 62


@pytest.mark.parametrize(("kind", "code"), [("pid", 63), ("mess", 64), ("intd", 65), ("todo", 66)])
def test_63_to_66_files_that_cannot_be_made(home: Path, kind: str, code: int) -> None:
    directory = home / "queue" / kind
    shutil.rmtree(directory)
    if kind != "pid":
        directory.mkdir()
    done = queue(home)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert files(home) == []


def test_53_a_message_over_the_file_size_limit(home: Path) -> None:
    done = queue(home, message=b"x" * 500_000, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert (done.returncode, done.stdout, done.stderr) == (53, b"", b"")
    assert files(home) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of 400 kB."""
    path = tmp_path / "small"
    path.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(path)]).returncode != 0:
        pytest.skip("no permission to mount a tmpfs")
    try:
        make(str(path))
        yield path
    finally:
        run(["umount", str(path)])


@pytest.mark.root
def test_53_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    done = queue(small_disk, message=b"x" * 1_000_000)
    assert (done.returncode, done.stdout, done.stderr) == (53, b"", b"")
    assert files(small_disk) == []
    assert queue(small_disk).returncode == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGALRM, 52), (signal.SIGABRT, 81), (signal.SIGSEGV, 81), (signal.SIGBUS, 81)]
)
def test_52_and_81_signals(home: Path, number: int, code: int) -> None:
    with spawn([ours("qmail-queue")], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 300_000)
        process.stdin.flush()
        wait_for(lambda: files(home))
        process.send_signal(number)
        assert process.wait(10) == code
    assert not list(home.glob("queue/todo/*/*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ])
def test_who_hangs_up_does_not_stop_a_message_half_taken(home: Path, number: int) -> None:
    (home / "envelope").write_bytes(ENVELOPE)
    script = f"exec {ours('qmail-queue')} 1<{home}/envelope"
    with spawn(["/bin/sh", "-c", script], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 300_000)
        process.stdin.flush()
        wait_for(lambda: files(home))
        process.send_signal(number)
        process.stdin.close()
        assert process.wait(10) == 0
    assert len(list(home.glob("queue/todo/*/*"))) == 1


# ---- who invoked it


@pytest.mark.root
def test_root_drops_to_the_queue_s_owner(shared_home: Path) -> None:
    assert queue(shared_home).returncode == 0
    for path in shared_home.glob("queue/*/*/*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (OWNER, OWNER)
    (todo,) = shared_home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).uid == 0


@pytest.mark.root
def test_62_a_stranger_without_a_service(shared_home: Path, stranger: int) -> None:
    assert queue(shared_home, preexec=lambda: become(stranger)).returncode == 62
    assert files(shared_home) == []


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("alias", b"invoked by alias"),
        ("qmaild", b"invoked from network"),
        ("qmails", b"invoked for bounce"),
        (None, b"invoked by uid 7"),
    ],
)
def test_invokers(home: Path, monkeypatch: pytest.MonkeyPatch, role: str | None, text: bytes) -> None:
    """Users that exist in the data base have their texts; the queue's own uid has not."""
    from qmail.queue.site import site_of
    from qserver.base import privileges

    def account(name: str) -> privileges.Account | None:
        return privileges.Account(name, 7, 7, "/", "") if name == role else None

    monkeypatch.setattr(privileges, "account", account)
    site = site_of(str(home))
    assert site.invoked(7) == text
    assert site.invoked(os.getuid()) == b"invoked by uid %d" % os.getuid()
    assert site.received(42, 7, 810276413) == b"Received: (qmail 42 " + text + b"); 5 Sep 1995 04:46:53 -0000\n"


def test_partitioned_roles_have_their_texts() -> None:
    from qmail.home import USER_NUMBERS, Identities
    from qmail.queue.site import Site

    missing = [role for role in USER_NUMBERS if _unknown(role)]
    who = Identities(USER_NUMBERS["qmailq"], 2109, True)
    site = Site.__new__(Site)
    site.identities = who
    site._invokers = {}
    if "qmaild" in missing:
        assert site.invoked(USER_NUMBERS["qmaild"]) == b"invoked from network"
    assert site.invoked(who.uid("alias")) == b"invoked by alias"
    assert site.invoked(who.uid("qmails")) == b"invoked for bounce"
    assert site.invoked(12345) == b"invoked by uid 12345"


def _unknown(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return True
    return False


# ---- the scanner


def scanner(home: Path, text: str) -> str:
    path = home / "scanner"
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("program", "env", "code"),
    [
        ("exit 0", {}, 0),
        ("exit 1", {}, 32),
        ("exit 2", {}, 71),
        ("exit 7", {"QHPSIRC": "7"}, 32),
        ("exit 1", {"QHPSIRC": "7"}, 71),
        ("kill -9 $$", {}, 71),
        ("exit 1", {"QHPSIMINSIZE": "100000"}, 0),
        ("exit 1", {"QHPSIMINSIZE": "10"}, 32),
        ("exit 1", {"QHPSIMAXSIZE": "10"}, 0),
        ("exit 1", {"QHPSIMAXSIZE": "100000"}, 32),
        ("exit 1", {"QHPSIMAXSIZE": "0"}, 32),
    ],
)
def test_scanner(home: Path, program: str, env: dict[str, str], code: int) -> None:
    done = queue(home, env={"QHPSI": scanner(home, program)} | env)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert len(list(home.glob("queue/todo/*/*"))) == (code == 0)
    if code:
        assert files(home) == []


def test_what_the_scanner_is_told(home: Path) -> None:
    program = scanner(home, f'{{ pwd; echo "$@"; tail -n +2 "$1"; }} > {home}/told; find todo -type f | wc -l >> {home}/told')
    env = {"QHPSI": program, "QHPSIARG1": "one two", "QHPSIARG3": "three"}
    done = queue(home, message=b"M\n", env=env)
    assert done.returncode == 0
    (mess,) = home.glob("queue/mess/*/*")
    told = f"{home}/queue\nmess/{mess.parent.name}/{mess.name} one two three\nM\n0\n"
    assert (home / "told").read_text() == told


def test_a_scanner_is_looked_for_on_the_path(home: Path) -> None:
    scanner(home, "exit 1")
    assert queue(home, env={"QHPSI": "scanner", "PATH": f"{home}:/usr/bin:/bin"}).returncode == 32
    assert queue(home, env={"QHPSI": "no-such-scanner"}).returncode == 71


def test_an_envelope_may_skip_the_scanner(home: Path) -> None:
    assert queue(home, b"Fa\0Tb\0Q\0", env={"QHPSI": scanner(home, "exit 1")}).returncode == 0


def test_many_at_once(home: Path) -> None:
    (home / "envelope").write_bytes(ENVELOPE)
    script = f'for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "body $n" | {ours("qmail-queue")} 1<{home}/envelope & done; wait'
    assert run(["/bin/sh", "-c", script], env=environment(QMAILHOME=str(home))).returncode == 0
    states, oddities = survey(f"{home}/queue", 23)
    assert (list(states.values()), oddities) == (["S4"] * 12, [])
    bodies = {path.read_bytes().partition(b"\n")[2] for path in home.glob("queue/mess/*/*")}
    assert bodies == {b"body %d\n" % number for number in range(1, 13)}


def test_two_homes_do_not_mix(tmp_path: Path) -> None:
    one, two = make_home(tmp_path / "one"), make_home(tmp_path / "two")
    assert queue(one).returncode == 0
    assert files(two) == []
