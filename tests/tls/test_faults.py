"""sslserver under clients and accidents that nobody wishes for: the line in the log, the other sessions, the pool."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.net.server import Server
from tests.support import peer, spawn, wait_for
from tests.tls.authority import Authority
from tests.tls.server import ECHO, POPUP, secret, serving, trusting

REFUSED = r"sslserver: fatal: \(111\) unable to accept TLS from: 127.0.0.1 for pid: \d+ "


@contextmanager
def another_session(server: Server, ca: Authority) -> Iterator[None]:
    """A session that lives through the accident."""
    with secret(server, trusting(ca)) as client:
        assert client.recv(100) == b"hello\n"
        yield
        client.sendall(b"still here\n")
        assert client.recv(100) == b"still here\n"


def is_served(server: Server, ca: Authority) -> bool:
    """Whether a new client is; one that comes to a process that is just dying is not."""
    try:
        with secret(server, trusting(ca)) as client:
            return bool(client.recv(3))
    except OSError:
        return False


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_silent_clients_are_given_up(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    with serving(tmp_path, keys, *program, options=["-RHl0", "-T1"]) as server, server.connect() as silent:
        assert is_served(server, ca)
        assert silent.recv(100) == b""
        server.wait_line(REFUSED + "timed out$")
        server.wait_line("ended by .* status 28416")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"EHLO me\r\n", "wrong version number"),
        (b"GET / HTTP/1.0\r\n\r\n", "http request"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", ""),
        (b"", "unexpected eof while reading"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "unexpected eof while reading"),
        (os.urandom(1) * 100_000, ""),
    ],
)
def test_who_does_not_speak_tls(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], said: bytes, why: str) -> None:
    with serving(tmp_path, keys, *ECHO) as server, another_session(server, ca):
        server.talk(said)
        server.wait_line(REFUSED + why)
        assert is_served(server, ca)
        assert "bug" not in server.log()


@contextmanager
def s_client(server: Server, version: str) -> Iterator[subprocess.Popen[bytes]]:
    """openssl's client that takes orders, greeted."""
    words = [peer("openssl"), "s_client", version, "-connect", f"127.0.0.1:{server.port}"]
    with spawn(words, stdin=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        heard(process, b"hello")
        yield process


def heard(process: subprocess.Popen[bytes], text: bytes, order: bytes = b"") -> None:
    """Wait for a line with the text, which the order (if any) is to bring."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order)
    process.stdin.flush()
    while text not in (line := process.stdout.readline()):
        assert line, f"it never says {text!r}"


def test_renegotiation_is_refused(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO) as server, another_session(server, ca):
        with s_client(server, "-tls1_2") as process:
            heard(process, b"no renegotiation", b"R\n")
        assert is_served(server, ca)


def test_new_keys_in_the_middle(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO) as server, s_client(server, "-tls1_3") as process:
        for order, answer in ((b"K\n", b"KEYUPDATE"), (b"k\n", b"KEYUPDATE"), (b"word\n", b"word")):
            heard(process, answer, order)


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_who_leaves_in_the_middle(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    with serving(tmp_path, keys, *program) as server:
        for _ in range(3):
            client = trusting(ca).wrap_socket(server.connect(), server_hostname="localhost")
            assert client.recv(1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()  # a reset
        server.wait_line("ended by", 3)
        wait_for(lambda: server.lines()[-1].endswith("status: 0/40/40"))
        assert "bug" not in server.log()


def test_what_is_injected_before_tls_never_arrives(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """The protocol's own rule: a program throws away what it has read; here it reads by octets, and TLS has the rest."""
    script = "read x; printf 'go\\n'; printf y >&$SSLCTLFD; exec <&$SSLREADFD >&$SSLWRITEFD; read y; echo got $y"
    with serving(tmp_path, keys, "/bin/bash", "-c", script, options=["-nRHl0"]) as server:
        with server.connect() as plain:
            plain.sendall(b"STARTTLS\n")
            assert plain.recv(100) == b"go\n"
            with trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"secret\n")
                assert client.recv(100) == b"got secret\n"
        with server.connect() as plain:
            plain.sendall(b"STARTTLS\ninjected\n")
            assert plain.recv(100) == b"go\n"
            with pytest.raises((ssl.SSLError, ConnectionError)):
                trusting(ca).wrap_socket(plain, server_hostname="localhost")
        server.wait_line(REFUSED)
