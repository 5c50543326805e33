"""One user per role: the accounts exist, the queue belongs to qmailq and is closed to everybody else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from qmail.home import GROUP_NUMBERS, USER_NUMBERS
from qmail.queue.names import parse_todo
from qmail.queue.service import answers
from tests.support import ROOT, environment, ours, peer, run, spawn, wait_for

pytestmark = pytest.mark.root

GROUPS = {"qmailq": "sqmail", "qmailr": "sqmail", "qmails": "sqmail"}
MESSAGE = b"Subject: x\n\nbody\n"
ENVELOPE = b"Fa@b.c\0Td@e.f\0\0"


class Host:
    """A machine with qmail's accounts: a mount namespace with its own passwd and group."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.home = top / "qmail"
        self.gids = dict(GROUP_NUMBERS)
        passwd = Path("/etc/passwd").read_text()
        for user, uid in USER_NUMBERS.items():
            passwd += f"{user}:x:{uid}:{self.gids[GROUPS.get(user, 'nofiles')]}::{self.home}:/bin/true\n"
        (top / "passwd").write_text(passwd)
        groups = "".join(f"{group}:x:{gid}:\n" for group, gid in self.gids.items())
        (top / "group").write_text(Path("/etc/group").read_text() + groups)

    def argv(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """argv as it is to be started here: on that machine, as that user."""
        mounts = f"mount --bind {self.top}/passwd /etc/passwd && mount --bind {self.top}/group /etc/group"
        line = [peer("unshare"), "-m", "/bin/sh", "-c", f'{mounts} && exec "$@"', "sh"]
        if user is not None:
            uid = USER_NUMBERS.get(user, 54323)
            gid = self.gids[GROUPS.get(user, "nofiles")] if user in USER_NUMBERS else 54323
            line += [peer("setpriv"), f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        return [*line, *argv]

    def run(
        self, argv: Sequence[str], user: str | None = None, input: bytes = b"", **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        return run(self.argv(argv, user), env=environment(QMAILHOME=str(self.home), **env), input=input)

    def queue(self, user: str | None, **env: str) -> int:
        """qmail-queue run by that user; its exit code."""
        (self.top / "envelope").write_bytes(ENVELOPE)
        script = ["/bin/sh", "-c", f'exec "$@" 1<{self.top}/envelope', "sh", ours("qmail-queue")]
        return self.run(script, user, MESSAGE, **env).returncode


@pytest.fixture
def host() -> Iterator[Host]:
    if not {"qmailq", "sqmail"}.isdisjoint(re.findall(r"(?m)^\w+", Path("/etc/passwd").read_text())):
        pytest.skip("this machine has a qmail of its own")
    top = Path(tempfile.mkdtemp(prefix="queue-test-"))
    try:
        top.chmod(0o755)
        machine = Host(top)
        if machine.run(["/bin/true"]).returncode != 0:
            pytest.skip("no permission to make a mount namespace")
        probe = ["/bin/sh", "-c", 'exec "$1" --help', "sh", ours("qmail-qstat")]
        if machine.run(probe, "somebody").returncode != 0:
            pytest.skip("the interpreter or the checkout is in a place that other accounts cannot reach")
        machine.home.mkdir()
        (machine.home / "control").mkdir()
        (machine.home / "control" / "me").write_text("example.org\n")
        (machine.home / "control" / "rcpthosts").write_text("example.org\n")
        script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from qmail.queue import layout; layout.make(sys.argv[1])"
        done = machine.run([ours("python"), "-c", script, str(machine.home)])
        assert done.returncode == 0, done.stderr
        yield machine
    finally:
        shutil.rmtree(top)


@pytest.fixture
def service(host: Host) -> Iterator[Host]:
    env = environment(QMAILHOME=str(host.home))
    with spawn(host.argv([ours("qmail-queued")]), env=env):
        wait_for(lambda: answers(f"{host.home}/run/queue.sock"))
        yield host


def taken(host: Host) -> tuple[os.stat_result, int, bytes]:
    """Of the one message in the queue: its file, the uid in its envelope, its Received line without numbers."""
    (mess,), (todo,) = host.home.glob("queue/mess/*/*"), host.home.glob("queue/todo/*/*")
    assert todo.stat().st_uid == mess.stat().st_uid
    received = mess.read_bytes().partition(b"\n")[0]
    match = re.fullmatch(rb"Received: \(qmail \d+ (.*)\); .*", received)
    assert match
    return mess.stat(), parse_todo(todo.read_bytes()).uid, match[1]


OWNERS = {
    "pid": ("qmailq", 0o700), "mess": ("qmailq", 0o750), "mess/22": ("qmailq", 0o750), "intd/0": ("qmailq", 0o700),
    "todo/7": ("qmailq", 0o750), "info/1": ("qmails", 0o700), "local/2": ("qmails", 0o700), "remote/3": ("qmails", 0o700),
    "bounce": ("qmails", 0o700), "lock": ("qmailq", 0o750), "lock/sendmutex": ("qmails", 0o600),
    "lock/tcpto": ("qmailr", 0o644), "lock/trigger": ("qmails", 0o622), "../run": ("qmailq", 0o755),
}  # fmt: skip


def test_layout(host: Host) -> None:
    for path, (role, mode) in OWNERS.items():
        there = (host.home / "queue" / path).stat()
        assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (USER_NUMBERS[role], host.gids["sqmail"], mode), path


def test_root_and_the_owner_write_themselves(host: Host) -> None:
    assert host.queue(None) == 0
    there, uid, text = taken(host)
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (USER_NUMBERS["qmailq"], host.gids["sqmail"], 0o644)
    assert (uid, text) == (0, b"invoked by uid 0")
    assert host.queue("qmailq") == 0


@pytest.mark.parametrize("user", ["alias", "qmaild", "qmails", "somebody"])
def test_everybody_else_needs_the_service(host: Host, user: str) -> None:
    assert host.queue(user) == 62


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("alias", b"invoked by alias"),
        ("qmaild", b"invoked from network"),
        ("qmails", b"invoked for bounce"),
        ("qmailr", b"invoked by uid 7795"),
        ("qmailq", b"invoked by uid 7794"),
        ("somebody", b"invoked by uid 54323"),
    ],
)
def test_who_invoked(service: Host, user: str, text: bytes) -> None:
    assert service.queue(user) == 0
    there, uid, found = taken(service)
    assert there.st_uid == USER_NUMBERS["qmailq"]
    assert (uid, found) == (USER_NUMBERS.get(user, 54323), text)


def test_qmail_inject_by_somebody(service: Host) -> None:
    done = service.run([ours("qmail-inject"), "x@example.org"], "somebody", MESSAGE, USER="u")
    assert (done.returncode, done.stderr) == (0, b"")
    assert taken(service)[1:] == (54323, b"invoked by uid 54323")


def test_qmail_smtpd_as_qmaild(service: Host) -> None:
    dialogue = b"HELO x\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@example.org>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n"
    server = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPLOCALIP": "192.0.2.2", "TCPLOCALHOST": "l"}
    done = service.run([ours("qmail-smtpd")], "qmaild", dialogue, **server)
    assert b"\r\n250 ok " in done.stdout
    assert taken(service)[1:] == (USER_NUMBERS["qmaild"], b"invoked from network")


@pytest.mark.parametrize(("user", "code"), [("qmaild", 32), (None, 32), ("qmailq", 32), ("somebody", 0), ("alias", 0)])
def test_whose_scanner_counts(service: Host, user: str | None, code: int) -> None:
    refuse = service.top / "refuse"
    refuse.write_text("#!/bin/sh\nexit 1\n")
    refuse.chmod(0o755)
    assert service.queue(user, QHPSI=str(refuse)) == code
