"""Servers to hold a dialogue with: qmail-smtpd in this process over a socket pair, and as a command over pipes."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qmail.commands import qmail_smtpd
from qserver.net.connection import Connection
from tests.smtpd.dialogue_file import Wire
from tests.support import environment, ours, spawn


class SocketWire(Wire):
    """A stream socket."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.settimeout(20)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


class PipeWire(Wire):
    """The pipes of a child."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout

    def send(self, data: bytes) -> None:
        os.write(self.stdin.fileno(), data)

    def receive(self) -> bytes:
        return os.read(self.stdout.fileno(), 65536)

    def end(self) -> None:
        self.stdin.close()


def in_process(env: dict[str, str], client: Callable[[SocketWire], None]) -> int:
    """Serve one session here, the client being a thread; returns the exit code, raises what the client raised."""
    ours_end, theirs = socket.socketpair()
    failures: list[AssertionError | OSError] = []

    def run() -> None:
        try:
            client(SocketWire(theirs))
        except (AssertionError, OSError) as failure:
            failures.append(failure)
        finally:
            theirs.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        code = qmail_smtpd.serve(["qmail-smtpd"], env, Connection.from_socket(ours_end.fileno()))
    finally:
        ours_end.close()
        thread.join(20)
    if failures:
        raise failures[0]
    return code


@contextmanager
def as_command(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the installed qmail-smtpd, or the one QSERVER_TEST_SMTPD names, on two pipes, its log going to a file."""
    program = os.environ.get("QSERVER_TEST_SMTPD", ours("qmail-smtpd"))
    with (
        log.open("wb") as stderr,
        spawn([program], env=environment(**env), stdin=subprocess.PIPE, stderr=stderr) as process,
    ):
        yield process
