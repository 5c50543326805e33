"""The in-process client: what our own programs use in place of a qmail-queue of their own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qmail.queue.client import DirectQueue, LateQueue, NullQueue, ProgramQueue, open_queue
from qmail.queue.names import parse_todo
from qmail.queue.service import answers
from qmail.queue.trigger import Trigger
from tests.queue.conftest import OWNER, become
from tests.support import environment, make_home, ours, run, spawn, wait_for


def files(home: Path) -> list[Path]:
    return [*home.glob("queue/*/*/*"), *home.glob("queue/pid/*")]


def program(home: Path, text: str) -> dict[str, str]:
    """An environment with a QMAILQUEUE of that text, named relative to the home."""
    path = home / "queue-program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return environment(QMAILQUEUE="queue-program")


def test_a_message(home: Path) -> None:
    end = Trigger(f"{home}/queue")
    queue = open_queue(str(home), {})
    assert isinstance(queue, DirectQueue)
    queue.put(b"Subject: x\n")
    queue.put(b"\nbody\n")
    queue.envelope(b"a@b", [b"c@d", b"e@f"])
    assert queue.close() == 0
    (mess,), (todo,) = home.glob("queue/mess/*/*"), home.glob("queue/todo/*/*")
    received, _, text = mess.read_bytes().partition(b"\n")
    assert re.fullmatch(rb"Received: \(qmail %d invoked by uid %d\); .* -0000" % (queue.qp, os.getuid()), received)
    assert text == b"Subject: x\n\nbody\n"
    assert todo.read_bytes() == b"u%d\0p%d\0Fa@b\0Tc@d\0Te@f\0" % (os.getuid(), queue.qp)
    assert os.read(end.fileno(), 10) == b"\0"
    end.close()


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_client_that_fails_leaves_nothing(home: Path, size: int) -> None:
    queue = open_queue(str(home), {})
    queue.put(b"x" * size)
    queue.fail()
    queue.put(b"more")
    queue.envelope(b"a", [b"b"])
    assert queue.close() == 54
    assert files(home) == []


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_message_without_envelope_leaves_nothing(home: Path, size: int) -> None:
    queue = open_queue(str(home), {})
    queue.put(b"x" * size)
    assert queue.close() == 54
    assert files(home) == []


@pytest.mark.parametrize(("kind", "code"), [("pid", 63), ("mess", 64), ("intd", 65), ("todo", 66)])
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_the_codes_are_the_command_s(home: Path, kind: str, code: int, size: int) -> None:
    queue = open_queue(str(home), {})
    if kind == "pid":
        (home / "queue" / "pid").rmdir()
    else:
        for part in (home / "queue" / kind).iterdir():
            part.rmdir()
    queue.put(b"x" * size)
    queue.envelope(b"a", [b"b"])
    assert queue.close() == code
    assert files(home) == []


def test_trouble_of_the_queue_counts_before_trouble_of_the_client(home: Path) -> None:
    queue = open_queue(str(home), {})
    (home / "queue" / "pid").rmdir()
    queue.put(b"x" * 1_000_000)
    queue.fail()
    assert queue.close() == 63


@pytest.mark.parametrize("bad", [0, 1])
def test_11_an_address_too_long(home: Path, bad: int) -> None:
    queue = open_queue(str(home), {})
    queue.put(b"x")
    queue.envelope(b"a" * (1002 + (bad == 0)), [b"b", b"c" * (1002 + bad)])
    assert queue.close() == 11
    assert files(home) == []
    queue = open_queue(str(home), {})
    queue.envelope(b"a" * 1002, [b"c" * 1002])
    assert queue.close() == 0


def test_a_nul_ends_an_address_and_forges_no_record(home: Path) -> None:
    queue = open_queue(str(home), {})
    queue.put(b"x")
    queue.envelope(b"a\0Tx", [b"b\0Tmallory", b"\0u0", b"c"])
    assert queue.close() == 0
    (todo,) = home.glob("queue/todo/*/*")
    envelope = parse_todo(todo.read_bytes())
    assert (envelope.sender, envelope.recipients) == (b"a", [b"b", b"", b"c"])


def test_a_strict_umask_does_not_hide_the_message(home: Path) -> None:
    before = os.umask(0o077)
    try:
        queue = open_queue(str(home), {})
        queue.put(b"x")
        queue.envelope(b"a", [])
        assert queue.close() == 0
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in files(home)} == {0o644}


def test_a_disk_that_is_full(home: Path) -> None:
    """The limit on file sizes is a write error, not a signal that ends a server."""
    script = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from qmail.queue.client import open_queue\nqueue = open_queue(sys.argv[1], {})\n"
        "queue.put(b'x' * 500_000)\nqueue.envelope(b'a', [])\nprint(queue.close())\n"
    )
    done = run([ours("python"), "-c", script, str(home)], cwd=Path(__file__).parents[2])
    assert (done.stdout, done.stderr) == (b"53\n", b"")
    assert files(home) == []


def test_many_messages_of_one_process(home: Path) -> None:
    for number in range(40):
        queue = open_queue(str(home), {})
        queue.put(b"%d" % number)
        queue.envelope(b"a", [b"%d" % number])
        assert queue.close() == 0
    assert len(list(home.glob("queue/todo/*/*"))) == 40
    for todo in home.glob("queue/todo/*/*"):
        mess = home / "queue" / "mess" / todo.parent.name / todo.name
        (recipient,) = parse_todo(todo.read_bytes()).recipients
        assert mess.read_bytes().endswith(b"\n" + recipient)


def test_the_queue_of_a_home_may_be_made_anew(tmp_path: Path) -> None:
    home = make_home(tmp_path / "qmail")
    queue = open_queue(str(home), {})
    queue.fail()
    queue.close()
    shutil.rmtree(home / "queue")
    from qmail.queue import layout

    layout.make(str(home), split=3)
    queue = open_queue(str(home), {})
    queue.envelope(b"a", [])
    assert queue.close() == 0


def test_no_home_and_no_queue(tmp_path: Path) -> None:
    for home, code in ((tmp_path / "nowhere", 61), (tmp_path, 62)):
        queue = open_queue(str(home), {})
        queue.put(b"x")
        queue.envelope(b"a", [b"b"])
        assert queue.close() == code


def test_scanner(home: Path) -> None:
    refuse = home / "refuse"
    refuse.write_text("#!/bin/sh\nexit 1\n")
    refuse.chmod(0o755)
    for skip, code in ((False, 32), (True, 0)):
        queue = open_queue(str(home), environment(QHPSI=str(refuse)))
        queue.put(b"x")
        queue.envelope(b"a", [b"b"], skip_scanner=skip)
        assert queue.close() == code
        assert len(list(home.glob("queue/todo/*/*"))) == skip


# ---- QMAILQUEUE


def test_dev_null_takes_everything(home: Path) -> None:
    queue = open_queue(str(home), {"QMAILQUEUE": "/dev/null"})
    assert isinstance(queue, NullQueue)
    queue.put(b"x")
    queue.envelope(b"a", [b"b"])
    assert (queue.close(), queue.qp) == (0, os.getpid())
    assert files(home) == []
    queue = open_queue(str(home), {"QMAILQUEUE": "/dev/null"})
    assert queue.close() == 54


def test_a_foreign_program(home: Path) -> None:
    env = program(home, 'pwd >cwd; echo $$ >pid; cat >message; cat <&1 >envelope; echo "$0 $#" >words')
    queue = open_queue(str(home), env)
    assert isinstance(queue, ProgramQueue)
    body = os.urandom(300_000)
    queue.put(b"head\n")
    queue.put(body)
    queue.envelope(b"a@b", [b"c@d", b"e\0x"], skip_scanner=True)
    assert queue.close() == 0
    assert (home / "message").read_bytes() == b"head\n" + body
    assert (home / "envelope").read_bytes() == b"Fa@b\0Tc@d\0Te\0Q\0"
    assert (home / "cwd").read_text() == f"{home}\n"
    assert (home / "pid").read_text() == f"{queue.qp}\n"
    assert (home / "words").read_text() == f"{home}/queue-program 0\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("cat >/dev/null; exit 31", 31),
        ("cat >/dev/null; kill -9 $$", -1),
        ("exit 0", 54),  # success without having read is none
        ("exit 53", 53),
    ],
)
def test_what_a_foreign_program_answers(home: Path, text: str, code: int) -> None:
    queue = open_queue(str(home), program(home, text))
    for _ in range(100):
        queue.put(b"x" * 100_000)
    queue.envelope(b"a", [b"b"])
    assert queue.close() == code


def test_a_program_whose_end_nobody_sees(home: Path) -> None:
    """Whoever started us ignores SIGCHLD: children leave no status."""
    script = (
        "import signal, sys\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from qmail.queue.client import open_queue\nqueue = open_queue(sys.argv[1], {'QMAILQUEUE': 'queue-program'})\n"
        "queue.put(b'x')\nqueue.envelope(b'a', [])\nprint(queue.close())\n"
    )
    env = program(home, "cat >/dev/null")
    done = run([ours("python"), "-c", script, str(home)], env=env, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.stderr) == (b"-2\n", b"")


def test_a_client_that_fails_gives_a_foreign_program_no_envelope(home: Path) -> None:
    queue = open_queue(str(home), program(home, "cat >/dev/null; cat <&1 >envelope; exit 0"))
    queue.put(b"x")
    queue.fail()
    queue.envelope(b"a", [b"b"])
    assert queue.close() == 54
    assert (home / "envelope").read_bytes() == b""


def test_a_program_that_is_not_there(home: Path) -> None:
    queue = open_queue(str(home), {"QMAILQUEUE": "nowhere"})
    queue.put(b"x")
    queue.envelope(b"a", [b"b"])
    assert queue.close() == 120


# ---- where the queue is somebody else's


def inject(home: Path, preexec: Callable[[], None] | None = None) -> int:
    env = environment(QMAILHOME=str(home), USER="u")
    return run([ours("qmail-inject"), "r@example.org"], env=env, input=b"Subject: x\n", preexec=preexec).returncode


@pytest.mark.root
def test_root_without_a_service_starts_qmail_queue(shared_home: Path) -> None:
    assert inject(shared_home) == 0
    (todo,) = shared_home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).uid == 0
    assert todo.stat().st_uid == OWNER


@pytest.mark.root
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_root_with_a_service_uses_it(shared_home: Path, size: int) -> None:
    env = environment(QMAILHOME=str(shared_home))
    with spawn([ours("qmail-queued")], env=env):
        wait_for(lambda: answers(f"{shared_home}/run/queue.sock"))
        queue = open_queue(str(shared_home), env)
        assert isinstance(queue, LateQueue)
        queue.put(b"x" * size)
        queue.envelope(b"a", [b"b"])
        assert queue.close() == 0
    (todo,) = shared_home.glob("queue/todo/*/*")
    envelope = parse_todo(todo.read_bytes())
    assert (envelope.uid, envelope.pid) == (0, os.getpid())
    assert todo.stat().st_uid == OWNER
    (mess,) = shared_home.glob("queue/mess/*/*")
    assert mess.read_bytes().partition(b"\n")[2] == b"x" * size


@pytest.fixture
def late(home: Path, monkeypatch: pytest.MonkeyPatch) -> LateQueue:
    """A client of a queue that is taken for somebody else's."""
    monkeypatch.setattr("qmail.queue.site.Site.may_write", lambda site: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    queue = open_queue(str(home), {})
    assert isinstance(queue, LateQueue)
    return queue


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_a_small_message_holds_no_worker_until_it_is_complete(home: Path, late: LateQueue, size: int) -> None:
    late.put(b"a small start")
    with spawn([ours("qmail-queued")], env=environment(QMAILHOME=str(home))):  # it was not there when the message began
        wait_for(lambda: answers(f"{home}/run/queue.sock"))
        late.put(b"x" * size)
        late.envelope(b"a", [b"b"])
        assert (late.close(), late.qp) == (0, os.getpid())
    (mess,) = home.glob("queue/mess/*/*")
    assert mess.read_bytes().partition(b"\n")[2] == b"a small start" + b"x" * size


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_without_a_service_there_is_no_queue(late: LateQueue, size: int) -> None:
    late.put(b"x" * size)
    late.envelope(b"a", [b"b"])
    assert late.close() == 62


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_late_client_that_fails_or_has_no_envelope(home: Path, late: LateQueue, size: int) -> None:
    with spawn([ours("qmail-queued")], env=environment(QMAILHOME=str(home))):
        wait_for(lambda: answers(f"{home}/run/queue.sock"))
        late.put(b"x" * size)
        if size == 10:
            late.fail()
            late.put(b"x" * 1_000_000)
            late.envelope(b"a", [b"b"])
        assert late.close() == 54
    assert files(home) == []


@pytest.mark.root
def test_a_stranger_needs_the_service(shared_home: Path, stranger: int) -> None:
    assert inject(shared_home, lambda: become(stranger)) == 111
    with spawn([ours("qmail-queued")], env=environment(QMAILHOME=str(shared_home))):
        wait_for(lambda: answers(f"{shared_home}/run/queue.sock"))
        assert inject(shared_home, lambda: become(stranger)) == 0
    (todo,) = shared_home.glob("queue/todo/*/*")
    assert parse_todo(todo.read_bytes()).uid == stranger
    assert todo.stat().st_uid == OWNER
