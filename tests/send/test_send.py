"""qmail-send with the test as both spawners: log lines, orders, files."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from qmail.send.schedule import LOCAL, OSSIFIED, REMOTE
from tests.send.harness import Order, Sender, assert_clean, inject, message_numbers, post, queue_file, sender
from tests.support import wait_for

IDLE = b"status: local 0/10 remote 0/20"


def size(home: Path, number: int) -> int:
    return queue_file(home, "mess", number).stat().st_size


def wait_empty(home: Path) -> None:
    """Until no message is left."""
    wait_for(lambda: not message_numbers(home))
    assert not [path for path in (home / "queue").rglob("*") if path.is_file() and path.parent.name != "lock"]


def test_a_message_from_todo_to_its_end(home: Path) -> None:
    with sender(home) as send:
        assert send.line() == IDLE
        number = inject(home, b"a@x.org", [b"Joe Q@example.org", b"b%c@y.org"])
        assert send.line() == b"new msg %d" % number
        info = send.line()
        assert info.startswith(b"info msg %d: bytes %d from <a@x.org> qp " % (number, size(home, number)))
        assert info.endswith(b" uid %d" % os.getuid())
        assert send.line() == b"starting delivery 1: msg %d to local Joe_Q@example.org" % number
        assert send.line() == b"status: local 1/10 remote 0/20"
        assert send.line() == b"starting delivery 2: msg %d to remote b_c@y.org" % number
        assert send.line() == b"status: local 1/10 remote 1/20"
        path = b"%d/%d" % (number % 23, number)
        assert send.order(LOCAL) == Order(0, path, b"a@x.org", b"Joe Q@example.org")
        assert send.order(REMOTE) == Order(0, path, b"a@x.org", b"b%c@y.org")
        assert not queue_file(home, "todo", number).exists()
        assert queue_file(home, "info", number).read_bytes() == b"Fa@x.org\0"
        assert queue_file(home, "local", number).read_bytes() == b"TJoe Q@example.org\0"
        assert queue_file(home, "remote", number).read_bytes() == b"Tb%c@y.org\0"
        for kind in ("info", "local", "remote"):
            assert queue_file(home, kind, number).stat().st_mode & 0o777 == 0o600
        send.report(REMOTE, 0, b"K1.2.3.4 accepted\nfine%\x80\n")
        assert send.line() == b"delivery 2: success: 1.2.3.4_accepted/fine__/"
        assert send.line() == b"status: local 1/10 remote 0/20"
        send.report(LOCAL, 0, b"Kdid 0+0+1\n")
        assert send.line() == b"delivery 1: success: did_0+0+1/"
        assert send.line() == IDLE
        assert send.line() == b"end msg %d" % number
        wait_empty(home)
        send.signal(signal.SIGTERM)
        assert send.line() == b"status: exiting"
        assert send.exit_code() == 0


def test_recipients_keep_their_order_and_duplicates_stay(home: Path) -> None:
    names = [b"c", b"a", b"b", b"a"]
    with sender(home, (0, 0)) as send:
        number = inject(home, b"", [name + b"@example.org" for name in names] + [b"@example.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
        assert queue_file(home, "local", number).read_bytes() == b"".join(b"T%b@example.org\0" % n for n in [*names, b""])
        assert not queue_file(home, "remote", number).exists()


def test_a_message_for_nobody_vanishes_quietly(home: Path) -> None:
    with sender(home) as send:
        post(home, b"a@x.org", [])
        new, info, end = send.lines_until(b"end msg")[-3:]
        number = new.removeprefix(b"new msg ")
        assert info.startswith(b"info msg %b: " % number)
        assert end == b"end msg " + number
        wait_empty(home)


def test_done_recipients_are_marked_in_place(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"a@x.org", [b"one@example.org", b"two@example.org"])
        send.order(LOCAL), send.order(LOCAL)
        send.report(LOCAL, 1, b"K\n")
        send.lines_until(b"delivery 2: success: /")
        wait_for(lambda: queue_file(home, "local", number).read_bytes() == b"Tone@example.org\0Dtwo@example.org\0")
        send.report(LOCAL, 0, b"Zlater\n")
        assert send.lines_until(b"delivery 1")[-1] == b"delivery 1: deferral: later/"
        send.signal(signal.SIGALRM)
        assert send.order(LOCAL).recipient == b"one@example.org"
        assert_clean(home)


def test_retry_times_are_written_back_at_the_end_and_read_at_the_start(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"a@x.org", [b"one@example.org", b"r@y.org"])
        for channel in (LOCAL, REMOTE):
            send.report(channel, send.order(channel).slot, b"Zlater\n")
        send.lines_until(b"delivery 2: deferral")
        send.signal(signal.SIGTERM)
        send.lines_until(b"status: exiting")
        assert send.exit_code() == 0
    birth = int(queue_file(home, "info", number).stat().st_mtime)
    assert int(queue_file(home, "local", number).stat().st_mtime) - birth in (100, 101, 121)
    assert int(queue_file(home, "remote", number).stat().st_mtime) - birth in (400, 441)
    past = birth - 10
    os.utime(queue_file(home, "remote", number), (past, past))
    with sender(home) as send:
        assert send.line() == IDLE
        assert send.order(REMOTE).recipient == b"r@y.org"
        assert send.line().startswith(b"starting delivery 1: msg %d to remote" % number)


def test_verp(home: Path) -> None:
    with sender(home) as send:
        inject(home, b"box-@host-@[]", [b"r@h.org"])
        assert send.order(REMOTE)[2:] == (b"box-r=h.org@host", b"r@h.org")


def test_queue_lifetime_turns_a_deferral_into_a_failure(home: Path) -> None:
    (home / "control" / "queuelifetime").write_text("100\n")
    with sender(home, (0, 0)) as send:
        number = inject(home, b"a@x.org", [b"r@y.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
        send.signal(signal.SIGTERM)
        send.exit_code()
    old = int(time.time()) - 102
    os.utime(queue_file(home, "info", number), (old, old))
    with sender(home) as send:
        send.report(REMOTE, send.order(REMOTE).slot, b"ZConnected but died.\n")
        line = send.lines_until(b"delivery 1")[-1]
        assert line == (
            b"delivery 1: failure: Connected_but_died./"
            b"I'm_not_going_to_try_again;_this_message_has_been_in_the_queue_too_long./"
        )
        assert send.lines_until(b"bounce msg")[-1].startswith(b"bounce msg %d qp " % number)


def test_term_waits_for_running_deliveries(home: Path) -> None:
    with sender(home) as send:
        number = inject(home, b"a@x.org", [b"one@example.org"])
        order = send.order(LOCAL)
        send.lines_until(b"status: local 1/10")
        send.signal(signal.SIGTERM)
        inject(home, b"a@x.org", [b"two@example.org"])
        assert send.poll() is None
        send.report(LOCAL, order.slot, b"Kok\n")
        assert send.lines_until(b"status: exiting") == [
            b"delivery 1: success: ok/",
            IDLE + b" exitasap",
            b"status: exiting",
        ]
        assert send.exit_code() == 0
    assert not queue_file(home, "local", number).exists()
    assert_clean(home)


def test_alarm_makes_everything_due(home: Path) -> None:
    with sender(home) as send:
        inject(home, b"a@x.org", [b"one@example.org", b"r@y.org"])
        for turn in (1, 2, 3):
            for channel in (LOCAL, REMOTE):
                send.report(channel, send.order(channel).slot, b"Zlater\n")
            send.lines_until(b"delivery %d: deferral" % (2 * turn))
            send.signal(signal.SIGALRM)


def test_hup_reads_controls_again(home: Path) -> None:
    with sender(home) as send:
        inject(home, b"a@x.org", [b"u@new.org"])
        assert send.order(REMOTE).recipient == b"u@new.org"
        (home / "control" / "locals").write_text("new.org\n")
        (home / "control" / "virtualdomains").write_text("v.org:joe\n")
        (home / "control" / "concurrencylocal").write_text("1\n")
        (home / "control" / "concurrencyremote").write_text("99\n")
        send.signal(signal.SIGHUP)
        wait_for(lambda: _rereads(send, home))
        assert send.order(LOCAL).recipient == b"u@new.org"
        send.lines_until(b"status: local 1/1 remote 1/20")


def _rereads(send: Sender, home: Path) -> bool:
    """A signal is acted on at some turn of the loop: send messages until one shows the new controls."""
    inject(home, b"a@x.org", [b"u@new.org"])
    return b"local u@new.org" in b"".join(send.lines_until(b"starting delivery"))


@pytest.mark.parametrize("name", ["locals", "virtualdomains", "concurrencylocal", "concurrencyremote", "queuelifetime"])
def test_hup_keeps_old_values_when_a_file_cannot_be_read(home: Path, name: str) -> None:
    with sender(home) as send:
        send.lines_until(IDLE)
        (home / "control" / name).unlink(missing_ok=True)
        (home / "control" / name).mkdir()
        send.signal(signal.SIGHUP)
        assert send.line() == b"alert: unable to reread control/%b" % name.encode()
        inject(home, b"a@x.org", [b"u@example.org"])
        assert send.order(LOCAL).recipient == b"u@example.org"


def test_hup_without_home(home: Path) -> None:
    with sender(home) as send:
        send.lines_until(IDLE)
        home.rename(home.with_name("moved"))
        send.signal(signal.SIGHUP)
        assert send.line() == b"alert: unable to reread controls: unable to switch to home directory"
        home.with_name("moved").rename(home)


def spoil(home: Path, what: str) -> None:
    if what == "home":
        home.rename(home.with_name("elsewhere"))
    elif what == "controls":
        for name in ("me", "locals"):
            (home / "control" / name).unlink()
    elif what == "queue":
        (home / "queue").rename(home / "away")
    elif what == "mutex":
        (home / "queue" / "lock" / "sendmutex").unlink()


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("home", b"unable to switch to home directory"),
        ("controls", b"unable to read controls"),
        ("queue", b"unable to switch to queue directory"),
        ("mutex", b"unable to open mutex"),
    ],
)
def test_cannot_start(home: Path, what: str, reason: bytes) -> None:
    spoil(home, what)
    with sender(home, clean=False) as send:
        assert send.line() == b"alert: cannot start: " + reason
        assert send.exit_code() == 111


def test_only_one_runs(home: Path) -> None:
    with (home / "queue" / "lock" / "sendmutex").open("wb") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        with sender(home) as send:
            assert send.line() == b"alert: cannot start: qmail-send is already running"
            assert send.exit_code() == 111


@pytest.mark.parametrize("dead", [LOCAL, REMOTE])
def test_a_spawner_that_does_not_start(home: Path, dead: int) -> None:
    limits = (-1, 20) if dead == LOCAL else (10, -1)
    with sender(home, limits) as send:
        send.back[dead].close_write()
        assert send.line() == b"alert: cannot start: hath the daemon spawn no fire?"
        assert send.exit_code() == 111


def test_concurrency_is_what_the_spawner_can_do(home: Path) -> None:
    (home / "control" / "concurrencylocal").write_text("5\n")
    with sender(home, (2, 200)) as send:
        assert send.line() == b"status: local 0/2 remote 0/20"
        inject(home, b"a@x.org", [b"%d@example.org" % n for n in range(3)])
        assert [send.order(LOCAL).slot for _ in range(2)] == [0, 1]
        send.lines_until(b"status: local 2/2")
        send.report(LOCAL, 1, b"K\n")
        assert send.order(LOCAL) == Order(1, *send_fields(home, b"2@example.org"))


def send_fields(home: Path, recipient: bytes) -> tuple[bytes, bytes, bytes]:
    (number,) = message_numbers(home)
    return f"{number % 23}/{number}".encode(), b"a@x.org", recipient


def test_concurrency_zero_holds_mail(home: Path) -> None:
    (home / "control" / "concurrencyremote").write_text("0\n")
    with sender(home) as send:
        assert send.line() == b"status: local 0/10 remote 0/0"
        inject(home, b"a@x.org", [b"r@y.org", b"one@example.org"])
        assert send.order(LOCAL).recipient == b"one@example.org"
        assert send.lines_until(b"starting")[-1].startswith(b"starting delivery 1: msg")


def test_strange_reports(home: Path) -> None:
    with sender(home) as send:
        inject(home, b"a@x.org", [b"one@example.org"])
        send.order(LOCAL)
        send.lines_until(b"status: local 1/10")
        send.report(LOCAL, 9, b"K\n")
        assert send.line() == b"warning: internal error: delivery report out of range"
        send.report(REMOTE, 0, b"K\n")
        assert send.line() == b"warning: internal error: delivery report out of range"
        send.report(LOCAL, 0, b"")
        assert send.line() == b"delivery 1: report mangled, will defer"
        assert send.line() == IDLE
        send.signal(signal.SIGALRM)
        slot = send.order(LOCAL).slot
        send.lines_until(b"status: local 1/10")
        os.write(send.back[LOCAL].write, bytes([slot]) + b"Z" + b"x" * 30000)
        os.write(send.back[LOCAL].write, b"y" * 300 + b"\0")
        line = send.line()
        assert line.startswith(b"delivery 2: deferral: xxx")
        assert len(line) - len(b"delivery 2: deferral: ") == 10000 - 2


@pytest.mark.parametrize("lost", [LOCAL, REMOTE])
def test_a_lost_spawner(home: Path, lost: int) -> None:
    """Its own deliveries are not waited for, those of the other one are."""
    with sender(home) as send:
        inject(home, b"a@x.org", [b"one@example.org", b"r@y.org"])
        orders = [send.order(LOCAL), send.order(REMOTE)]
        send.lines_until(b"status: local 1/10 remote 1/20")
        send.back[lost].close_write()
        assert send.line() == b"alert: oh no! lost spawn connection! dying..."
        assert send.poll() is None
        other = 1 - lost
        send.report(other, orders[other].slot, b"K\n")
        assert send.lines_until(b"status: exiting")[-2].endswith(b" exitasap")
        assert send.exit_code() == 0
    assert_clean(home)


def test_lost_qmail_clean(home: Path) -> None:
    with sender(home, clean=False) as send:
        assert send.line() == IDLE
        send.back[2].close_write()
        assert send.line() == b"alert: oh no! lost qmail-clean connection! dying..."
        assert send.line() == b"status: exiting"
        assert send.exit_code() == 0


def test_qmail_clean_that_cannot(home: Path) -> None:
    """The entry stays in todo and is not delivered; the next scan does it again."""
    with sender(home, clean=False) as send:
        assert send.line() == IDLE
        number = inject(home, b"a@x.org", [b"one@example.org"])
        assert os.read(send.to[2].read, 100) == b"todo/%d/%d\0" % (number % 23, number)
        os.write(send.back[2].write, b"!")
        line = send.lines_until(b"warning")[-1]
        assert line == b"warning: qmail-clean unable to clean up todo/%d/%d" % (number % 23, number)
        post(home, b"a@x.org", [])
        assert send.lines_until(b"new msg %d" % number)


def test_unknown_records_in_todo(home: Path) -> None:
    number = inject(home, b"a@x.org", [b"one@example.org"])
    todo = queue_file(home, "todo", number)
    todo.write_bytes(todo.read_bytes() + b"Xjunk\0")
    with sender(home) as send:
        lines = send.lines_until(b"warning")
        assert lines[-1] == b"warning: unknown record type in todo/%d/%d" % (number % 23, number)
    assert todo.exists()


def test_todo_without_sender(home: Path) -> None:
    number = inject(home, b"a@x.org", [b"one@example.org"])
    todo = queue_file(home, "todo", number)
    todo.write_bytes(b"u0\0p1\0Tx@example.org\0")
    with sender(home) as send:
        assert send.lines_until(b"warning")[-1].startswith(b"warning: unknown record type in todo/")
    assert todo.exists()


def test_todo_that_cannot_be_opened_or_has_no_message(home: Path) -> None:
    number = inject(home, b"a@x.org", [b"one@example.org"])
    queue_file(home, "mess", number).unlink()
    part = home / "queue" / "todo" / "5"
    (part / "5").symlink_to("nowhere")
    (part / "no number").write_bytes(b"")
    with sender(home) as send:
        lines = {send.lines_until(b"warning")[-1], send.lines_until(b"warning")[-1]}
        assert lines == {b"warning: unable to open todo/5/5", b"warning: unable to stat mess/%d/%d" % (number % 23, number)}


def test_info_that_cannot_be_made(home: Path) -> None:
    number = inject(home, b"a@x.org", [b"one@example.org"])
    info = queue_file(home, "info", number)
    info.mkdir()
    with sender(home) as send:
        name = b"info/%d/%d" % (number % 23, number)
        assert send.lines_until(b"warning")[-1] == b"warning: unable to unlink %b for info" % name
        info.rmdir()
        post(home, b"a@x.org", [])
        assert send.order(LOCAL).recipient == b"one@example.org"


@pytest.mark.parametrize("left", ["info", "info local", "info local remote", "intd"])
def test_what_a_crash_in_todo_left_is_done_again(home: Path, left: str) -> None:
    number = inject(home, b"a@x.org", [b"one@example.org", b"r@y.org"])
    for kind in left.split():
        if kind == "intd":
            queue_file(home, "intd", number).unlink()
        else:
            queue_file(home, kind, number).write_bytes(b"half")
    with sender(home) as send:
        assert send.order(LOCAL).recipient == b"one@example.org"
        assert send.order(REMOTE).recipient == b"r@y.org"
        assert queue_file(home, "info", number).read_bytes() == b"Fa@x.org\0"
    assert_clean(home)


def test_a_channel_file_whose_recipients_are_all_done_is_removed(home: Path) -> None:
    """A crash between the last mark and the unlink."""
    with sender(home, (0, 0)) as send:
        number = inject(home, b"a@x.org", [b"one@example.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
    queue_file(home, "local", number).write_bytes(b"Done@example.org\0")
    with sender(home) as send:
        assert send.lines_until(b"end msg") == [IDLE, b"end msg %d" % number]
        wait_empty(home)


def test_unknown_record_in_a_channel_file(home: Path) -> None:
    with sender(home, (0, 0)) as send:
        number = inject(home, b"a@x.org", [b"one@example.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
    queue_file(home, "local", number).write_bytes(b"Tone@example.org\0Xx\0")
    with sender(home) as send:
        name = b"local/%d/%d" % (number % 23, number)
        assert send.lines_until(b"warning")[-1] == b"warning: unknown record type in %b!" % name
        send.report(LOCAL, send.order(LOCAL).slot, b"K\n")
        send.lines_until(b"delivery 1: success")
        wait_for(lambda: queue_file(home, "local", number).read_bytes() == b"Done@example.org\0Xx\0")


def test_a_message_without_info_file_is_tried_later(home: Path) -> None:
    with sender(home, (0, 0)) as send:
        number = inject(home, b"a@x.org", [b"one@example.org"])
        send.lines_until(b"info msg")
        wait_for(lambda: not queue_file(home, "todo", number).exists())
    queue_file(home, "info", number).write_bytes(b"half a record")
    with sender(home) as send:
        line = send.lines_until(b"warning")[-1]
        assert line == b"warning: trouble opening local/%d/%d; will try again later" % (number % 23, number)


def test_garbage_is_collected_after_36_hours(home: Path) -> None:
    mess = home / "queue" / "mess"
    made = {}
    for name, age in (("old", OSSIFIED + 5), ("young", OSSIFIED - 1000)):
        path = mess / "new"
        path.write_bytes(b"half a message")
        number = path.stat().st_ino
        path.rename(queue_file(home, "mess", number))
        made[name] = queue_file(home, "mess", number)
        when = time.time() - age
        os.utime(made[name], (when, when))
    kept = inject(home, b"a@x.org", [b"one@example.org"])
    when = time.time() - OSSIFIED - 5
    os.utime(queue_file(home, "mess", kept), (when, when))
    with sender(home) as send:
        send.order(LOCAL)
        wait_for(lambda: not made["old"].exists())
    assert made["young"].exists()
    assert queue_file(home, "mess", kept).exists()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_hundred_thousand_recipients_need_no_memory(home: Path) -> None:
    number = inject(home, b"a@x.org", [b"recipient-number-%d@example.org" % n for n in range(100_000)])
    with sender(home, (3, 3)) as send:
        send.order(LOCAL)
        before = _memory(send.pid)
        for _ in range(300):
            send.report(LOCAL, send.order(LOCAL).slot, b"K\n")
            send.lines_until(b"delivery ")
        assert _memory(send.pid) < before + 2000
        assert before < 60_000
        assert queue_file(home, "local", number).read_bytes().count(b"\0") == 100_000


def _memory(pid: int) -> int:
    """KiB resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
