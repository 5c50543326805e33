"""A tcpserver for a test: started on a port of the kernel's choice, its log in a file, stopped at the end."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import psutil

from tests.support import environment, ours, spawn, wait_for

QUIET_LOCAL = ("-RHl", "localhost")


class Server:
    """A running server, ours or the original."""

    def __init__(self, process: Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def log(self) -> str:
        return self._log.read_text(errors="surrogateescape")

    def lines(self) -> list[str]:
        return self.log().splitlines()

    def wait_line(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """Wait until that many lines match; returns the matches."""

        def found() -> list[re.Match[str]] | None:
            matches = [match for match in (re.search(pattern, line) for line in self.lines()) if match]
            return matches if len(matches) >= count else None

        return wait_for(found) or []

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection((host, self.port), timeout=20)

    def talk(self, data: bytes = b"", host: str = "127.0.0.1") -> bytes:
        """Send, end our side, return all that comes."""
        with self.connect(host) as client:
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            except OSError:  # the server has hung up already
                pass
            return read_all(client)

    def workers(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children())


def read_all(client: socket.socket) -> bytes:
    """Everything up to the end; a reset is one."""
    received = b""
    try:
        while block := client.recv(65536):
            received += block
    except ConnectionResetError:
        pass
    return received


@contextmanager
def serving(
    tmp_path: Path,
    *words: str,
    host: str = "127.0.0.1",
    options: Sequence[str] = QUIET_LOCAL,
    program: str | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """tcpserver OPTIONS HOST 0 WORDS until the block ends. `program` is the server, else ours."""
    log = tmp_path / f"log-{len(list(tmp_path.glob('log-*')))}"
    argv = [program or ours("tcpserver"), *options, "-1v", host, "0", *words]
    with (
        log.open("wb") as file,
        spawn(argv, env=environment(**(env or {})), stderr=file, cwd=cwd, pass_fds=pass_fds) as process,
    ):
        assert process.stdout is not None
        shown = process.stdout.readline().decode()
        assert shown, log.read_text()
        server = Server(process, int(shown.rpartition(" ")[2]), log)
        server.wait_line("status: 0/")
        yield server


def shape(lines: Sequence[str], server: Server) -> list[str]:
    """Log lines with sessions numbered and ports as words, so that two servers' can be compared."""
    sessions: dict[str, str] = {}
    began = 0
    shaped = []
    for line in lines:
        match = re.match(r"(tcpserver: (pid|ok|deny|end)) (\d+)(.*)", line)
        if match:
            head, word, pid, tail = match.groups()
            if word == "pid":
                began += 1
                sessions[pid] = f"SESSION{began}"
            line = f"{head} {sessions[pid]}{tail}"
        line = line.replace(f":{server.port} ", ":LOCAL ")
        shaped.append(re.sub(r"(\d+\.\d+\.\d+\.\d+:[^: ]*):\d+$", r"\1:REMOTE", line))
    return shaped
