"""sslserver against stunnel, openssl s_server and socat: full handshakes, SMTP sessions, bulk, memory of idle sessions."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import clients, servers
from bench.home import Home
from bench.measure import Contender, Row
from bench.memory import memory_of
from bench.plan import Figures, Plan, compare
from bench.program import BULK

CLIENTS = 4
POPUP = ["qmail-popup", "host", "true"]
"""A network program of ours: it greets."""
PEERS = (("stunnel", 1.0), ("openssl s_server", 1.5), ("socat, fork", 2.5))
OPTIONS = ["-q", "-RHl", "localhost", "-c", "500", "-b", "512"]
DIALOGUE = (
    b"EHLO client.example\r\n", b"MAIL FROM:<a@example.test>\r\n", b"RCPT TO:<alice@example.test>\r\n", b"DATA\r\n",
    b"Subject: benchmark\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 14 + b".\r\n", b"QUIT\r\n",
)  # fmt: skip


def certificate(top: Path) -> tuple[str, str]:
    """A key of RSA 2048 and a certificate for it."""
    files = str(top / "cert.pem"), str(top / "key.pem")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([servers.peer("openssl"), *words, "-keyout", files[1], "-out", files[0]], check=True, capture_output=True)
    return files


@contextmanager
def sslserver(files: tuple[str, str], program: list[str], **env: str) -> Iterator[tuple[int, int]]:
    """Ours; yields (port, pid)."""
    port = servers.free_port()
    argv = [str(servers.BIN / "sslserver"), *OPTIONS, servers.HOST, str(port), *program]
    with servers.running(argv, port, servers.environment(CERTFILE=files[0], KEYFILE=files[1], **env)) as pid:
        yield port, pid


@contextmanager
def measuring(server: str, program: str, files: tuple[str, str]) -> Iterator[int]:
    """One of ours with a program of `bench.program`; yields its port."""
    port = servers.free_port()
    argv = [sys.executable, "-m", "bench.program", server, program, *OPTIONS, "-D", servers.HOST, str(port)]
    with servers.running(argv, port, servers.environment(CERTFILE=files[0], KEYFILE=files[1])):
        yield port


@contextmanager
def peer(name: str, files: tuple[str, str], top: Path, behind: int) -> Iterator[int]:
    """Another TLS server; stunnel and socat have the same program behind them, in our tcpserver."""
    port = servers.free_port()
    if name == "stunnel":
        (top / "stunnel.conf").write_text(
            f"foreground = yes\npid =\nsyslog = no\n[x]\naccept = {servers.HOST}:{port}\nconnect = {servers.HOST}:{behind}\n"
            f"cert = {files[0]}\nkey = {files[1]}\n"
        )
        argv = [servers.peer("stunnel4"), str(top / "stunnel.conf")]
    elif name.startswith("openssl"):
        keys = ["-cert", files[0], "-key", files[1]]
        argv = [servers.peer("openssl"), "s_server", "-quiet", "-www", "-accept", str(port), *keys]
    else:
        listen = f"OPENSSL-LISTEN:{port},reuseaddr,fork,backlog=512,cert={files[0]},key={files[1]},verify=0"
        argv = [servers.peer("socat"), listen, f"TCP:{servers.HOST}:{behind}"]
    with servers.running(argv, port, servers.environment()):
        yield port


def client_context() -> ssl.SSLContext:
    """Believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def secret(context: ssl.SSLContext, plain: socket.socket) -> Any:
    """TLS on a connection after a full handshake: the binding's own object, without what `ssl` puts around it."""
    client = context._wrap_socket(plain, server_side=False)  # type: ignore[attr-defined]
    client.do_handshake()
    return client


def handshakes(port: int) -> Callable[[int], None]:
    """Connect, shake hands in full, close; `count` times."""

    def one(count: int) -> None:
        context = client_context()
        for _ in range(count):
            with clients.dial(port) as plain:
                secret(context, plain)

    return one


def smtp_sessions(port: int) -> Callable[[int], None]:
    """A message of 1 KB over TLS from the first word; `count` times."""

    def one(count: int) -> None:
        context = client_context()
        for _ in range(count):
            with clients.dial(port) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client = secret(context, plain)
                heard = [client.read(4096)]
                for words in DIALOGUE:
                    client.write(words)
                    heard.append(client.read(4096))
            if [reply[:3] for reply in heard] != [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]:
                raise RuntimeError(f"unexpected replies: {heard!r}")

    return one


def bulk(port: int, *, up: bool) -> float:
    """Megabytes per second of one connection."""
    buffer = bytearray(262_144)
    with clients.dial(port) as plain, client_context().wrap_socket(plain) as client:
        start, left = time.perf_counter(), BULK
        while up and left > 0:
            left -= client.send(memoryview(buffer)[:left])
        if up and int(client.recv(100)) != BULK:
            raise RuntimeError("not everything has arrived")
        while not up and left > 0:
            left -= client.recv_into(buffer) or left + 1
        if left < 0:
            raise RuntimeError("it has ended early")
        return BULK / (time.perf_counter() - start) / 1e6


def figures(plan: Plan) -> Figures:
    """Full TLS 1.3 handshakes a second, 4 clients; SMTP sessions over TLS, 10 clients; 100 MB each way; idle sessions."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = certificate(top)
        yield from _handshakes(plan, files, top)
        yield from _smtp(plan, files, top)
        for program, up in (("source", False), ("sink", True)):
            with (
                measuring("sslserver", program, files) as ours,
                measuring("tcpserver", program, files) as behind,
                peer("stunnel", files, top, behind) as theirs,
            ):
                what = f"100 MB over TLS, {'to' if up else 'from'} an in-process program"
                sides = [partial(bulk, port, up=up) for port in (ours, theirs)]
                yield compare(plan, what, "MB/s", sides[0], "stunnel", sides[1], 0.9)


def _handshakes(plan: Plan, files: tuple[str, str], top: Path) -> Figures:
    with sslserver(files, POPUP) as (port, _), servers.tcpserver(POPUP, ours=True) as (behind, _):
        total = plan.count(1200)
        for name, goal in PEERS:
            with peer(name, files, top, behind) as other:
                sides = [partial(clients.parallel, CLIENTS, total, handshakes(where)) for where in (port, other)]
                what = f"TLS 1.3 handshakes, RSA 2048, {CLIENTS} clients"
                yield compare(plan, what, "1/s", sides[0], name, sides[1], goal)


def _smtp(plan: Plan, files: tuple[str, str], top: Path) -> Figures:
    with ExitStack() as stack:
        home = stack.enter_context(Home())
        env = {"QMAILHOME": home.path, "QMAILQUEUE": "/dev/null", "RELAYCLIENT": ""}
        port, pid = stack.enter_context(sslserver(files, ["qmail-smtpd"], **env))
        behind, _ = stack.enter_context(servers.tcpserver(["qmail-smtpd"], ours=True, options=None, **env))
        theirs = stack.enter_context(peer("stunnel", files, top, behind))
        total = plan.count(1000)
        sides = [partial(clients.parallel, 10, total, smtp_sessions(where)) for where in (port, theirs)]
        yield compare(plan, "SMTP over TLS, null queue, 10 clients", "1/s", sides[0], "stunnel", sides[1], 1.1)
        yield Row("memory per idle SMTP session in TLS (100)", "KiB PSS", _memory(port, pid), None, 2253, goal_is_at_most=True)


def _memory(port: int, pid: int) -> Contender:
    context = client_context()
    sessions, before = 100, memory_of(pid)
    with ExitStack() as stack:
        for _ in range(sessions):
            plain = stack.enter_context(clients.dial(port))
            client = stack.enter_context(context.wrap_socket(plain))
            client.recv(512)
            client.sendall(b"EHLO x\r\n")
            client.recv(512)
        figure = (memory_of(pid) - before) / sessions
    return Contender("qserver", lambda: 0.0, [figure])
