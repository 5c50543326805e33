"""STARTTLS in a program of ours, in its worker: qmail-popup's STLS, and what attackers try there."""

from __future__ import annotations

import poplib
import socket
from pathlib import Path

from tests.tls.authority import Authority
from tests.tls.server import POPUP, secret, serving, trusting

DELAYED = ["-nRHl0"]


def test_stls_by_poplib(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *POPUP, options=DELAYED, UCSPITLS="") as server:
        for _ in range(6):  # workers are reused
            client = poplib.POP3("localhost" if socket.gethostbyname("localhost") == "127.0.0.1" else "127.0.0.1", server.port)
            assert "STLS" in client.capa()
            client.stls(trusting(ca))
            assert "STLS" not in client.capa()
            client.quit()
        server.wait_line("tls .* accept$", 6)
        server.wait_line("ended by", 6)


def test_what_was_injected_is_thrown_away(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *POPUP, options=DELAYED, UCSPITLS="") as server, server.connect() as plain:
        assert plain.recv(200).startswith(b"+OK")
        plain.sendall(b"STLS\r\nUSER injected\r\nPASS injected\r\n")
        assert plain.recv(200).startswith(b"+OK")
        with trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"NOOP\r\nQUIT\r\n")
            answers = b""
            while block := client.recv(1000):
                answers += block
    assert answers.count(b"\r\n") == 2, answers
    assert b"injected" not in answers


def test_a_failed_handshake_ends_the_session(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *POPUP, options=DELAYED, UCSPITLS="") as server:
        with server.connect() as plain:
            assert plain.recv(200).startswith(b"+OK")
            plain.sendall(b"STLS\r\n")
            assert plain.recv(200).startswith(b"+OK")
            plain.sendall(b"NOT TLS AT ALL\r\n")
            while plain.recv(1000):
                pass
        server.wait_line("fatal: .111. unable to accept TLS from: 127.0.0.1 for pid: ")
        server.wait_line("ended by .* status 28416")
        assert "Traceback" not in server.log()
        assert "internal bug" not in server.log()
        with server.connect() as plain:
            assert plain.recv(200).startswith(b"+OK")


def test_tls_at_once_hides_stls(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *POPUP) as server, secret(server, trusting(ca)) as client:
        assert client.recv(200).startswith(b"+OK")
        client.sendall(b"CAPA\r\nQUIT\r\n")
        answers = b""
        while block := client.recv(1000):
            answers += block
        assert b"STLS" not in answers
