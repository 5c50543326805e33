"""What reaches sslserver's programs and what does not: words said before TLS, words of proxies, descriptors."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.net.server import read_all
from tests.net.server import serving as serving_tcp
from tests.support import ours, run, wait_for
from tests.tls.authority import Authority
from tests.tls.server import POPUP, secret, serving, trusting

LOCAL = ["-RHl0"]
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\n"
V2 = SIGNATURE + struct.pack(">BBH4s4sHH", 0x21, 0x11, 12, bytes((192, 0, 2, 9)), bytes((198, 51, 100, 1)), 4711, 25)
CHECK = SIGNATURE + struct.pack(">BBH", 0x20, 0, 0)
WHO = ("/bin/sh", "-c", "echo $SSLREMOTEIP $TCPREMOTEPORT $SSLLOCALIP; cat")
PROXIED = b"192.0.2.9 4711 198.51.100.1\n"


def rules(tmp_path: Path, text: str) -> str:
    cdb = tmp_path / "rules.cdb"
    assert run([ours("tcprules"), str(cdb), f"{cdb}.tmp"], input=text.encode()).returncode == 0
    return str(cdb)


def in_tls(client: socket.socket, ca: Authority) -> ssl.SSLSocket:
    return trusting(ca).wrap_socket(client, server_hostname="localhost")


# STARTTLS in a program that we do not know

ASKING = """#!/usr/bin/python3
import os, signal, sys
top = sys.argv[1]
def note(name, data):
    with open(f"{top}/{name}", "ab") as file:
        file.write(data)
def ended(*_):
    note("ended", b"TERM")
    os._exit(0)
control, reader, writer = (int(os.environ[name]) for name in ("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"))
signal.signal(signal.SIGTERM, ended)
line = b""
while not line.endswith(b"\\n"):
    line += os.read(0, int(sys.argv[2]))
note("plain", line)
os.write(1, b"220 go\\n")
if sys.argv[3:]:
    while not os.path.exists(sys.argv[3]):
        pass
os.write(control, b"y")
while block := os.read(reader, 1000):
    note("secret", block)
    os.write(writer, b"heard " + block)
if not os.path.exists(f"{top}/secret"):
    note("control", repr(os.read(control, 100)).encode())
    signal.pause()
"""


@pytest.mark.parametrize("size", ["1000", "1"])
@pytest.mark.parametrize("later", [False, True])
def test_words_behind_starttls_are_not_the_program_s(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], size: str, later: bool
) -> None:
    """What the program had read already it throws away. What it had not is the beginning of TLS, and a bad one."""
    program, go = tmp_path / "asking", tmp_path / "go"
    program.write_text(ASKING)
    program.chmod(0o755)
    words = [str(program), str(tmp_path), size, str(go)]
    with serving(tmp_path, keys, *words, options=["-n", *LOCAL]) as server, server.connect() as plain:
        plain.sendall(b"STARTTLS\n" if later else b"STARTTLS\nINJECTED\n")
        assert plain.recv(100) == b"220 go\n"
        if later:
            plain.sendall(b"INJECTED\n")
        go.touch()
        if later or size == "1":
            assert b"heard" not in read_all(plain)
            line = r"^sslserver: fatal: \(111\) unable to accept TLS from: 127\.0\.0\.1 for pid: (\d+) [a-z ]+$"
            pid = server.wait_line(line)[0][1]
            server.wait_line(rf"ended by {pid} status 28416$")
            assert (tmp_path / "ended").read_bytes() == b"TERM"
            assert (tmp_path / "control").read_bytes() in (b"", b"b''") if (tmp_path / "control").exists() else True
            assert not (tmp_path / "secret").exists()
        else:
            with in_tls(plain, ca) as client:
                client.sendall(b"words")
                assert client.recv(100) == b"heard words"
            assert (tmp_path / "secret").read_bytes() == b"words"
    assert b"INJECTED" not in (tmp_path / "plain").read_bytes() or (size, later) == ("1000", False)


@pytest.mark.parametrize("last", [b"USER injected\r\nPASS injected\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_words_behind_stls_in_the_socket(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], last: bytes) -> None:
    """A program of ours is not told either; whatever it is, it is no handshake."""
    with serving(tmp_path, keys, *POPUP, options=["-n", *LOCAL], UCSPITLS="") as server, server.connect() as plain:
        assert plain.recv(200).startswith(b"+OK")
        plain.sendall(b"STLS\r\n")
        assert plain.recv(200).startswith(b"+OK")
        plain.sendall(last)
        heard = read_all(plain)
        assert b"+OK" not in heard
        assert heard.count(b"-ERR") <= 1, "that TLS has failed, and nothing else"
        server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ ")
        server.wait_line(r"ended by \d+ status 28416$")


@pytest.mark.parametrize("what", ["close", "ask", "leave"])
def test_a_program_that_does_not_want_tls(tmp_path: Path, keys: tuple[Path, Path], what: str) -> None:
    """It closes the control socket, says something else there, or ignores it, and goes on in the clear."""
    script = {
        "close": "for name in ('SSLCTLFD', 'SSLREADFD', 'SSLWRITEFD'): os.close(int(os.environ[name]))",
        "ask": "os.write(int(os.environ['SSLCTLFD']), b'n')",
        "leave": "",
    }[what]
    program = f"import os\n{script}\nos.write(1, b'ready')\nos.write(1, b'heard ' + os.read(0, 100))"
    with serving(tmp_path, keys, "python3", "-ISc", program, options=["-n", *LOCAL]) as server:
        with server.connect() as plain:
            assert plain.recv(5) == b"ready"
            assert select.select([plain], [], [], 0.5)[0] == []
            plain.sendall(b"plain")
            assert plain.recv(100) == b"heard plain"
        server.wait_line(r"ended by \d+ status 0$")
        assert " tls " not in server.log()


LATE_READER = """
import os, sys
os.write(1, b"hello")
with open(sys.argv[1]) as gate:
    gate.read()
os.close(1)
os.close(int(os.environ["SSLWRITEFD"]))
count = 0
while block := os.read(0, 65536):
    count += len(block)
os.write(2, b"heard %d\\n" % count)
"""


def unsent(client: socket.socket) -> int:
    """Bytes that the other side's kernel does not have yet."""
    return int(struct.unpack("@i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0])


def test_the_last_words_of_a_client_that_has_gone(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """The client says more than fits between, and leaves; then the program closes its output, and still hears all.

    All that has come as far as our kernel: what a kernel still holds for a client that is gone, it drops when TLS says goodbye.
    """
    gate, size = tmp_path / "ended", 200_000
    os.mkfifo(gate)
    with serving(tmp_path, keys, "python3", "-ISc", LATE_READER, str(gate)) as server:
        with server.connect() as plain, in_tls(plain, ca) as client:
            assert client.recv(5) == b"hello"  # with unread words in its socket its end would be a reset
            client.sendall(bytes(size))
            wait_for(lambda: unsent(client) == 0)
        gate.write_bytes(b"")
        assert int(server.wait_line(r"^heard (\d+)$")[0][1]) == size


# Proxies


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("how", [["-N"], ["-n"]])
def test_a_proxy_by_rule(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], header: bytes, how: list[str]) -> None:
    """Whom a rule marks is one; others only say something strange."""
    cdb = rules(tmp_path, '127.0.0.1:allow,PROXY=""\n:allow\n')
    with serving(tmp_path, keys, *WHO, options=[*how, "-x", cdb, *LOCAL]) as server:
        with server.connect() as plain:
            plain.sendall(header)
            if how == ["-N"]:
                with in_tls(plain, ca) as client:
                    assert client.recv(100) == PROXIED
            else:
                assert plain.recv(100) == PROXIED
        server.wait_line(r"pid \d+ from 192\.0\.2\.9$")
        server.wait_line(r"ok \d+ 0:198\.51\.100\.1:25 :192\.0\.2\.9::4711$")
        address = ("127.0.0.1", server.port)
        with socket.create_connection(address, timeout=20, source_address=("127.0.0.2", 0)) as plain:
            plain.sendall(header)
            plain.shutdown(socket.SHUT_WR)
            heard = read_all(plain)
            if how == ["-n"]:
                assert heard.endswith(header)
            else:
                assert b"192" not in heard
                server.wait_line(r"unable to accept TLS from: 127\.0\.0\.2 for pid: \d+ ")


@pytest.mark.parametrize("words", [V1 + V1, V2 + V2, V1 + V2, V1[:-2] + b"\n", b"\x16\x03\x01\x00\x05hello", V2[:20], b""])
@pytest.mark.parametrize("program", [WHO, POPUP])
def test_bad_words_of_a_proxy(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], words: bytes, program: tuple[str, ...]
) -> None:
    with serving(tmp_path, keys, *program, options=LOCAL, proxy=True) as server:
        assert server.talk(words) == b""
        server.wait_line(r"^sslserver: drop: \(110\) bad PROXY header from: 127\.0\.0\.1$")
        server.wait_line(r"ended by \d+ status 28160$")
        assert " ok " not in server.log()
        with server.connect() as plain:
            plain.sendall(V1)
            with in_tls(plain, ca) as client:
                assert client.recv(100)[:3] in (PROXIED[:3], b"+OK")


def test_a_proxy_looks_whether_we_are_alive(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *WHO, options=LOCAL, proxy=True) as server:
        before = server.log()
        for words in (CHECK, CHECK + b"no TLS"):
            assert server.talk(words) == b""
        with server.connect() as plain:
            plain.sendall(CHECK)
            with in_tls(plain, ca) as client:
                assert client.recv(100).startswith(b"127.0.0.1 ")
        with server.connect() as plain:
            plain.sendall(V1)
            with in_tls(plain, ca) as client:
                assert client.recv(100) == PROXIED
        server.wait_line("ended by")
        kinds = [line.split()[1] for line in server.log()[len(before) :].splitlines()]
        assert kinds == ["status:", "pid", "ok", "tls", "ended", "status:"], server.log()


def test_what_was_said_before_nonsense(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """In one segment with it."""
    heard = tmp_path / "heard"
    with serving(tmp_path, keys, "/bin/sh", "-c", f"cat > {heard}") as server, server.connect() as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
        for _ in range(20):
            client.write(b"word")
        plain.sendall(outgoing.read() + b"garbage\r\n")
        server.wait_line("unable to speak TLS with")
        server.wait_line("ended by")
    assert heard.read_bytes() == b"word" * 20


def test_the_limit_is_of_the_proxy_s_client(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *WHO, options=LOCAL, proxy=True, MAXCONIP="1") as server, server.connect() as plain:
        plain.sendall(V1)
        with in_tls(plain, ca) as client:
            assert client.recv(100) == PROXIED
            assert server.talk(V2) == b""
            server.wait_line(r"^sslserver: warning: ip connection limit of 1 exceeded for: 192\.0\.2\.9$")
            with server.connect() as other:
                other.sendall(V1.replace(b"192.0.2.9", b"192.0.2.8"))
                with in_tls(other, ca) as second:
                    assert second.recv(100).startswith(b"192.0.2.8 ")


# Descriptors

LOOK = """
import os, sys
for fd in range(256):
    try:
        print(fd, os.readlink(f"/proc/self/fd/{fd}"), file=sys.stdout)
    except FileNotFoundError:
        pass
"""
LISTING = ("python3", "-ISc", LOOK)


def listed(text: bytes) -> dict[int, str]:
    """Descriptors and what they are."""
    pairs = (line.split(" ", 1) for line in text.decode().splitlines())
    return {int(fd): what.partition(":")[0] for fd, what in pairs}


@pytest.mark.parametrize("options", [["-N"], ["-Ns"], ["-n"], ["-NE", "-B", "\n"]])
def test_descriptors_of_a_program(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: Sequence[str]) -> None:
    """The connection, the log, three for TLS; of no session before either."""
    plain = {0: "socket", 1: "socket"}
    piped = {0: "pipe", 1: "pipe"}
    with serving(tmp_path, keys, *LISTING, options=[*options, *LOCAL]) as server:
        for turn in range(1, 9):
            if options == ["-n"]:
                found = listed(server.talk())
            else:
                with secret(server, trusting(ca)) as client:
                    found = listed(read_all(client).lstrip(b"\n"))
            log = found.pop(2)
            assert log.endswith("/log")
            expected = plain if options == ["-n"] else piped
            assert found == {**expected, 10: "socket", 11: "pipe", 12: "pipe"}
            server.wait_line("ended by", turn)


@pytest.mark.parametrize("option", ["-N", "-n"])
def test_descriptors_of_a_subprogram(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], option: str) -> None:
    """What qmail-popup starts has the connection and the password."""
    (tmp_path / "look.py").write_text(LOOK)
    look = ("/bin/sh", "-c", f"python3 -IS {tmp_path}/look.py > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/told")

    def log_in(client: socket.socket) -> None:
        assert client.recv(100).startswith(b"+OK")
        for line in (b"USER u\r\n", b"PASS p\r\n"):
            client.sendall(line)
            if line[:1] == b"U":
                assert client.recv(100).startswith(b"+OK")
        read_all(client)

    with serving(tmp_path, keys, "qmail-popup", "host", *look, options=[option, *LOCAL]) as server:
        for turn in range(1, 4):
            with server.connect() as plain:
                log_in(in_tls(plain, ca) if option == "-N" else plain)
            server.wait_line("ended by", turn)
            found = listed((tmp_path / "told").read_bytes())
            assert found.pop(1).endswith("/new")
            assert found == {0: "socket", 2: "socket", 3: "pipe"}


def test_descriptors_under_tcpserver(tmp_path: Path) -> None:
    with serving_tcp(tmp_path, *LISTING) as server:
        for _ in range(4):
            found = listed(server.talk())
            assert found.pop(2).endswith("/log-0")
            assert found == {0: "socket", 1: "socket"}
