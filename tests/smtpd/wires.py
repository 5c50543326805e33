"""Servers to hold a dialogue with: qmail-smtpd in this process over a socket pair, and as a command over pipes."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
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


class InProcess:
    """One session served by a thread of this process."""

    def __init__(self, env: dict[str, str]) -> None:
        self.client, self._server = socket.socketpair()
        self.wire = SocketWire(self.client)
        self.code: int | None = None
        self.failure: BaseException | None = None
        self._env = env
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.code = qmail_smtpd.serve(["qmail-smtpd"], self._env, Connection.from_socket(self._server.fileno()))
        except BaseException as failure:
            self.failure = failure
        finally:
            self._server.close()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def finish(self) -> int:
        """Hang up and wait; returns the exit code, raises what the server raised."""
        self.client.close()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure
        assert self.code is not None
        return self.code


@contextmanager
def in_process(env: dict[str, str]) -> Iterator[InProcess]:
    """Serve one session in a thread; it is over when the block is left."""
    session = InProcess(env)
    session.start()
    try:
        yield session
    finally:
        session.finish()


@contextmanager
def as_command(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the installed qmail-smtpd on two pipes, its log going to a file."""
    with (
        log.open("wb") as stderr,
        spawn([ours("qmail-smtpd")], env=environment(**env), stdin=subprocess.PIPE, stderr=stderr) as process,
    ):
        yield process
