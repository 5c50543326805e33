"""The token = : a Dovecot auth socket, scripted (access 4.5)."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.auth.test_authuser import check, login

GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t7\nDONE\n"


@contextmanager
def dovecot(path: Path, greeting: bytes, answer: bytes) -> Iterator[list[bytes]]:
    """An auth server for one client; yields the list of the lines it was sent."""
    seen: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)

    def work() -> None:
        client, _ = listener.accept()
        with client, client.makefile("rb") as reader:
            client.sendall(greeting)
            for line in reader:
                seen.append(line)
                if line.startswith(b"AUTH"):
                    break
            with suppress(BrokenPipeError):  # a client that was told enough hangs up
                client.sendall(answer)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield seen
        thread.join(10)
    finally:
        listener.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose only entry is a Dovecot one."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users/authuser").write_text("*:=\n")
    return tmp_path


@pytest.mark.parametrize(
    ("greeting", "answer", "code"),
    [
        (GREETING, b"OK\t1\tuser=joe\n", 0),
        (GREETING, b"FAIL\t1\tuser=joe\n", 1),
        (GREETING, b"FAIL\t1\tuser=joe\ttemp\n", 111),
        (GREETING, b"CONT\t1\t\n", 111),
        (GREETING, b"OK\t2\n", 111),
        (GREETING, b"", 111),
        (b"VERSION\t2\t0\nDONE\n", b"OK\t1\n", 111),
    ],
)
def test_answers(home: Path, greeting: bytes, answer: bytes, code: int) -> None:
    with dovecot(home / "auth", greeting, answer) as seen:
        result = check(home, login("joe@x", "se cret"), "-s", str(home / "auth"), "true")
    assert result.returncode == code
    if greeting == GREETING:
        assert seen[0] == b"VERSION\t1\t2\n" and seen[1].startswith(b"CPID\t")
        secret = base64.b64encode(b"\0joe@x\0se cret")
        assert seen[2] == b"AUTH\t1\tPLAIN\tservice=smtp\tresp=" + secret + b"\n"


def test_service(home: Path) -> None:
    with dovecot(home / "auth", GREETING, b"OK\t1\n") as seen:
        result = check(home, login("joe", "x"), "-s", str(home / "auth"), "-x", "pop3=imap", "echo", "in")
    assert (result.returncode, result.stdout) == (0, b"in\n")
    assert b"\tservice=imap\t" in seen[2]


def test_without_socket(home: Path) -> None:
    assert check(home, login("joe", "x"), "true").returncode == 2
    assert check(home, login("joe", "x"), "-s", str(home / "nowhere"), "true").returncode == 111
