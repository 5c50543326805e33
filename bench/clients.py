"""Load generators: several client processes, each in a closed loop over loopback, bounded in count."""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable

HOST = "127.0.0.1"
PATIENCE = 120


def parallel(clients: int, total: int, one: Callable[[int], None]) -> float:
    """Run `one(count)` in `clients` processes that share `total`; returns operations per second of wall time."""
    counts = [total // clients + (number < total % clients) for number in range(clients)]
    if clients == 1:
        start = time.perf_counter()
        one(total)
        return total / (time.perf_counter() - start)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients + 1)

    def worker(count: int) -> None:
        barrier.wait()
        one(count)
        os._exit(0)

    processes = [context.Process(target=worker, args=(count,)) for count in counts]
    for process in processes:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    for process in processes:
        process.join(PATIENCE)
    elapsed = time.perf_counter() - start
    failed = [process for process in processes if process.exitcode != 0]
    for process in failed:
        process.kill()
    if failed:
        raise RuntimeError(f"{len(failed)} of {clients} clients failed")
    return total / elapsed


def dial(port: int) -> socket.socket:
    """A connection whose time-outs are the kernel's, so that each call is one system call: clients share the cores."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        client.setsockopt(socket.SOL_SOCKET, option, struct.pack("@qq", PATIENCE, 0))
    client.connect((HOST, port))
    return client


def connections(port: int, say: bytes = b"") -> Callable[[int], None]:
    """Connect, optionally say something and read it back, read to the end, close; `count` times."""

    def one(count: int) -> None:
        for _ in range(count):
            with dial(port) as client:
                if say:
                    client.sendall(say)
                    client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

    return one


def pop3_sessions(port: int, user: str, password: str) -> Callable[[int], None]:
    """USER PASS STAT LIST QUIT."""

    def one(count: int) -> None:
        for _ in range(count):
            with dial(port) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                file = client.makefile("rb")
                expect(file.readline())
                for command in (f"USER {user}", f"PASS {password}", "STAT", "LIST", "QUIT"):
                    client.sendall(command.encode() + b"\r\n")
                    expect(file.readline())
                    if command == "LIST":
                        while file.readline() not in (b".\r\n", b""):
                            pass

    return one


def expect(line: bytes) -> None:
    """A POP3 reply that is no `+OK` ends the measurement."""
    if not line.startswith(b"+OK"):
        raise RuntimeError(f"unexpected reply: {line!r}")


def smtp_source(port: int, sessions: int, messages: int, *, keep: bool = False, size: int = 1024) -> float:
    """Messages per second by Postfix's smtp-source; `keep`: all messages over `sessions` connections."""
    argv = ["/usr/sbin/smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(size)]
    argv += ["-d"] if keep else []
    argv += ["-f", "a@example.test", "-t", "alice@example.test", f"{HOST}:{port}"]
    start = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"smtp-source: {done.stderr.decode(errors='replace')[:200]}")
    return messages / (time.perf_counter() - start)
