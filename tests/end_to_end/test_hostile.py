"""What strangers send: the documented reply, bounded memory, no traceback, no half-queued message, and service goes on."""

from __future__ import annotations

import re
import select
import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Stack
from tests.support import environment, ours, spawn, wait_for

GIGABYTE = 1 << 30
MEMORY_BOUND = 64 << 20


def connect(stack: Stack, name: str = "qmail-smtpd") -> socket.socket:
    client = socket.create_connection(stack.address(name), timeout=60)
    client.recv(512)
    return client


def in_data(stack: Stack) -> socket.socket:
    """A connection that has been told 354."""
    client = connect(stack)
    client.sendall(b"MAIL FROM:<s@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
    seen = b""
    while b"354 go ahead\r\n" not in seen:
        seen += client.recv(512)
    return client


def rest(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    seen = b""
    try:
        while block := client.recv(65536):
            seen += block
    except ConnectionResetError:
        pass
    return seen


def pour(client: socket.socket, total: int, block: bytes = b"x" * (1 << 20)) -> None:
    """Send `total` bytes; a server that hangs up ends it."""
    try:
        for _ in range(total // len(block)):
            client.sendall(block)
    except (BrokenPipeError, ConnectionResetError):
        pass


def biggest(stack: Stack) -> int:
    """Private bytes of the largest process of the stack."""
    sizes = []
    for process in stack.processes():
        try:
            sizes.append(process.memory_info().rss - process.memory_info().shared)
        except psutil.Error:
            continue
    return max(sizes)


@pytest.fixture(autouse=True)
def still_serves(shared_stack: Stack) -> Iterator[None]:
    """After each attack: nothing half-queued, no traceback or bug in any log, and a mail still goes through."""
    yield
    with smtplib.SMTP(*shared_stack.smtp, timeout=20) as client:
        client.sendmail("s@example.test", ["alice@example.test"], b"Subject: still here\r\n\r\n")
    wait_for(lambda: shared_stack.queued() == 0, timeout=30)
    logs = "".join(shared_stack.log(name) for name in ("qmail-smtpd", "qmail-pop3d", "qmail-send", "svscan"))
    assert not re.search(r"Traceback|internal bug|Error:", logs), logs[-2000:]


@pytest.mark.timeout(120)
def test_a_gigabyte_without_newline_as_a_command(shared_stack: Stack) -> None:
    client = connect(shared_stack)
    pour(client, GIGABYTE)
    assert biggest(shared_stack) < MEMORY_BOUND
    client.sendall(b"\r\nQUIT\r\n")
    assert rest(client).startswith(b"500 line too long (#5.5.2)\r\n221 ")


@pytest.mark.timeout(120)
def test_a_gigabyte_without_newline_as_a_message_is_dropped_at_the_end(shared_stack: Stack) -> None:
    before = len(shared_stack.messages("alice"))
    client = in_data(shared_stack)
    pour(client, GIGABYTE >> 2)
    assert biggest(shared_stack) < MEMORY_BOUND
    client.close()
    wait_for(lambda: shared_stack.queued() == 0, timeout=30)
    assert len(shared_stack.messages("alice")) == before


def test_a_gigabyte_without_newline_to_pop3(shared_stack: Stack) -> None:
    client = connect(shared_stack, "qmail-pop3d")
    pour(client, GIGABYTE >> 3)
    assert biggest(shared_stack) < MEMORY_BOUND
    assert b"Traceback" not in rest(client)


def test_disconnect_in_data(shared_stack: Stack) -> None:
    before = len(shared_stack.messages("alice"))
    for text in (b"", b"Subject: x\r\n", b"Subject: x\r\n\r\nbody\r\n.", b"a\r\n.\r"):
        client = in_data(shared_stack)
        client.sendall(text)
        client.close()
    wait_for(lambda: shared_stack.queued() == 0)
    assert len(shared_stack.messages("alice")) == before


def test_every_byte_value_as_commands(shared_stack: Stack) -> None:
    for server in ("qmail-smtpd", "qmail-pop3d"):
        for number in range(256):
            client = connect(shared_stack, server)
            client.sendall(bytes([number]) * 50 + b"\r\n" + b"MAIL FROM:<" + bytes([number]) + b"@x>\r\nQUIT\r\n")
            client.shutdown(socket.SHUT_WR)
            replies = rest(client)
            assert re.fullmatch(rb"((\d{3}|\+OK|-ERR)[ -]?[^\r\n]*\r\n)+", replies), (number, replies)
            client.close()


def test_every_byte_value_in_a_message(shared_stack: Stack) -> None:
    body = bytes(number for number in range(256) if number not in b"\r\n") * 3
    client = in_data(shared_stack)
    client.sendall(b"Subject: bytes\r\n\r\n" + body + b"\r\n.\r\nQUIT\r\n")
    assert rest(client).startswith(b"250 ok ")
    wait_for(lambda: any(body in path.read_bytes() for path in shared_stack.messages("alice")))


def test_a_client_that_stops_reading_does_not_hold_up_others(shared_stack: Stack) -> None:
    deaf = connect(shared_stack)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.settimeout(1)
    try:
        for _ in range(5000):
            deaf.sendall(b"HELP\r\n" * 100)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        pass
    with smtplib.SMTP(*shared_stack.smtp, timeout=20) as client:
        assert client.noop()[0] == 250
    assert biggest(shared_stack) < MEMORY_BOUND
    deaf.close()


def test_more_clients_than_slots_wait_and_are_not_reset(shared_stack: Stack) -> None:
    held = [connect(shared_stack) for _ in range(40)]
    waiting = [socket.create_connection(shared_stack.smtp, timeout=20) for _ in range(10)]
    for client in held:
        client.close()
    for client in waiting:
        assert client.recv(512).startswith(b"220 ")
        client.close()


def test_smuggled_message_is_not_taken(shared_stack: Stack) -> None:
    client = in_data(shared_stack)
    client.sendall(b"Subject: one\r\n\r\nx\n.\nMAIL FROM:<evil@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
    assert rest(client).startswith(b"451 ")
    time.sleep(0.2)
    assert shared_stack.messages("bob") == []


def test_control_files_that_cannot_be_read(stack: Stack) -> None:
    path = stack.home / "qmail" / "control" / "rcpthosts"
    path.rename(path.with_name("away"))
    path.mkdir()
    with socket.create_connection(stack.smtp, timeout=20) as client:
        assert rest(client) == b"421 unable to read controls (#4.3.0)\r\n"
    path.rmdir()
    path.with_name("away").rename(path)
    with socket.create_connection(stack.smtp, timeout=20) as client:
        assert client.recv(512) == b"220 mail.example.test ESMTP\r\n"


def test_rules_missing_and_corrupt(stack: Stack) -> None:
    rules = stack.home / "qmail" / "control" / "rules.smtpd.cdb"
    good = rules.read_bytes()

    def replace(data: bytes) -> None:
        new = rules.with_suffix(".new")
        new.write_bytes(data)
        new.rename(rules)

    replace(b"\xff" * 3000)
    with socket.create_connection(stack.smtp, timeout=20) as client:
        assert rest(client) == b""
    wait_for(lambda: f"tcpserver: drop: (110) unable to read: {rules}" in stack.log("qmail-smtpd"))
    rules.unlink()  # -X: a missing file allows
    with socket.create_connection(stack.smtp, timeout=20) as client:
        assert client.recv(512).startswith(b"220 ")
    replace(good)
    with smtplib.SMTP(*stack.smtp, timeout=20) as mail:
        assert mail.noop()[0] == 250


def limit_descriptors(pid: int, spare: int | None) -> None:
    """Leave a server and its workers only so many descriptors more than they have; None: as many as they like."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        hard = process.rlimit(psutil.RLIMIT_NOFILE)[1]
        process.rlimit(psutil.RLIMIT_NOFILE, (256 if spare is None else process.num_fds() + spare, hard))


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_out_of_descriptors_is_survived(home: Path, tmp_path: Path, spare: int) -> None:
    """EMFILE in a worker: a session gets a temporary answer or none, and the server goes on when there are some again."""
    argv = [ours("tcpserver"), "-v1", "-RHl", "localhost", "127.0.0.1", "0", ours("qmail-smtpd")]
    log = tmp_path / "log"
    with log.open("wb") as errors, spawn(argv, env=environment(QMAILHOME=str(home)), stderr=errors) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline().split()[-1]))
        with smtplib.SMTP(*address, timeout=20) as mail:
            mail.noop()
        limit_descriptors(server.pid, spare)
        clients = [socket.create_connection(address, timeout=20) for _ in range(3)]
        for client in clients:
            client.sendall(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n.\r\nQUIT\r\n")
        if spare:
            wait_for(lambda: b"status: 3/" in log.read_bytes() or select.select(clients, [], [], 0.1)[0])
        limit_descriptors(server.pid, None)
        answers = [rest(client) for client in clients]
        assert not any(b"Traceback" in answer for answer in answers)
        with smtplib.SMTP(*address, timeout=20) as mail:
            mail.sendmail("s@example.org", ["a@example.org"], b"Subject: on\r\n\r\n")
        queued = len(list((home / "queue/todo").glob("*/*")))
        assert queued == 1 + sum(b"\r\n250 ok 1" in answer for answer in answers)
    assert b"Traceback" not in log.read_bytes()
