"""sslserver against stunnel, openssl s_server and socat: full handshakes, and memory of idle sessions."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import clients, servers
from bench.measure import Contender, Row, interleave
from bench.memory import memory_of
from bench.plan import Figures, Plan

CLIENTS = 4
PROGRAM = ["qmail-popup", "host", "true"]
"""A network program of ours: it greets."""
PEERS = (("stunnel", 1.0), ("openssl s_server", 1.5), ("socat, fork", 2.5))


def certificate(top: Path) -> tuple[str, str]:
    """A key of RSA 2048 and a certificate for it."""
    files = str(top / "cert.pem"), str(top / "key.pem")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([servers.peer("openssl"), *words, "-keyout", files[1], "-out", files[0]], check=True, capture_output=True)
    return files


@contextmanager
def sslserver(files: tuple[str, str]) -> Iterator[tuple[int, int]]:
    """Ours; yields (port, pid)."""
    port = servers.free_port()
    options = ["-q", "-RHl", "localhost", "-c", "500", "-b", "512"]
    argv = [str(servers.BIN / "sslserver"), *options, servers.HOST, str(port), *PROGRAM]
    with servers.running(argv, port, servers.environment(CERTFILE=files[0], KEYFILE=files[1])) as pid:
        yield port, pid


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


def handshakes(port: int) -> Callable[[int], None]:
    """Connect, shake hands in full, close; `count` times."""

    def one(count: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for _ in range(count):
            with socket.create_connection((servers.HOST, port), timeout=60) as plain, context.wrap_socket(plain):
                pass

    return one


def figures(plan: Plan) -> Figures:
    """Full TLS 1.3 handshakes a second, 4 clients; PSS of 100 idle sessions."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = certificate(top)
        port, pid = stack.enter_context(sslserver(files))
        behind, _ = stack.enter_context(servers.tcpserver(PROGRAM, ours=True))
        total = plan.count(1200)
        for name, goal in PEERS:
            with peer(name, files, top, behind) as other:
                sides = [
                    Contender(who, partial(clients.parallel, CLIENTS, total, handshakes(where)))
                    for who, where in (("qserver", port), (name, other))
                ]
                interleave(sides, plan.rounds)
                yield Row(f"TLS 1.3 handshakes, RSA 2048, {CLIENTS} clients", "1/s", sides[0], sides[1], goal)
        yield Row("memory per idle TLS session (100)", "KiB PSS", _memory(port, pid), None, None)


def _memory(port: int, pid: int) -> Contender:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sessions, before = 100, memory_of(pid)
    with ExitStack() as stack:
        for _ in range(sessions):
            plain = stack.enter_context(socket.create_connection((servers.HOST, port), timeout=60))
            stack.enter_context(context.wrap_socket(plain)).recv(100)
        figure = (memory_of(pid) - before) / sessions
    return Contender("qserver", lambda: 0.0, [figure])

