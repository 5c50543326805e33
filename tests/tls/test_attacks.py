"""sslserver and clients that are slow, rude or hostile; what of the server its programs can reach."""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.net.server import Server, read_all
from tests.support import peer, spawn, wait_for
from tests.tls.authority import Authority
from tests.tls.server import ECHO, POPUP, secret, serving, trusting

LOCAL = ["-RHl0"]
RESET = struct.pack("@ii", 1, 0)
BUGS = ("Traceback", "internal bug")
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def hello(ca: Authority) -> bytes:
    """A client's first words."""
    outgoing = ssl.MemoryBIO()
    client = trusting(ca).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def greeted(client: ssl.SSLSocket) -> ssl.SSLSocket:
    assert client.recv(100)[:3] in (b"hel", b"+OK")
    return client


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def is_quiet(server: Server) -> None:
    """Nobody is served, and nothing of ours was at fault."""
    wait_for(lambda: re.search("status: 0/[0-9]+/[0-9]+$", server.lines()[-1]), 20)
    assert not any(word in server.log() for word in BUGS), server.log()


# Slow ones


@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01", b"hello"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_the_silent_make_place(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], words: bytes
) -> None:
    """They have all places, say nothing, a part or all of their hello; another one is served when their time is over."""
    said = hello(ca) if words == b"hello" else words
    with serving(tmp_path, keys, *program, options=["-c2", "-T1", *LOCAL]) as server, ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(2)]
        for client in silent:
            client.sendall(said)
        server.wait_line(" ok ", 2)
        with secret(server, trusting(ca)) as client:
            greeted(client)
        server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ timed out$", 2)
        server.wait_line(r"ended by \d+ status 28416$", 2)
        is_quiet(server)


def test_a_hello_in_drops_does_not_take_longer(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO, options=["-T2", *LOCAL]) as server, server.connect() as slow:
        sent = 0
        for octet in hello(ca):
            if select.select([slow], [], [], 0.25)[0]:
                break
            slow.sendall(bytes((octet,)))
            sent += 1
        assert read_all(slow) == b""
        assert 1 < sent < 30
        server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ timed out$")


TOLD = """#!/bin/sh
echo hello
cat >/dev/null
echo no more
exec sleep 1000
"""


def test_idle_clients_are_given_up(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """First the program hears no more; when it has nothing to say for as long again, the client does not either."""
    program = executable(tmp_path / "told", TOLD)
    with serving(tmp_path, keys, program, options=["-w1", *LOCAL]) as server, secret(server, trusting(ca)) as client:
        assert client.recv(100) == b"hello\n"
        assert client.recv(100) == b"no more\n"
        assert read_all(client) == b""


def test_the_program_of_an_idle_client_is_ended(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    program = executable(tmp_path / "told", TOLD)
    with serving(tmp_path, keys, program, options=["-w1", *LOCAL]) as server, secret(server, trusting(ca)) as client:
        assert read_all(client) == b"hello\nno more\n"
        pid = server.wait_line(r"pid (\d+) ")[0][1]
        wait_for(lambda: re.search(rf"ended by {pid} status (0|15)\n", server.log()), 3)


def test_who_talks_is_not_idle(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO, options=["-w3", *LOCAL]) as server, secret(server, trusting(ca)) as client:
        greeted(client)
        for turn in range(7):
            assert select.select([client], [], [], 0.5)[0] == []
            client.sendall(b"%d" % turn)
            assert client.recv(100) == b"%d" % turn


def test_an_idle_client_of_ours(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *POPUP, options=["-w1", *LOCAL]) as server, secret(server, trusting(ca)) as client:
        greeted(client)
        read_all(client)
        server.wait_line(r"ended by \d+ status")
        is_quiet(server)


def test_many_over_the_limit_wait(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """The kernel keeps three hundred; five are served at once, none is reset, all are served in the end."""
    context = trusting(ca)
    with serving(tmp_path, keys, *POPUP, options=["-c5", "-b300", *LOCAL]) as server, ExitStack() as stack:
        waiting = [stack.enter_context(server.connect()) for _ in range(300)]
        server.wait_line(" ok ", 5)
        for plain in waiting:
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                assert client.recv(100).startswith(b"+OK")
                client.sendall(b"QUIT\r\n")
                assert client.recv(100).startswith(b"+OK")
        server.wait_line(r"ended by \d+ status \d+$", 300)
        is_quiet(server)
        assert max(int(number) for number in re.findall(r"status: (\d+)/5/5", server.log())) == 5
        assert "unable to" not in server.log()


# Rude ones


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_who_leaves_early(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], how: str) -> None:
    """Before the first word, within it, after it, after the handshake, in the middle of a word. Others notice nothing."""

    def leave(client: socket.socket) -> None:
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()

    whole = hello(ca)
    with serving(tmp_path, keys, *program) as server, secret(server, trusting(ca)) as bystander:
        greeted(bystander)
        for words in (b"", whole[:3], whole[:100], whole):
            client = server.connect()
            client.sendall(words)
            leave(client)
        for heard in (False, True):
            client = server.connect()
            tls = trusting(ca).wrap_socket(client, server_hostname="localhost")
            if heard:
                greeted(tls)
            leave(tls)
        tls = greeted(trusting(ca).wrap_socket(server.connect(), server_hostname="localhost"))
        with socket.socket(fileno=tls.detach()) as client:
            client.sendall(b"\x17\x03\x03\x00\xff half a record")
            leave(client)
        server.wait_line(r"ended by \d+ status \d+$", 7)
        bystander.sendall(b"QUIT\r\n")
        assert bystander.recv(100) in (b"QUIT\r\n", b"+OK \r\n")
        bystander.close()
        is_quiet(server)
        with secret(server, trusting(ca)) as other:
            greeted(other)


@pytest.mark.parametrize("words", [b"\x17\x03\x03\x00\x20" + b"x" * 32, b"\x15\x03\x03\x00\x02\x02\x14", b"EHLO plain\r\n" * 9])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_noise_after_the_handshake(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], words: bytes
) -> None:
    with serving(tmp_path, keys, *program) as server:
        with server.connect() as plain:
            tls = greeted(trusting(ca).wrap_socket(plain, server_hostname="localhost"))
            with socket.socket(fileno=tls.detach()) as raw:
                raw.settimeout(20)
                raw.sendall(words)
                read_all(raw)
        line = r"^sslserver: error: \(111\) unable to speak TLS with: 127\.0\.0\.1 for pid: (\d+) [a-z0-9 ]+$"
        pid = server.wait_line(line)[0][1]
        server.wait_line(rf"ended by {pid} status 28416$")
        is_quiet(server)


@pytest.mark.parametrize("asks", [False, True])
def test_renegotiation(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], asks: bool) -> None:
    certificate, key = ca.issue("client")
    env = {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile)} if asks else {}
    options = ["-m" if asks else "-Z", *LOCAL]
    context = trusting(ca)
    context.load_cert_chain(str(certificate), str(key))
    with serving(tmp_path, keys, *ECHO, options=options, proxy=False, **env) as server, secret(server, context) as bystander:
        greeted(bystander)
        words = [peer("openssl"), "s_client", "-tls1_2", "-CAfile", str(ca.cafile), "-cert", str(certificate), "-key", str(key),
                 "-connect", f"127.0.0.1:{server.port}"]  # fmt: skip
        with spawn(words, stdin=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            said = b""
            while b"\nhello\n" not in said:
                said += process.stdout.readline()
            process.stdin.write(b"R\n")
            process.stdin.flush()
            said = process.stdout.read()  # it gives up
        assert b"RENEGOTIATING\n" in said
        assert b"no renegotiation" in said
        server.wait_line("ended by")
        bystander.sendall(b"word")
        assert bystander.recv(100) == b"word"
        assert server.log().count(" accept\n") == 2, "there were two handshakes"
        bystander.close()
        is_quiet(server)
