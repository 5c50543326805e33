"""The spawner protocol by hand: commands in, reports out, stub programs in bin/."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmail.send import lspawn, rspawn
from qmail.send.lspawn import Local
from qmail.send.rspawn import Remote, interpret
from qmail.send.spawn import CommandReader, check_messid, spawn_limit
from qserver.base.cdb import write_cdb
from tests.send.harness import add_users, spawner
from tests.support import BIN

EXITED = 256


def stub_bin(home: Path, **scripts: str) -> None:
    """bin/ as a real directory: our commands, but these shell scripts in place of some."""
    (home / "bin").unlink()
    (home / "bin").mkdir()
    for program in BIN.iterdir():
        if program.name not in scripts:
            (home / "bin" / program.name).symlink_to(program)
    for name, text in scripts.items():
        path = home / "bin" / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)


def test_limit_comes_first(home: Path) -> None:
    with spawner(home, "qmail-rspawn") as spawn:
        assert spawn.limit() == 120
        assert spawn.end() == 0
    (home / "conf").mkdir()
    (home / "conf" / "conf-spawn").write_text("300\n")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        assert spawn.limit() == 255


@pytest.mark.parametrize(("conf", "limit"), [("120", 120), ("1", 1), ("255", 255), ("1000", 255), ("", 120)])
def test_conf_spawn(conf: str, limit: int) -> None:
    assert spawn_limit(conf) == limit


def test_lspawn_needs_its_argument(home: Path) -> None:
    with spawner(home, "qmail-lspawn") as spawn:
        assert spawn.process.wait(20) == 100


@pytest.mark.parametrize("name", ["qmail-lspawn", "qmail-rspawn"])
def test_no_queue(home: Path, name: str) -> None:
    (home / "queue").rename(home / "away")
    with spawner(home, name, "./Maildir/") as spawn:
        assert spawn.process.wait(20) == 111


def test_checks_of_commands(home: Path, messid: bytes) -> None:
    part = home / "queue" / "mess" / "3"
    (part / "33").mkdir()
    (part / "36").symlink_to(home / "queue" / "mess" / messid.decode())
    complaints = {
        (120, messid, b"b@y.org"): b"ZInternal error: delnum too big. (#4.3.5)\n",
        (0, b"3/x", b"b@y.org"): b"DInternal error: messid has nonnumerics. (#5.3.5)\n",
        (0, b"/3/33", b"b@y.org"): b"DInternal error: messid has nonnumerics. (#5.3.5)\n",
        (0, b"../3", b"b@y.org"): b"DInternal error: messid has nonnumerics. (#5.3.5)\n",
        (0, b"1" * 100, b"b@y.org"): b"DInternal error: messid too long. (#5.3.5)\n",
        (0, b"", b"b@y.org"): b"DInternal error: messid too short. (#5.3.5)\n",
        (0, messid, b"nobody"): b"DSorry, address must include host name. (#5.1.3)\n",
        (0, b"3/99", b"b@y.org"): b"Zqmail-spawn unable to open message. (#4.3.0)\n",
        (0, b"3/33", b"b@y.org"): b"ZSorry, message has wrong type. (#4.3.5)\n",
    }
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        for (slot, name, recipient), report in complaints.items():
            spawn.order(slot, name, b"a@x.org", recipient)
            assert spawn.report() == (slot, report)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_message_of_another_owner(home: Path, messid: bytes) -> None:
    os.chown(home / "queue" / "mess" / messid.decode(), 65534, 65534)
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"b@y.org")
        assert spawn.report() == (0, b"ZSorry, message has wrong owner. (#4.3.5)\n")


def test_a_slot_is_busy_until_its_report(home: Path, messid: bytes) -> None:
    gate = home.parent / "gate"
    os.mkfifo(gate)
    stub_bin(home, **{"qmail-remote": f"read line <{gate}\nprintf 'r\\0K%s\\n\\0' $line\n"})
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        spawn.order(7, messid, b"a@x.org", b"b@y.org")
        spawn.order(7, messid, b"a@x.org", b"b@y.org")
        assert spawn.report() == (7, b"ZInternal error: delnum in use. (#4.3.5)\n")
        gate.write_text("one\n")
        assert spawn.report() == (7, b"Kone\n")
        spawn.order(7, messid, b"a@x.org", b"b@y.org")
        gate.write_text("two\n")
        assert spawn.report() == (7, b"Ktwo\n")


def test_running_deliveries_are_waited_for_at_the_end(home: Path, messid: bytes) -> None:
    gate = home.parent / "gate"
    os.mkfifo(gate)
    stub_bin(home, **{"qmail-remote": f"read line <{gate}\nprintf 'r\\0K%s\\n\\0' $line\n"})
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"b@y.org")
        spawn.stdin.close()
        gate.write_text("done\n")
        assert spawn.report() == (0, b"Kdone\n")
        assert spawn.process.wait(20) == 0


def test_what_the_child_finds(home: Path, messid: bytes) -> None:
    """The message from its beginning on 0, a pipe on 1 and 2, nothing of the spawner's; SIGPIPE not ignored."""
    script = "head -c 8; echo; ls -l /proc/self/fd | grep -c pipe; grep SigIgn /proc/self/status; echo $* >&2\n"
    stub_bin(home, **{"qmail-local": script})
    add_users(home, home.parent / "users", ["joe"])
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"Joe@y@h.org")
        spawn.order(1, messid, b"a@x.org", b"joe-ext@h.org")
        reports = dict([spawn.report(), spawn.report()])
    top = home.parent / "users" / "joe"
    lines = reports[1].decode().splitlines()
    assert lines[0] == "KReceived"
    assert int(lines[1]) <= 3  # 1, 2, and the pipe to grep itself
    assert int(lines[2].split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
    assert lines[3] == f"-- joe {top} joe-ext - ext h.org a@x.org ./Maildir/"


@pytest.mark.parametrize(
    ("script", "report"),
    [
        ("echo did; exit 0", b"Kdid\n"),
        ("echo no; exit 100", b"Dno\n"),
        ("echo odd; exit 5", b"Dodd\n"),
        ("echo later; exit 111", b"Zlater\n"),
        ("echo later; exit 71", b"Zlater\n"),
        ("echo later; exit 74", b"Zlater\n"),
        ("echo later; exit 75", b"Zlater\n"),
        ("printf 'seen\\0unseen'; exit 0", b"Kseen"),
        ("echo x; exit 112", b"ZInternal qmail-lspawn bug.\n"),
        ("echo x; exit 113", b"ZNot allowed to perform deliveries as root.\n"),
        ("echo x; exit 115", b"ZNFS failure in qmail-local.\n"),
        ("echo x; exit 116", b"ZUnable to find alias user!\n"),
        ("echo x; exit 117", b"ZTrouble reading users/cdb in qmail-lspawn.\n"),
        ("echo x; exit 118", b"ZTemporary failure in qmail-lspawn.\n"),
        ("echo x; exit 119", b"ZOut of memory in qmail-lspawn.\n"),
        ("echo x; exit 120", b"ZUnable to run qmail-local.\n"),
        ("echo x; exit 121", b"ZUnable to run qmail-getpw.\n"),
        ("echo x; exit 126", b"DUnable to run qmail-local.\n"),
        ("echo x; kill -9 $$", b"Zqmail-local crashed.\n"),
        ("head -c 9000 /dev/zero | tr '\\0' x", b"K" + b"x" * 2966 + b"\nError report too long, sorry.\n"),
    ],
)
def test_reports_of_local_deliveries(home: Path, messid: bytes, script: str, report: bytes) -> None:
    stub_bin(home, **{"qmail-local": script + "\n"})
    add_users(home, home.parent / "users", ["joe"])
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(3, messid, b"a@x.org", b"joe@h.org")
        assert spawn.report() == (3, report)


def test_background_children_hold_the_report_back(home: Path, messid: bytes) -> None:
    gate = home.parent / "gate"
    os.mkfifo(gate, 0o666)
    gate.chmod(0o666)
    stub_bin(home, **{"qmail-local": f"echo early\n(read line <{gate}; echo $line) &\n"})
    add_users(home, home.parent / "users", ["joe"])
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"joe@h.org")
        gate.write_text("late\n")
        assert spawn.report() == (0, b"Kearly\nlate\n")


def test_mail_to_nobody_is_delivered(home: Path, messid: bytes) -> None:
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"@h.org")
        assert spawn.report() == (0, b"K")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_never_as_root(home: Path, messid: bytes) -> None:
    record = b"joe\0" + b"0\0" + b"0\0" + os.fsencode(home.parent) + b"\0\0"
    write_cdb(str(home / "users" / "cdb"), str(home / "users" / "tmp"), [(b"", b""), (b"!joe\0", record)])
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"joe@h.org")
        assert spawn.report() == (0, b"ZNot allowed to perform deliveries as root.\n")


def test_bad_users_cdb(home: Path, messid: bytes) -> None:
    (home / "users" / "cdb").write_bytes(b"no cdb")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"joe@h.org")
        assert spawn.report() == (0, b"ZTrouble reading users/cdb in qmail-lspawn.\n")


def test_rspawn_forgets_the_hosts_that_timed_out(home: Path) -> None:
    tcpto = home / "queue" / "lock" / "tcpto"
    tcpto.write_bytes(b"x" * 1024)
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        assert spawn.end() == 0
    assert tcpto.read_bytes() == bytes(1024)


@pytest.mark.parametrize(
    ("output", "report"),
    [
        (
            b"r\0K1.2.3.4 accepted message.\nRemote host said: 250 ok\n\0",
            b"K1.2.3.4 accepted message.\nRemote host said: 250 ok\n",
        ),
        (
            b"hX does not like recipient.\n\0DGiving up on X.\n\0",
            b"DX does not like recipient.\nGiving up on X.\n",
        ),
        (b"sX is busy.\n\0ZGiving up on X.\n\0", b"ZX is busy.\nGiving up on X.\n"),
        (b"sX is busy.\n\0DGiving up on X.\n\0", b"ZX is busy.\nGiving up on X.\n"),
        (b"hno\n\0Kaccepted\n\0", b"Dno\n"),
        (b"sno\n\0Kaccepted\n\0", b"Zno\n"),
        (b"r\0Zdied\n\0", b"Zdied\n"),
        (b"r\0Ddied\n\0", b"Ddied\n"),
        (b"Zno host\n\0", b"Zno host\n"),
        (b"Dno host\n\0", b"Dno host\n"),
        (b"r\0", b"D"),
        (b"cut off", b"Dut off"),
    ],
)
def test_what_reports_of_qmail_remote_amount_to(output: bytes, report: bytes) -> None:
    assert interpret(output) == report


@pytest.mark.parametrize(
    ("status", "output", "report"),
    [
        (9, b"r\0Kok\n\0", rspawn.CRASHED),
        (111 * EXITED, b"r\0Kok\n\0", rspawn.NOT_RUN_NOW),
        (1 * EXITED, b"r\0Kok\n\0", rspawn.NOT_RUN),
        (0, b"", rspawn.NO_OUTPUT),
    ],
)
def test_exit_codes_of_qmail_remote(status: int, output: bytes, report: bytes) -> None:
    assert Remote({}).report(status, output) == report


def test_remote_delivery_by_a_stub(home: Path, messid: bytes) -> None:
    stub_bin(home, **{"qmail-remote": "cat >/dev/null; printf 'r\\0K%s\\n\\0' \"$*\"\n"})
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"odd@name@h.org")
        assert spawn.report() == (0, b"Kh.org a@x.org odd@name@h.org\n")


def test_remote_delivery_in_process(home: Path, messid: bytes) -> None:
    """Our own qmail-remote runs in the child: here it finds no route and says so."""
    (home / "control" / "smtproutes").write_text(":127.0.0.1:1\n")
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        spawn.order(0, messid, b"a@x.org", b"b@h.org")
        slot, report = spawn.report()
        assert slot == 0
        assert report == b"ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n"


COMMAND = st.tuples(st.integers(0, 255), *[st.binary(max_size=8).map(lambda field: field.replace(b"\0", b"x"))] * 3)


@given(st.lists(COMMAND, max_size=5), st.data())
def test_commands_are_read_however_they_are_cut(commands: list[tuple[int, bytes, bytes, bytes]], data: st.DataObject) -> None:
    stream = b"".join(b"%c%b\0%b\0%b\0" % command for command in commands)
    reader = CommandReader()
    orders = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        orders += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert [(order.slot, order.messid, order.sender, order.recipient) for order in orders] == commands


@given(st.binary(max_size=12))
def test_only_digits_and_slashes_pass(name: bytes) -> None:
    fine = bool(name) and not name.startswith(b"/") and all(byte in b"0123456789/" for byte in name)
    assert (check_messid(name) is None) == fine


def test_output_is_cut_however_it_comes() -> None:
    agent = Local("", {})
    kept = b""
    for _ in range(40):
        kept = agent.shorten(kept + b"x" * 500)
    assert kept == b"x" * 2966 + lspawn.TOO_LONG
    assert agent.shorten(b"x" * 3000) == b"x" * 3000
