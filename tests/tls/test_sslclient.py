"""sslclient, sslcat, sslconnect, https@ against openssl s_server and the library's own server."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qserver.tls import certificates
from tests.support import environment, ours, peer, run, spawn, wait_for
from tests.tls.authority import Authority

Talk = Callable[[ssl.SSLSocket], None]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def keys(ca: Authority) -> tuple[Path, Path]:
    names = "DNS:localhost,DNS:Other.Example,email:a@b.example"
    return ca.issue("server", san=names, subject="/C=US/O=Lab/CN=loopback", rsa=True)


@contextmanager
def server(
    keys: tuple[Path, Path], talk: Talk, ask: Path | None = None, version: ssl.TLSVersion | None = None
) -> Iterator[int]:
    """A TLS server in a thread; `ask`: the authorities of client certificates, which are demanded then."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, keys))
    if version is not None:
        context.maximum_version = version
    if ask is not None:
        context.load_verify_locations(ask)
        context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            try:
                with client, context.wrap_socket(client, server_side=True) as secret:
                    talk(secret)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(20)


def echo(secret: ssl.SSLSocket) -> None:
    while block := secret.recv(65536):
        secret.sendall(block)


def says(text: bytes) -> Talk:
    return lambda secret: secret.sendall(text)


def client(port: int, *words: str, options: tuple[str, ...] = (), data: bytes = b"") -> tuple[int, bytes, str]:
    command = [ours("sslclient"), "-RHl0", *options, "--", "127.0.0.1", str(port), *words]
    done = run(command, input=data, env=environment())
    return done.returncode, done.stdout, done.stderr.decode()


ECHO = ("/bin/sh", "-c", "echo hello >&7; read x <&6; echo got $x; exit 3")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_conversation(ca: Authority, keys: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    with server(keys, echo, version=version) as port:
        assert client(port, *ECHO, options=("-N", "-a", str(ca.cafile))) == (3, b"got hello\n", "")
        assert client(port, *ECHO, options=("-X",)) == (3, b"got hello\n", "")


def test_the_server_must_be_known(ca: Authority, keys: tuple[Path, Path], tmp_path: Path) -> None:
    words = "sslclient: error: (110) missing credentials (CA) or unable to validate server certificate\n"
    other = Authority(tmp_path / "other", "Other CA")
    with server(keys, echo) as port:
        assert client(port, *ECHO, options=("-N",)) == (110, b"", words)
        assert client(port, *ECHO, options=("-N", "-a", str(other.cafile))) == (110, b"", words)
        directory = tmp_path / "cas"
        directory.mkdir()
        (directory / "ca.pem").write_bytes(ca.cafile.read_bytes())
        subprocess.run([peer("openssl"), "rehash", str(directory)], check=True, timeout=20)
        assert client(port, *ECHO, options=("-N", "-A", str(directory)))[0] == 3


def test_its_name_must_be_the_host_s(ca: Authority, keys: tuple[Path, Path]) -> None:
    with server(keys, echo) as port:
        code, _, said = client(port, *ECHO, options=("-a", str(ca.cafile)))
        assert (code, said) == (
            110, "sslclient: error: (110) server hostname does not match certificate: 127.0.0.1 <=> Other.Example\n",
        )  # fmt: skip
    plain = ca.issue("127.0.0.1")
    with server(plain, echo) as port:
        assert client(port, *ECHO, options=("-a", str(ca.cafile)))[0] == 3, "no dNSName: the common name counts"


def test_our_own_certificate(ca: Authority, keys: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = ca.issue("me", password="secret")
    (tmp_path / "password").write_bytes(b"secret")
    mine = ("-X", "-c", str(certificate), "-k", str(key), "-K", str(tmp_path / "password"))
    with server(keys, echo, ask=ca.cafile) as port:
        assert client(port, *ECHO, options=mine)[0] == 3
        line = f"exec {ours('sslclient')} -XRHl0 -3 -c {certificate} -k {key} 127.0.0.1 {port} /bin/true 3< {tmp_path}/password"
        assert run(["/bin/sh", "-c", line]).returncode == 0
        code, out, _ = client(port, "/bin/sh", "-c", "read x <&6 && echo $x; exit 5", options=("-X",))
        assert out == b""
        assert code in (5, 110, 111), "TLS 1.3 tells of it after the handshake"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-c", "/nowhere"), "unable to load certificate"),
        (("-c", "{certificate}", "-k", "/nowhere"), "unable to load key pair"),
        (("-c", "{certificate}", "-k", "{other}"), "key does not match certificate"),
        (("-a", "/nowhere"), "unable to load CA list"),
        (("-A", "/nowhere"), "unable to load CA list"),
        (("-z", "no-such-cipher"), "unable to set cipher list"),
        (("-c", "{certificate}", "-K", "/nowhere"), "unable to read password from: /nowhere"),
    ],
)
def test_files_that_cannot_be_loaded(
    ca: Authority, keys: tuple[Path, Path], options: tuple[str, ...], text: str, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other").issue("other", rsa=True)[1]
    given = tuple(option.format(certificate=keys[0], other=other) for option in options)
    assert client(1, "true", options=given) == (111, b"", f"sslclient: error: (111) {text}\n")


def test_who_does_not_speak_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            with listening.accept()[0] as plain:
                plain.sendall(b"220 hello, this is plain text\r\n")
                plain.recv(65536)

        thread = threading.Thread(target=answer)
        thread.start()
        assert client(port, "true", options=("-X",)) == (111, b"", "sslclient: fatal: (111) unable to TLS connect\n")
        thread.join(20)
        assert client(port, "true", options=("-X", "-T", "1+0"))[0] == 111, "who says nothing is not waited for"


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    code, _, said = client(port, "true")
    assert (code, said) == (110, f"sslclient: drop: (110) unable to connect to: 127.0.0.1 port: {port}: connection refused\n")


def test_the_environment(ca: Authority, keys: tuple[Path, Path]) -> None:
    with server(keys, echo) as port:
        options = ["-RH", "-l", "me", "-s", "-N", "-a", str(ca.cafile)]
        command = [ours("sslclient"), *options, "127.0.0.1", str(port), "/usr/bin/env", "-0"]
        env = {**environment(), "SSL_CLIENT_S_DN": "forged", "TCPREMOTEIP": "kept", "SSLREMOTEHOST": "old"}
        seen = dict(item.split(b"=", 1) for item in run(command, env=env).stdout.split(b"\0")[:-1])
        found = {name.decode(): value.decode() for name, value in seen.items()}
        assert (found["PROTO"], found["SSLREMOTEIP"], found["SSLREMOTEPORT"]) == ("TCP", "127.0.0.1", str(port))
        assert (found["SSLLOCALHOST"], found["TCPREMOTEIP"]) == ("me", "kept")
        assert "SSLREMOTEHOST" not in found
        assert found["SSL_PROTOCOL"] == "TLSv1.3"
        assert found["SSL_CIPHER"].startswith("TLS_")
        assert found["SSL_CIPHER_USEKEYSIZE"] == found["SSL_CIPHER_ALGKEYSIZE"]
        assert found["SSL_SERVER_S_DN"] == "/C=US/O=Lab/CN=loopback"
        assert (found["SSL_SERVER_S_DN_C"], found["SSL_SERVER_I_DN_CN"]) == ("US", "Test CA")
        assert (found["SSL_SERVER_A_SIG"], found["SSL_SERVER_A_KEY"]) == ("ecdsa-with-SHA256", "rsaEncryption")
        assert (found["SSL_SERVER_SAN_DNS_0"], found["SSL_SERVER_SAN_Email_0"]) == ("localhost", "a@b.example")
        assert found["SSL_SERVER_CERT"].strip() == keys[0].read_text().strip()
        assert "SSL_CLIENT_S_DN" not in found
        text = subprocess.run(
            [peer("openssl"), "x509", "-in", str(keys[0]), "-noout", "-startdate", "-enddate", "-serial"],
            capture_output=True, text=True, timeout=20,
        ).stdout  # fmt: skip
        assert f"notBefore={found['SSL_SERVER_V_START']}\n" in text
        assert f"notAfter={found['SSL_SERVER_V_END']}\n" in text
        serial = next(line for line in text.splitlines() if line.startswith("serial="))
        assert int(serial[7:], 16) == int(found["SSL_SERVER_M_SERIAL"])
        command[1:5] = ["-RHe", "-l", "me", "-S"]
        seen = dict(item.split(b"=", 1) for item in run(command, env=env).stdout.split(b"\0")[:-1])
        assert seen[b"TCPREMOTEIP"] == b"127.0.0.1"
        assert b"SSL_PROTOCOL" not in seen


def test_much_in_both_directions(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Echo of more than any buffer holds: neither direction waits for the other."""
    (tmp_path / "data").write_bytes(os.urandom(5_000_000))
    with server(keys, echo) as port:
        script = f"cat {tmp_path}/data >&7 & exec 7>&-; cat <&6 | head -c 5000000 | cmp - {tmp_path}/data && echo same; wait"
        _, out, said = client(port, "/bin/sh", "-c", script, options=("-X",))
    assert (out, said) == (b"same\n", "")


def test_the_client_may_end_first_and_still_listen(keys: tuple[Path, Path]) -> None:
    def count(secret: ssl.SSLSocket) -> None:
        total = 0
        while block := secret.recv(65536):
            total += len(block)
        secret.sendall(b"%d\n" % total)

    with server(keys, count) as port:
        code, out, said = client(port, "/bin/sh", "-c", "printf 12345 >&7; exec 7>&-; cat <&6", options=("-X",))
    assert (code, out, said) == (0, b"5\n", "")


def test_a_program_that_is_killed(keys: tuple[Path, Path]) -> None:
    with server(keys, echo) as port:
        assert client(port, "/bin/sh", "-c", "kill -9 $$", options=("-X",))[0] == 111
        assert client(port, "no-such-program", options=("-X",)) == (
            111, b"", "sslclient: fatal: (111) unable to run: no-such-program: file does not exist\n",
        )  # fmt: skip


def test_silence_has_an_end(keys: tuple[Path, Path]) -> None:
    def wait(secret: ssl.SSLSocket) -> None:
        secret.recv(1)

    with server(keys, wait) as port:
        assert client(port, "/bin/sh", "-c", "cat <&6; exit 4", options=("-X", "-w1")) == (4, b"", "")


def test_wrong_calls() -> None:
    for words in ([], ["h"], ["h", "1"], ["-i", "x", "h", "1", "true"]):
        done = run([ours("sslclient"), *words])
        assert done.returncode == 100
        assert done.stderr.startswith(b"sslclient: usage: sslclient [ -463hHrRdDiqQveEsSnNxX ]")


# The small ones


def test_sslcat_and_verbosity(ca: Authority, keys: tuple[Path, Path]) -> None:
    data = bytes(range(256)) * 500
    with server(keys, says(data)) as port:
        done = run([ours("sslcat"), "127.0.0.1", str(port), "-N", "-v", "-a", str(ca.cafile)])
    assert (done.returncode, done.stdout) == (0, data)
    assert done.stderr.decode() == f"sslclient: tls connected to: 127.0.0.1 port: {port}\n"


def test_sslconnect(keys: tuple[Path, Path]) -> None:
    with server(keys, echo) as port, spawn([ours("sslconnect"), "127.0.0.1", str(port)], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), b"EHLO me\n")
        assert process.stdout.readline() == b"EHLO me\r\n"


def test_https_at(keys: tuple[Path, Path]) -> None:
    asked: list[bytes] = []

    def page(secret: ssl.SSLSocket) -> None:
        asked.append(b"")
        while not asked[-1].endswith(b"\r\n\r\n"):
            asked[-1] += secret.recv(65536)
        secret.sendall(b"HTTP/1.1 200 OK\r\n\r\n<p>\r\n\r\nend\r\n")

    with server(keys, page) as port:
        done = run([ours("https@"), "127.0.0.1", "a", str(port)])
    assert (done.returncode, done.stdout) == (0, b"<p>\nend\n")
    assert asked[0].startswith(b"GET /a HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


def test_openssl_s_server(ca: Authority, keys: tuple[Path, Path], tmp_path: Path) -> None:
    words = [peer("openssl"), "s_server", "-accept", "127.0.0.1:0", "-cert", str(keys[0]), "-key", str(keys[1]), "-www"]
    with spawn(words) as process:
        assert process.stdout is not None
        line = b""
        while not line.startswith(b"ACCEPT"):
            line = process.stdout.readline()
        port = line.rpartition(b":")[2].strip().decode()
        done = run([ours("https@"), "127.0.0.1", "", port])
        assert b"<pre>" in done.stdout.lower()
        assert wait_for(lambda: process.poll() is None)


def test_names_and_moments() -> None:
    assert certificates.moment((2014, 1, 2, 3, 4, 5)) == "Jan  2 03:04:05 2014 GMT"
