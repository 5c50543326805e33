"""The PROXY protocol, by hand and by HAProxy."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.net import proxy
from qserver.net.proxy import SIGNATURE, BadHeader
from tests.net.server import Server, read_all, serving
from tests.support import environment, ours, peer, run, spawn, wait_for

V1 = b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\n"
SHOW = ("/bin/sh", "-c", "echo $PROTO $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT $SECRET$PROXY; cat")


def v2(command: int = 0x21, family: int = 0x11, rest: bytes | None = None) -> bytes:
    if rest is None:
        rest = socket.inet_aton("192.0.2.9") + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 4711, 25)
    return SIGNATURE + bytes((command, family)) + struct.pack(">H", len(rest)) + rest


SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::9") + socket.inet_pton(socket.AF_INET6, "::1") + struct.pack(">HH", 1, 65535)
MAPPED = (b"\0" * 10 + b"\xff\xff" + bytes((192, 0, 2, 9))) * 2 + struct.pack(">HH", 1, 2)


@pytest.mark.parametrize(
    ("line", "there", "here"),
    [
        (V1, ("192.0.2.9", "4711"), ("198.51.100.1", "25")),
        (b"PROXY TCP6 2001:DB8:0:0::9 ::1 0 65535\r\n", ("2001:db8::9", "0"), ("::1", "65535")),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::ffff:192.0.2.8 1 2\r\n", ("192.0.2.9", "1"), ("192.0.2.8", "2")),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n", None, None),
    ],
)
def test_lines(line: bytes, there: tuple[str, str] | None, here: tuple[str, str] | None) -> None:
    ends = proxy.parse_line(line)
    assert (ends.there, ends.here, ends.is_check) == (there, here, False)


BAD_LINES = [
    b"PROXY\r\n", b"PROXY \r\n", b"PROXY TCP4\r\n", b"PROXY TCP4 192.0.2.9 198.51.100.1 4711\r\n", V1[:-2] + b" x\r\n",
    V1[:-2] + b"\n", V1.replace(b"TCP4", b"TCP5"), V1.replace(b"TCP4", b"TCP6"), V1.replace(b"4711", b"65536"),
    V1.replace(b"4711", b"-1"), V1.replace(b"4711", b"04711"), V1.replace(b" 192", b"  192"),
    V1.replace(b"192.0.2.9", b"192.0.2"), V1.replace(b"192.0.2.9", b"\xff"), b"PROXY UNKNOWN" + b"x" * 100 + b"\r\n",
    b"proxy tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines(line: bytes) -> None:
    with pytest.raises(BadHeader):
        proxy.parse_line(line)


def received(data: bytes, patience: float = 2, end: bool = False) -> tuple[proxy.Ends, bytes]:
    """What the header says, and what is left for the program."""
    here, there = socket.socketpair()
    with here, there:
        here.sendall(data)
        if end:
            here.shutdown(socket.SHUT_WR)
        ends = proxy.receive(there.fileno(), patience)
        there.setblocking(False)
        try:
            return ends, there.recv(65536)
        except BlockingIOError:
            return ends, b""


@pytest.mark.parametrize(
    ("header", "there"),
    [
        (V1, ("192.0.2.9", "4711")), (v2(), ("192.0.2.9", "4711")), (v2(family=0x21, rest=SIX), ("2001:db8::9", "1")),
        (v2(family=0x21, rest=MAPPED), ("192.0.2.9", "1")), (v2(rest=v2()[16:] + b"\x04\0\x01x"), ("192.0.2.9", "4711")),
        (v2(family=0x31, rest=b"x" * 216), None), (v2(family=0, rest=b""), None), (v2(command=0x20, family=0, rest=b""), None),
        (v2(command=0x20), None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("behind", [b"", b"EHLO x\r\n", b"PROX", b"\r\n\r\n"])
def test_nothing_behind_the_header_is_touched(header: bytes, there: tuple[str, str] | None, behind: bytes) -> None:
    ends, left = received(header + behind)
    assert (ends.there, left) == (there, behind)
    assert ends.is_check == (header[12:13] == b"\x20")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"EHLO x\r\n", V1[:-1], V1 + V1, v2() + V1, v2() + v2(), v2()[:-1], SIGNATURE, v2(command=0x22),
     v2(command=0x11), v2(rest=b"short"), v2(family=0x21), SIGNATURE[:-1] + b"x" * 40, b"PROXY " + b"x" * 500, *BAD_LINES],
)  # fmt: skip
@pytest.mark.parametrize("end", [True, False])
def test_bad_headers(data: bytes, end: bool) -> None:
    with pytest.raises(BadHeader):
        received(data, 0.05, end)


@given(st.binary(max_size=40), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"]))
def test_any_bytes_are_a_header_or_none(noise: bytes, start: bytes) -> None:
    try:
        _, rest = received(start + noise, 0.001, True)
    except BadHeader:
        return
    header = (start + noise).removesuffix(rest)
    assert header.startswith((b"PROXY ", SIGNATURE))
    assert len(header) + len(rest) == len(start + noise)


def test_a_header_in_pieces() -> None:
    for header in (V1, v2()):
        here, there = socket.socketpair()
        with here, there, subprocess.Popen(["/usr/bin/python3", "-c", PIECEMEAL, header.hex()], stdout=here.fileno()):
            ends = proxy.receive(there.fileno())
            assert ends.there == ("192.0.2.9", "4711")
            assert there.recv(1) == b"!"


PIECEMEAL = """
import os, sys, time
for byte in bytes.fromhex(sys.argv[1]) + b"!":
    os.write(1, bytes((byte,)))
    time.sleep(0.002)
"""


# In the server


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    text = b'127.0.0.1:allow,PROXY="1",SECRET="of-the-proxy"\n192.0.2.9:allow,SECRET="of-the-client"\n198.51.100.:deny\n'
    done = run([ours("tcprules"), str(tmp_path / "rules.cdb"), str(tmp_path / "tmp")], input=text)
    assert done.returncode == 0
    return tmp_path / "rules.cdb"


@pytest.mark.parametrize("header", [V1, v2()])
def test_a_proxy_by_rule(tmp_path: Path, rules: Path, header: bytes) -> None:
    with serving(tmp_path, *SHOW, options=["-RHl", "here", "-x", str(rules)]) as server:
        assert server.talk(header + b"hello\n") == b"TCP 192.0.2.9 4711 198.51.100.1 25 of-the-client\nhello\n"
        server.wait_line("end .* status 0")
        (ok,) = server.wait_line(r"pid (\d+) from 192\.0\.2\.9$")
        assert f"tcpserver: ok {ok[1]} here:198.51.100.1:25 :192.0.2.9::4711" in server.lines()
        denied = header.replace(b"192.0.2.9", b"198.51.100.7").replace(socket.inet_aton("192.0.2.9"), bytes((198, 51, 100, 7)))
        assert server.talk(denied) == b""
        server.wait_line("deny .* :198.51.100.7::4711")


def test_who_is_no_proxy_says_what_he_likes(tmp_path: Path, rules: Path) -> None:
    with serving(tmp_path, "/bin/cat", host="0.0.0.0", options=["-RHl0", "-x", str(rules)]) as server:
        client = socket.create_connection(("127.0.0.2", server.port), timeout=20, source_address=("127.0.0.2", 0))
        with client:
            client.sendall(V1)
            client.shutdown(socket.SHUT_WR)
            assert client.makefile("rb").read() == V1
        server.wait_line("from 127.0.0.2")


@pytest.mark.parametrize("program", [("/bin/cat",), ("qmail-popup", "host", "true")])
def test_bad_ones_are_dropped(tmp_path: Path, rules: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program, options=["-RHl0", "-B", "banner", "-x", str(rules)]) as server:
        for data in (b"EHLO x\r\n", V1 + V1, b""):
            assert server.talk(data) == b""
        server.wait_line("drop: .110. bad PROXY header from: 127.0.0.1$", 3)
        server.wait_line("end .* status 28160", 3)
        assert server.talk(V1).startswith(b"banner")


def test_every_peer(tmp_path: Path) -> None:
    with serving(tmp_path, *SHOW, options=["--proxy", "-RHl0"]) as server:
        assert server.talk(v2(family=0x21, rest=SIX)) == b"TCP6 2001:db8::9 1 ::1 65535\n"
        assert server.talk(b"PROXY UNKNOWN\r\n").startswith(b"TCP 127.0.0.1 ")


def test_a_silent_proxy_is_waited_for_no_longer_than_it_may(tmp_path: Path) -> None:
    with serving(tmp_path, "/bin/cat", options=["--proxy", "-RHl0"]) as server, server.connect() as client:
        client.sendall(b"PROXY ")
        assert client.recv(1) == b""
        server.wait_line("bad PROXY header")


@pytest.mark.parametrize("program", [("/bin/echo", "alive"), ("qmail-popup", "host", "true")])
def test_a_health_check_makes_no_noise(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program, options=["--proxy", "-RHl0"]) as server:
        assert server.talk(v2(command=0x20, family=0, rest=b"")).strip()
        before = server.lines()
        assert before == ["tcpserver: status: 0/40"]
        server.talk(V1)
        server.wait_line("end ")
        wait_for(lambda: server.lines()[-1] == "tcpserver: status: 0/40")
        assert len(server.lines()) == 6


def test_the_limit_of_an_address_is_the_client_s(tmp_path: Path) -> None:
    with serving(tmp_path, "/bin/cat", options=["--proxy", "-RHl0"], env={"MAXCONIP": "1"}) as server:
        with server.connect() as first, server.connect() as second, server.connect() as third:
            first.sendall(V1 + b"x")
            assert first.recv(1) == b"x"
            second.sendall(V1.replace(b"2.9", b"2.8") + b"x")
            assert second.recv(1) == b"x"
            third.sendall(V1 + b"x")
            assert read_all(third) == b""
        server.wait_line("ip connection limit of 1 exceeded for: 192.0.2.9")


# HAProxy

CONFIGURATION = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen front
    bind 127.0.0.1:{front}
    server back 127.0.0.1:{back} {how} {check}
"""


@pytest.mark.parametrize(("how", "check"), [("send-proxy", ""), ("send-proxy-v2", "check-send-proxy check inter 200")])
def test_behind_haproxy(tmp_path: Path, how: str, check: str) -> None:
    haproxy = peer("haproxy") if Path("/usr/bin/haproxy").exists() else "/usr/sbin/haproxy"
    if not Path(haproxy).exists():
        pytest.skip("haproxy is not installed")
    with serving(tmp_path, *SHOW, options=["--proxy", "-RHl0"]) as server:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            front = unused.getsockname()[1]
        file = tmp_path / "haproxy.cfg"
        file.write_text(CONFIGURATION.format(front=front, back=server.port, how=how, check=check))
        with spawn([haproxy, "-db", "-f", str(file)], env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
            client = wait_for(lambda: reached(front))
            assert client is not None
            with client:
                mine = client.getsockname()[1]
                client.sendall(b"hello\n")
                client.shutdown(socket.SHUT_WR)
                assert client.makefile("rb").read() == f"TCP 127.0.0.1 {mine} 127.0.0.1 {front}\nhello\n".encode()
            if check:
                time.sleep(1)  # for some health checks
        assert spoken_of(server) == {mine}


def reached(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=20)
    except ConnectionRefusedError:
        return None


def spoken_of(server: Server) -> set[int]:
    """The ports of the clients in the log."""
    return {int(match[1]) for match in server.wait_line(r"ok \d+ .*:(\d+)$")}
