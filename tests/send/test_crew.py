"""Warm children of the spawners: kept for one identity, clean between deliveries, replaced when they die."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from qserver.base.cdb import write_cdb
from tests.send.harness import Spawner, add_users, delivery_account, dot_qmail, spawner
from tests.support import ours, wait_for

ROUNDS = 30


@pytest.fixture
def joe(home: Path) -> Path:
    """joe's home; there are also eve and her home, of the same uid."""
    directory = home.parent / "users"
    add_users(home, directory, ["joe", "eve"])
    return directory / "joe"


def children(pid: int) -> list[int]:
    """Child processes that have not ended."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if " Z " not in Path(f"/proc/{child}/stat").read_text()]


def deliver(spawn: Spawner, messid: bytes, recipient: bytes) -> bytes:
    """One delivery; returns its report."""
    spawn.order(0, messid, b"a@x.org", recipient)
    return spawn.report()[1]


def test_one_child_makes_many_deliveries(home: Path, joe: Path, messid: bytes) -> None:
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"
        (worker,) = children(spawn.process.pid)
        descriptors = len(os.listdir(f"/proc/{worker}/fd"))
        for turn in range(ROUNDS):
            name = b"eve" if turn % 2 else b"joe"
            assert deliver(spawn, messid, name + b"@example.org") == b"Kdid 1+0+0\n"
        assert children(spawn.process.pid) == [worker]
        assert len(os.listdir(f"/proc/{worker}/fd")) == descriptors == 4
        assert os.readlink(f"/proc/{worker}/cwd") == "/"
    assert len(list((joe / "Maildir" / "new").iterdir())) == 1 + ROUNDS // 2
    assert len(list((joe.parent / "eve" / "Maildir" / "new").iterdir())) == ROUNDS // 2


def test_children_end_with_their_spawner(home: Path, joe: Path, messid: bytes) -> None:
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        deliver(spawn, messid, b"joe@example.org")
        (worker,) = children(spawn.process.pid)
        spawn.process.kill()
        wait_for(lambda: not Path(f"/proc/{worker}").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text())


def test_simultaneous_deliveries_have_a_child_each(home: Path, joe: Path, messid: bytes) -> None:
    gate = home.parent / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    dot_qmail(joe, ".qmail", f"|read line <{gate}; echo $line\n")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(1, messid, b"a@x.org", b"joe@example.org")
        spawn.order(2, messid, b"a@x.org", b"eve@example.org")
        assert spawn.report() == (2, b"Kdid 1+0+0\n")
        gate.write_text("now\n")
        assert spawn.report() == (1, b"Know\ndid 0+0+1\n")
        assert len(children(spawn.process.pid)) == 2


def test_nothing_of_a_delivery_is_left_for_the_next(home: Path, joe: Path, messid: bytes) -> None:
    dot_qmail(joe, ".qmail-default", '|echo "<$EXT><$DEFAULT><$LOCAL><$(pwd)>"; umask 000; cd /; exit 0\n')
    dot_qmail(joe, ".qmail", '|echo "<$EXT><$DEFAULT><$LOCAL><$(pwd)><$(umask)><$(head -c 8)>"\n')
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe-a-b@example.org") == b"K<a-b><a-b><joe-a-b><%b>\ndid 0+0+1\n" % bytes(joe)
        assert deliver(spawn, messid, b"joe@example.org") == b"K<><><joe><%b><0077><Received>\ndid 0+0+1\n" % bytes(joe)
        assert len(children(spawn.process.pid)) == 1


def test_failures_leave_the_child_alive(home: Path, joe: Path, messid: bytes) -> None:
    dot_qmail(joe, ".qmail-never", "|echo no; exit 100\n")
    dot_qmail(joe, ".qmail-later", "|echo busy; exit 111\n")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe-never@example.org") == b"Dno\n"
        assert deliver(spawn, messid, b"joe-later@example.org") == b"Zbusy\n"
        assert deliver(spawn, messid, b"joe-none@example.org") == b"DSorry, no mailbox here by that name. (#5.1.1)\n"
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"
        assert len(children(spawn.process.pid)) == 1


def test_a_killed_child_is_a_crash_of_its_delivery_alone(home: Path, joe: Path, messid: bytes) -> None:
    dot_qmail(joe, ".qmail-kill", "|kill -9 $PPID\n")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe-kill@example.org") == b"Zqmail-local crashed.\n"
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"
        (worker,) = children(spawn.process.pid)
        os.kill(worker, signal.SIGKILL)
        assert deliver(spawn, messid, b"joe@example.org") in (b"Kdid 1+0+0\n", b"Zqmail-local crashed.\n")
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"


def test_background_programs_hold_only_their_report_back(home: Path, joe: Path, messid: bytes) -> None:
    gate = home.parent / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    dot_qmail(joe, ".qmail", f"|echo early; (read line <{gate}; echo $line) &\n")
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        spawn.order(1, messid, b"a@x.org", b"joe@example.org")
        spawn.order(2, messid, b"a@x.org", b"eve@example.org")
        assert spawn.report() == (2, b"Kdid 1+0+0\n")
        gate.write_text("late\n")
        assert spawn.report() == (1, b"Kearly\ndid 0+0+1\nlate\n")


def test_an_errand_too_long_for_a_datagram_gets_a_child_of_its_own(home: Path, joe: Path, messid: bytes) -> None:
    """Default instructions longer than that still count."""
    instructions = "#" * 100_000 + "\n./Maildir/\n"
    recipient = b"joe-" + b"x" * 40_000 + b"@example.org"
    with spawner(home, "qmail-lspawn", instructions) as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"
        assert deliver(spawn, messid, recipient).startswith((b"DSorry, no mailbox", b"ZUnable to open"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_every_identity_has_its_own_child(home: Path, messid: bytes) -> None:
    records = [(b"", b"-")]
    top = home.parent / "users"
    for name, uid in (("one", 40001), ("two", 40002)):
        directory = top / name
        directory.mkdir(parents=True)
        directory.chmod(0o700)
        os.chown(directory, uid, uid)
        (directory / ".qmail").write_text('|echo "$(id -u) $(id -g) $(id -G)"\n')
        (directory / ".qmail").chmod(0o644)
        fields = "\0".join([name, str(uid), str(uid), str(directory), "", ""])
        records.append((f"!{name}\0".encode(), fields.encode()))
    write_cdb(str(home / "users" / "cdb"), str(home / "users" / "tmp"), records)
    with spawner(home, "qmail-lspawn", "./Maildir/") as spawn:
        spawn.limit()
        for _ in range(3):
            for recipient, uid in ((b"one@example.org", 40001), (b"two@example.org", 40002)):
                report = deliver(spawn, messid, recipient)
                assert report == b"K%d %d %d\ndid 0+0+1\n" % (uid, uid, uid)
        workers = children(spawn.process.pid)
        owners = {int(Path(f"/proc/{pid}/status").read_text().partition("Uid:")[2].split()[0]) for pid in workers}
        assert len(workers) == 2
        assert owners == {40001, 40002}


def test_remote_deliveries_share_a_child(home: Path, messid: bytes) -> None:
    (home / "control" / "smtproutes").write_text(":127.0.0.1:1\n")
    with spawner(home, "qmail-rspawn") as spawn:
        spawn.limit()
        for _ in range(3):
            assert deliver(spawn, messid, b"b@h.org").startswith(b"ZSorry, I wasn't able to establish an SMTP connection.")
        assert len(children(spawn.process.pid)) == 1


def test_every_link_executed(home: Path, joe: Path, messid: bytes) -> None:
    """QSERVER_EXEC=1: a process of its own for every delivery, as the C originals have it."""
    try:
        subprocess.run([ours("qmail-local"), "--help"], user=delivery_account()[0], capture_output=True, check=True)
    except PermissionError:
        pytest.skip("the interpreter is out of the delivery account's reach")
    with spawner(home, "qmail-lspawn", "./Maildir/", QSERVER_EXEC="1") as spawn:
        spawn.limit()
        assert deliver(spawn, messid, b"joe@example.org") == b"Kdid 1+0+0\n"
        assert children(spawn.process.pid) == []
