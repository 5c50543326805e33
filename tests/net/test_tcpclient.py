"""tcpclient and the small clients, beside Debian's."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.net.responder import Responder
from tests.support import environment, ours, peer, run, spawn

BOTH = ("ours", "theirs")


def program(who: str, name: str) -> str:
    return ours(name) if who == "ours" else peer(name)


@contextmanager
def server(talk: Callable[[socket.socket], None], address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serves one connection after another with `talk`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.create_server((address, port), family=family)

    def run_it() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                talk(client)

    thread = threading.Thread(target=run_it, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(20)


def says(text: bytes) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        client.sendall(text)

    return talk


def echo(client: socket.socket) -> None:
    while block := client.recv(65536):
        client.sendall(block)


@pytest.mark.parametrize("who", BOTH)
def test_descriptors_six_and_seven(who: str) -> None:
    with server(echo) as port:
        words = ["-RHl0", "127.0.0.1", str(port), "/bin/sh", "-c", "echo hello >&7; read x <&6; echo got $x; exit 3"]
        done = run([program(who, "tcpclient"), *words])
    assert (done.returncode, done.stdout, done.stderr) == (3, b"got hello\n", b"")


def variables(who: str, host: str, port: int, *options: str, **given: str) -> dict[str, str]:
    words = [program(who, "tcpclient"), *options, "--", host, str(port), "/usr/bin/env"]
    done = run(words, env={**environment(), **given})
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.decode().splitlines())


def test_the_environment_is_that_of_c() -> None:
    inherited = {"TCPREMOTEHOST": "old", "TCPREMOTEINFO": "old", "TCPLOCALHOST": "old", "SSL_PROTOCOL": "kept"}
    with server(echo) as port:
        here, there = (variables(who, "0", port, "-RHl", "me", **inherited) for who in BOTH)
        for found in (here, there):
            assert found.pop("TCPLOCALPORT").isdigit()
        assert here == there
        assert (here["PROTO"], here["TCPREMOTEIP"], here["TCPREMOTEPORT"]) == ("TCP", "127.0.0.1", str(port))
        assert (here["TCPLOCALHOST"], here["SSL_PROTOCOL"]) == ("me", "kept")
        assert "TCPREMOTEHOST" not in here


def test_ipv6() -> None:
    with server(echo, "::1") as port:
        found = variables("ours", "::1", port, "-RHl0", TCP6REMOTEHOST="old")
    assert (found["PROTO"], found["TCP6REMOTEIP"], found["TCPREMOTEIP"]) == ("TCP6", "::1", "::1")
    assert "TCP6REMOTEHOST" not in found


def test_names_from_the_dns() -> None:
    table = {
        "both.example.org": ["A 127.0.0.1", "AAAA ::1"],
        "127.0.0.1": ["PTR Local.Example.ORG"],
        "gone.example.org": ["SERVFAIL"],
    }
    with Responder(table) as dns, server(echo) as port:
        found = variables("ours", "both.example.org", port, "-R4", **dns.env)
        assert (found["TCPREMOTEHOST"], found["TCPLOCALHOST"]) == ("local.example.org", "local.example.org")
        found = variables("ours", "both.example.org", port, "-R6H", "-T1", **dns.env)
        assert found["TCPREMOTEIP"] == "127.0.0.1", "the other address is tried when the preferred one refuses"
        env = {**environment(), **dns.env}
        done = run([ours("tcpclient"), "none.example.org", "1", "true"], env=env)
        assert (done.returncode, done.stderr) == (111, b"tcpclient: fatal: (111) no IP address for: none.example.org\n")
        done = run([ours("tcpclient"), "gone.example.org", "1", "true"], env=env)
        words = b"tcpclient: fatal: (111) temporarily unable to figure out IP address for: gone.example.org\n"
        assert (done.returncode, done.stderr) == (111, words)


def test_ident_is_asked_of_the_server() -> None:
    """Nobody answers at port 113 here: the variable is unset, and the program runs."""
    with server(echo) as port:
        assert "TCPREMOTEINFO" not in variables("ours", "127.0.0.1", port, "-Hl0", "-t1", TCPREMOTEINFO="old")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_nobody_answers() -> None:
    port = free_port()
    done = run([ours("tcpclient"), "-RHl0", "127.0.0.1", str(port), "true"])
    words = f"tcpclient: drop: (110) unable to connect to: 127.0.0.1 port: {port}: connection refused\n"
    assert (done.returncode, done.stderr.decode()) == (111, words)
    done = run([ours("tcpclient"), "-qRHl0", "127.0.0.1", str(port), "true"])
    assert (done.returncode, done.stderr) == (111, b"")


def test_a_silent_address_is_given_up() -> None:
    """A backlog that is full drops what comes: 198.51.100.0/24 is not routed here or answers with an error at once."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        done = run([ours("tcpclient"), "-RHl0", "-T1", "127.0.0.1", str(port), "true"])
        for filler in fillers:
            filler.close()
    assert (done.returncode, done.stderr.decode()) == (
        111, f"tcpclient: drop: (110) unable to connect to: 127.0.0.1 port: {port}: timed out\n",
    )  # fmt: skip


def test_our_own_side() -> None:
    with server(echo) as port:
        mine = free_port()
        found = variables("ours", "127.0.0.1", port, "-RHl0", "-i", "127.0.0.9", "-p", str(mine))
        assert (found["TCPLOCALIP"], found["TCPLOCALPORT"]) == ("127.0.0.9", str(mine))
        done = run([ours("tcpclient"), "-RHl0", "-i192.0.2.1", "127.0.0.1", str(port), "true"])
        words = b"tcpclient: fatal: (111) unable to bind socket: address not available\n"
        assert (done.returncode, done.stderr) == (111, words)


def test_verbose() -> None:
    with server(echo) as port:
        done = run([ours("tcpclient"), "-vRHl0", "127.0.0.1", str(port), "true"])
    assert done.stderr.decode() == f"tcpclient: connected to 127.0.0.1 port {port}\n"


def test_wrong_calls() -> None:
    usage = b"tcpclient: usage: tcpclient [ -46hHrRdDqQv ] [ -i iplocal ] "
    for words in ([], ["h"], ["h", "1"], ["", "1", "true"], ["-i", "nonsense", "h", "1", "true"]):
        done = run([ours("tcpclient"), *words])
        assert done.returncode == 100
        assert done.stderr.startswith(usage)
    done = run([ours("tcpclient"), "127.0.0.1", "no-such-port", "true"])
    assert done.returncode == 111
    assert done.stderr == b"tcpclient: fatal: (111) unable to figure out port number for: no-such-port\n"
    with server(echo) as port:
        done = run([ours("tcpclient"), "-RHl0", "127.0.0.1", str(port), "no-such-program"])
    assert (done.returncode, done.stderr) == (
        111, b"tcpclient: fatal: (111) unable to run: no-such-program: file does not exist\n",
    )  # fmt: skip


# The small clients


@pytest.mark.parametrize("who", BOTH)
def test_tcpcat(who: str) -> None:
    data = bytes(range(256)) * 100
    with server(says(data)) as port:
        done = run([program(who, "tcpcat"), "127.0.0.1", str(port)])
    assert (done.returncode, done.stdout) == (0, data)
    assert run([program(who, "tcpcat"), "127.0.0.1", str(free_port())]).returncode == 111


@pytest.mark.parametrize("who", BOTH)
def test_http_at(who: str) -> None:
    asked: list[bytes] = []

    def page(client: socket.socket) -> None:
        asked.append(client.recv(65536))
        while not asked[-1].endswith(b"\r\n\r\n"):
            asked[-1] += client.recv(65536)
        client.sendall(b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n<p>\r\n\r\n\r\nmore\r\nend")

    with server(page) as port:
        done = run([program(who, "http@"), "127.0.0.1", "a/b?c", str(port)])
    assert (done.returncode, done.stdout) == (0, b"<p>\nmore\nend\n")
    assert asked == [b"GET /a/b?c HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n" % port]


@pytest.mark.parametrize("who", BOTH)
def test_mconnect(who: str) -> None:
    with server(echo) as port, spawn([program(who, "mconnect"), "127.0.0.1", str(port)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), b"EHLO me\n")
        assert process.stdout.readline() == b"EHLO me\r\n"
        process.stdin.close()
        process.stdin = None
        assert process.poll() is None, "the end of the input does not end it"


def test_mconnect_ends_with_the_server() -> None:
    greeting = says(b"220 hello\r\n")
    with server(greeting) as port, spawn([ours("mconnect"), "127.0.0.1", str(port)], stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"220 hello\r\n"
        assert process.wait(20) == 0


@pytest.mark.root
@pytest.mark.parametrize("who", BOTH)
@pytest.mark.parametrize(("name", "port"), [("who@", 11), ("date@", 13), ("finger@", 79)])
def test_clients_of_low_ports(who: str, name: str, port: int) -> None:
    address = f"127.{random.randrange(1, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
    asked: list[bytes] = []

    def talk(client: socket.socket) -> None:
        if name == "finger@":
            asked.append(client.makefile("rb").readline())
        client.sendall(b"one\r\ntwo\x07\xff\r\r\n")

    with server(talk, address, port):
        done = run([program(who, name), address, *(["some one"] if name == "finger@" else [])])
    assert (done.returncode, done.stdout) == (0, b"one\ntwo^GM-^?^M\n")
    assert asked == ([b"some one\r\n"] if name == "finger@" else [])
