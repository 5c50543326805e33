"""qmail-queued: warm workers, the caller's identity from the kernel, one at a time, gone with its starter."""

from __future__ import annotations

import _socket
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qmail.queue import handover
from qmail.queue.client import ServiceQueue
from qmail.queue.names import parse_todo
from qmail.queue.service import answers
from tests.queue.conftest import OWNER, become
from tests.queue.test_qmail_queue import ENVELOPE, files, queue
from tests.support import environment, make_home, ours, run, spawn, wait_for


@contextmanager
def service(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with spawn([ours("qmail-queued")], env=environment(QMAILHOME=str(home))) as process:
        wait_for(lambda: answers(f"{home}/run/queue.sock") or process.poll() is not None)
        assert process.poll() is None
        yield process


def client(home: Path, **env: str) -> ServiceQueue:
    return ServiceQueue(handover.connect(f"{home}/run/queue.sock"), env)


def send(home: Path, text: bytes, **env: str) -> int:
    queue = client(home, **env)
    queue.put(text)
    queue.envelope(b"a@b", [b"c@d"])
    return queue.close()


def test_a_message(home: Path) -> None:
    with service(home):
        assert send(home, b"x" * 1_000_000) == 0
    (todo,), (mess,) = home.glob("queue/todo/*/*"), home.glob("queue/mess/*/*")
    assert todo.read_bytes() == b"u%d\0p%d\0Fa@b\0Tc@d\0" % (os.getuid(), os.getpid())
    received, _, text = mess.read_bytes().partition(b"\n")
    assert received.startswith(b"Received: (qmail %d invoked by uid %d); " % (os.getpid(), os.getuid()))
    assert text == b"x" * 1_000_000
    assert {path.stat().st_mode & 0o777 for path in home.glob("queue/*/*/*")} == {0o644}


def test_many_messages_by_few_workers(home: Path) -> None:
    with service(home) as process:
        for number in range(60):
            assert send(home, b"%d" % number) == 0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert 2 <= len(children) <= 4
    assert len(list(home.glob("queue/todo/*/*"))) == 60


def test_callers_that_send_nothing_do_not_keep_others_waiting(home: Path) -> None:
    with service(home):
        slow = [client(home) for _ in range(12)]
        mute = [handover.connect(f"{home}/run/queue.sock") for _ in range(12)]
        assert send(home, b"quick") == 0
        for queue in slow:
            queue.put(b"slow")
            queue.envelope(b"a", [b"b"])
            assert queue.close() == 0
        for connection in mute:
            connection.close()


def test_a_client_that_fails_or_dies_leaves_nothing(home: Path) -> None:
    with service(home):
        failing = client(home)
        failing.put(b"x" * 300_000)
        failing.fail()
        assert failing.close() == 54
        assert files(home) == []
        script = (
            "import os, sys\nfrom pathlib import Path\nfrom tests.queue.test_service import client\n"
            "client(Path(sys.argv[1])).put(b'x' * 200_000)\nos.kill(os.getpid(), 9)\n"
        )
        run([ours("python"), "-c", script, str(home)], cwd=Path(__file__).parents[2])
        wait_for(lambda: files(home) == [])
        assert send(home, b"next") == 0


@pytest.mark.parametrize("rights", [0, 1, 3])
def test_who_does_not_keep_to_the_protocol_gets_no_answer(home: Path, rights: int) -> None:
    with service(home), open("/dev/null", "rb") as null:
        sock = handover.connect(f"{home}/run/queue.sock")
        fds = null.fileno().to_bytes(4, sys.byteorder) * rights
        sock.sendmsg([b"Q"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)] if rights else [])
        sock.settimeout(10)
        assert sock.recv(1) == b""
        sock.close()
        assert send(home, b"next") == 0


def test_a_wrong_letter_and_endless_settings(home: Path) -> None:
    with service(home), open("/dev/null", "rb") as null:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, null.fileno().to_bytes(4, sys.byteorder) * 2)]
        for data in (b"X", b"Q" + b"QHPSI=" + b"x" * 200_000):
            sock = handover.connect(f"{home}/run/queue.sock")
            sock.settimeout(10)
            try:
                sock.sendmsg([data[:1]], rights)
                sock.sendall(data[1:])
                assert sock.recv(1) == b""
            except (BrokenPipeError, ConnectionResetError):
                pass
            sock.close()
        assert send(home, b"next") == 0


def test_bad_envelopes_have_their_codes(home: Path) -> None:
    with service(home):
        for envelope, code in ((b"Ta\0\0", 91), (b"F" + b"a" * 1003 + b"\0\0", 11), (b"Fa\0", 54)):
            sock = handover.connect(f"{home}/run/queue.sock")
            reading, writing = os.pipe()
            os.write(writing, envelope)
            os.close(writing)
            with open("/dev/null", "rb") as null:
                handover.send(sock, null.fileno(), reading, {})
            os.close(reading)
            assert handover.answer(sock) == code
            sock.close()
    assert files(home) == []


def test_the_scanner_of_a_trusted_caller(home: Path) -> None:
    refuse = home / "refuse"
    refuse.write_text("#!/bin/sh\nexit ${QHPSIRC:-1}\n")
    refuse.chmod(0o755)
    with service(home):
        assert send(home, b"x", QHPSI=str(refuse), QHPSIRC="9", PATH="/bin:/usr/bin") == 32
        assert send(home, b"x", QHPSI=str(refuse), QHPSIMAXSIZE="10") == 0


def test_a_lost_service_is_a_write_error(home: Path) -> None:
    with service(home) as process:
        queue = client(home)
        queue.put(b"x" * 200_000)  # more than a pipe holds: a worker has it
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), signal.SIGKILL)
        queue.envelope(b"a", [b"b"])
        assert queue.close() == 53
        wait_for(lambda: send(home, b"next") == 0)


def test_the_socket(home: Path) -> None:
    with service(home) as process:
        socket_file = home / "run" / "queue.sock"
        assert stat.S_ISSOCK(socket_file.stat().st_mode)
        assert stat.S_IMODE(socket_file.stat().st_mode) == 0o666
        process.terminate()
        assert process.wait(10) == 0
        assert not socket_file.exists()


def test_a_home_with_a_long_path(tmp_path: Path) -> None:
    home = make_home(tmp_path / ("long" * 30) / "qmail")
    with service(home):
        assert send(home, b"x") == 0
    assert len(list(home.glob("queue/todo/*/*"))) == 1


def test_a_second_copy_ends_silently(home: Path) -> None:
    with service(home):
        done = run([ours("qmail-queued")], env=environment(QMAILHOME=str(home)))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert send(home, b"x") == 0


def test_a_stale_socket_is_replaced(home: Path) -> None:
    with service(home) as process:
        process.kill()
        process.wait(10)
        wait_for(lambda: not answers(f"{home}/run/queue.sock"))  # its workers take a moment to notice
    assert (home / "run" / "queue.sock").exists()
    with service(home):
        assert send(home, b"x") == 0


def test_it_ends_with_its_starter(home: Path) -> None:
    script = f"{ours('qmail-queued')} & echo $!; read line"
    with spawn(["/bin/sh", "-c", script], env=environment(QMAILHOME=str(home)), stdin=subprocess.PIPE) as starter:
        assert starter.stdin is not None and starter.stdout is not None
        pid = int(starter.stdout.readline())
        wait_for(lambda: answers(f"{home}/run/queue.sock"))
        workers = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        starter.stdin.close()
        starter.wait(10)
        wait_for(lambda: not any(_alive(process) for process in (pid, *workers)))
    assert not (home / "run" / "queue.sock").exists()


def test_workers_end_with_a_master_that_was_killed(home: Path) -> None:
    with service(home) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = [int(child) for child in wait_for(lambda: children.read_text().split())]
        process.kill()
        process.wait(10)
        wait_for(lambda: not any(map(_alive, workers)))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_no_queue(tmp_path: Path) -> None:
    done = run([ours("qmail-queued")], env=environment(QMAILHOME=str(tmp_path)))
    assert done.returncode == 111


# ---- as root: callers and queue of different uids


@pytest.mark.root
def test_the_kernel_tells_who_calls(shared_home: Path, stranger: int) -> None:
    with service(shared_home) as process:
        assert os.stat(f"/proc/{process.pid}").st_uid == (shared_home / "run" / "queue.sock").stat().st_uid == OWNER
        assert queue(shared_home, preexec=lambda: become(stranger)).returncode == 0
        assert queue(shared_home, ENVELOPE[:-1], preexec=lambda: become(stranger)).returncode == 54
    (todo,), (mess,) = shared_home.glob("queue/todo/*/*"), shared_home.glob("queue/mess/*/*")
    envelope = parse_todo(todo.read_bytes())
    assert envelope.uid == stranger
    assert mess.read_bytes().startswith(b"Received: (qmail %d invoked by uid %d); " % (envelope.pid, stranger))
    assert todo.stat().st_uid == mess.stat().st_uid == OWNER


@pytest.mark.root
def test_the_scanner_of_a_stranger_is_ignored(shared_home: Path, stranger: int) -> None:
    refuse = shared_home / "refuse"
    refuse.write_text("#!/bin/sh\nexit 1\n")
    refuse.chmod(0o755)
    with service(shared_home):
        assert queue(shared_home, preexec=lambda: become(stranger), env={"QHPSI": str(refuse)}).returncode == 0
        assert queue(shared_home, preexec=lambda: become(OWNER), env={"QHPSI": str(refuse)}).returncode == 32


@pytest.mark.root
def test_run_is_made_for_the_owner(shared_home: Path) -> None:
    (shared_home / "run").rmdir()
    with service(shared_home):
        assert (shared_home / "run").stat().st_uid == OWNER
        assert stat.S_IMODE((shared_home / "run").stat().st_mode) == 0o755
