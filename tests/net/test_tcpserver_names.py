"""tcpserver's look-ups: remote and local names, paranoia, host names to bind, rules by name, ident, link-local IPv6 text."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

import pytest

from qserver.net.visitor import endpoint
from tests.net.responder import Responder
from tests.net.server import read_all, serving
from tests.net.test_tcpserver_session import POPUP, rules, variables
from tests.support import ours, run

TABLE = {
    "127.0.0.1": ["PTR Local.Example.ORG"],
    "127.0.0.2": ["PTR liar.example.org"],
    "127.0.0.3": ["PTR true.example.org"],
    "127.0.0.4": ["SERVFAIL"],
    "liar.example.org": ["A 192.0.2.1"],
    "true.example.org": ["A 192.0.2.1", "A 127.0.0.3"],
    "local.example.org": ["A 127.0.0.1"],
    "broken.example.org": ["SERVFAIL"],
    "six.example.org": ["AAAA 2001:db8::1"],
}


def come_from(ip: str, port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(ip, 0)) as client:
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


@pytest.mark.parametrize(
    ("options", "ip", "host"),
    [
        (["-hR"], "127.0.0.2", "liar.example.org"),
        (["-hRp"], "127.0.0.2", None),
        (["-hRp"], "127.0.0.3", "true.example.org"),
        (["-hRpP"], "127.0.0.2", "liar.example.org"),
        (["-hR"], "127.0.0.4", None),
        (["-hR"], "127.0.0.5", None),
        (["-HR"], "127.0.0.2", None),
    ],
)
def test_names(tmp_path: Path, options: list[str], ip: str, host: str | None) -> None:
    with Responder(TABLE) as dns, serving(tmp_path, "/usr/bin/env", options=options, env=dns.env) as server:
        env = variables(come_from(ip, server.port))
        assert (env["TCPLOCALHOST"], env.get("TCPREMOTEHOST")) == ("local.example.org", host)
        server.wait_line(rf"ok \d+ local\.example\.org:127\.0\.0\.1:\d+ {re.escape(host or '')}:{re.escape(ip)}::\d+$")


def test_rules_by_name_and_a_program_of_ours(tmp_path: Path) -> None:
    cdb = rules(tmp_path, "=liar.example.org:deny\n=.example.org:allow\n:deny\n")
    with Responder(TABLE) as dns, serving(tmp_path, *POPUP, options=["-x", cdb], env=dns.env) as server:
        assert come_from("127.0.0.2", server.port) == b""
        assert come_from("127.0.0.3", server.port).startswith(b"+OK")
        assert come_from("127.0.0.5", server.port) == b""
        server.wait_line(r"deny \d+ \S+ liar\.example\.org:127\.0\.0\.2:")


def test_slow_look_ups_do_not_hold_up_others(tmp_path: Path) -> None:
    """Sixteen clients whose names nobody knows within a second are served side by side, not one after another."""
    with Responder({"DEFAULT": ["DROP"]}) as dns, serving(tmp_path, "/bin/cat", options=["-l0"], env=dns.env) as server:
        clients = [server.connect() for _ in range(16)]
        server.wait_line("status: 16/40")
        for client in clients:
            client.close()


def test_bind_to_a_name(tmp_path: Path) -> None:
    with Responder(TABLE) as dns:
        with serving(tmp_path, "/bin/cat", host="local.example.org", env=dns.env) as server:
            assert server.talk(b"x") == b"x"
        for name, message in (
            ("none.example.org", "no IP address for: none.example.org"),
            ("broken.example.org", "temporarily unable to figure out IP address for: broken.example.org"),
        ):
            done = run([ours("tcpserver"), name, "0", "cat"], env={**dns.env, "PATH": "/bin"})
            assert (done.returncode, done.stderr.decode()) == (111, f"tcpserver: fatal: (111) {message}\n")


@pytest.mark.root
def test_ident_of_the_client_host(tmp_path: Path) -> None:
    asked: list[bytes] = []
    address = "127.99.88.77"

    def identd(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            asked.append(client.recv(100))
            client.sendall(b"1 , 2 : USERID : UNIX : j%e\r\n")

    with socket.create_server((address, 113)) as listener:
        thread = threading.Thread(target=identd, args=(listener,), daemon=True)
        thread.start()
        with serving(tmp_path, "/usr/bin/env", options=["-rHl0"]) as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(address, 0)) as client:
                port = client.getsockname()[1]
                env = variables(read_all(client))
            assert env["TCPREMOTEINFO"] == "j%e"
            server.wait_line(rf"ok \d+ 0:127\.0\.0\.1:\d+ :{re.escape(address)}:j\?e:{port}$")
            thread.join(10)
            assert asked == [f"{port} , {server.port}\r\n".encode()]
            before = time.monotonic()  # nobody listens at this address: refused, not timed out
            assert "TCPREMOTEINFO" not in variables(come_from("127.0.0.9", server.port))
            assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 25), ("192.0.2.1", "25", 0)),
        (("::ffff:192.0.2.1", 25, 0, 0), ("192.0.2.1", "25", 0)),
        (("2001:db8:0:0:1::1", 25, 0, 0), ("2001:db8::1:0:0:1", "25", 0)),
        (("fe80::1", 25, 0, 3), ("fe80::1", "25", 3)),
        (("fe80::1%eth0", 25, 0, 3), ("fe80::1", "25", 3)),
    ],
)
def test_addresses_as_text(address: tuple[object, ...], expected: tuple[str, str, int]) -> None:
    assert endpoint(address) == expected
