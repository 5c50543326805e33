"""Who sslserver serves and what it tells its program of them: rules, limits, names, client certificates (ucspi 6.3 to 6.7)."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.net.responder import Responder
from tests.net.server import Server, read_all
from tests.support import environment, ours, peer, run, spawn
from tests.tls.authority import Authority
from tests.tls.server import ECHO, POPUP, secret, serving, trusting, variables

ENV = ("/usr/bin/env", "-0")
LOCAL = ["-RHl0"]
TABLE = {
    "127.0.0.1": ["PTR localhost.example.org"],
    "127.0.0.2": ["PTR liar.example.org"],
    "liar.example.org": ["A 192.0.2.99"],
    "127.0.0.3": ["PTR True.Example.ORG"],
    "true.example.org": ["A 127.0.0.3"],
}


def rules(tmp_path: Path, text: str, name: str = "rules") -> str:
    cdb = tmp_path / f"{name}.cdb"
    done = run([ours("tcprules"), str(cdb), str(tmp_path / f"{name}.tmp")], input=text.encode())
    assert done.returncode == 0, done.stderr
    return str(cdb)


@contextmanager
def coming_from(ip: str, server: Server, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    address = ("127.0.0.1", server.port)
    with (
        socket.create_connection(address, timeout=20, source_address=(ip, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        yield client


def is_refused(ip: str, server: Server, context: ssl.SSLContext) -> bool:
    """Whether the client hears nothing from the program."""
    try:
        with coming_from(ip, server, context) as client:
            return client.recv(100) == b""
    except OSError:  # the library's errors are such
        return True


def of_program(tmp_path: Path, server: Server, context: ssl.SSLContext) -> dict[str, str]:
    """The environment of qmail-popup's subprogram, which `TELLING` writes to a file."""
    with secret(server, context) as client:
        assert client.recv(100).startswith(b"+OK")
        client.sendall(b"USER u\r\n")
        assert client.recv(100).startswith(b"+OK")
        client.sendall(b"PASS p\r\n")
        read_all(client)
    text = (tmp_path / "told").read_text()
    return dict(item.split("=", 1) for item in text.split("\0") if item)


# Rules


@pytest.mark.parametrize(
    ("for_address", "for_all", "which"),
    [
        (':allow,WHICH="y"\n', ':allow,WHICH="x"\n', "y"),
        ('127.0.0.2:deny\n', ':allow,WHICH="x"\n', "x"),
        (':allow\n', ':allow,WHICH="x"\n', None),
        ('=localhost.example.org:deny\n', '=localhost.example.org:allow,WHICH="x"\n:deny\n', "x"),
    ],
)  # fmt: skip
def test_both_rules(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], for_address: str, for_all: str, which: str | None
) -> None:
    options = ["-hR", "-y", rules(tmp_path, for_address, "y"), "-x", rules(tmp_path, for_all, "x")]
    with Responder(TABLE) as dns, serving(tmp_path, keys, *ENV, options=options, proxy=False, **dns.env) as server:
        assert variables(server, trusting(ca)).get("WHICH") == which
        assert (which == "x") == any(kind == "PTR" for _, kind, _ in dns.questions), "whom -y knows is not looked up"


def test_denied_by_address_nobody_is_asked(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    options = ["-hR", "-y", rules(tmp_path, ":deny\n"), "-x", "/nowhere", "-B", "banner"]
    with Responder(TABLE) as dns, serving(tmp_path, keys, *ECHO, options=options, proxy=False, **dns.env) as server:
        assert server.talk(b"") == b""
        pid = server.wait_line(r"deny (\d+) :127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+$")[0][1]
        server.wait_line(rf"ended by {pid} status 25600$")
        assert dns.questions == []
        assert " tls " not in server.log()


@pytest.mark.parametrize("letter", ["-x", "-y"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_rules_that_may_be_missing(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], letter: str, program: tuple[str, ...]
) -> None:
    with serving(tmp_path, keys, *program, options=["-X", letter, "/nowhere/x.cdb", *LOCAL]) as server:
        assert not is_refused("127.0.0.1", server, trusting(ca))
    with serving(tmp_path, keys, *program, options=[letter, "/nowhere/x.cdb", *LOCAL]) as server:
        assert is_refused("127.0.0.1", server, trusting(ca))
        server.wait_line(r"^sslserver: fatal: \(110\) unable to read: /nowhere/x\.cdb: file does not exist$")
        server.wait_line(r"ended by \d+ status 28160$")
    (tmp_path / "corrupt.cdb").write_bytes(b"corrupt")
    with serving(tmp_path, keys, *program, options=["-X", letter, f"{tmp_path}/corrupt.cdb", *LOCAL]) as server:
        assert is_refused("127.0.0.1", server, trusting(ca))
        server.wait_line(rf"^sslserver: fatal: \(110\) unable to read: {tmp_path}/corrupt\.cdb")


@pytest.mark.parametrize(
    ("options", "for_address"),
    [
        ([], None),
        ([], ":allow\n"),
        ([], ":deny\n"),
        (["-x"], ":deny\n"),
    ],
)
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_a_banner_in_the_clear(
    tmp_path: Path, keys: tuple[Path, Path], program: tuple[str, ...], options: list[str], for_address: str | None
) -> None:
    """Before the rules, as tcpserver has it: the denied hear it too."""
    which = [] if for_address is None else [*(options or ["-y"]), rules(tmp_path, for_address)]
    with serving(tmp_path, keys, *program, options=["-nB", "banner\n", *which, *LOCAL]) as server:
        heard = server.talk(b"QUIT\r\n")
        assert heard[:7] == b"banner\n"
        assert (heard[7:] == b"") == (for_address == ":deny\n")


def test_a_banner_in_tls_for_a_program_of_ours(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    options = ["-B", "banner\r\n", *LOCAL]
    with serving(tmp_path, keys, *POPUP, options=options) as server, secret(server, trusting(ca)) as client:
        client.sendall(b"QUIT\r\n")
        assert re.fullmatch(rb"banner\r\n\+OK.*\r\n\+OK.*\r\n", read_all(client))


# Limits


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_sessions_of_one_address(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    with serving(tmp_path, keys, *program, MAXCONIP="2") as server, ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(secret(server, trusting(ca))).recv(3)
        assert server.talk(b"") == b""
        server.wait_line(r"^sslserver: warning: ip connection limit of 2 exceeded for: 127\.0\.0\.1$")
        assert "sslserver: status: 3" not in server.log()
        assert not is_refused("127.0.0.2", server, trusting(ca)), "others are served"
        stack.close()
        server.wait_line("ended by", 3)
        assert not is_refused("127.0.0.1", server, trusting(ca))


@pytest.mark.parametrize("letter", ["-x", "-y"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_sessions_of_one_address_by_rule(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], letter: str
) -> None:
    cdb = rules(tmp_path, '127.0.0.1:allow,MAXCONIP="2"\n127.0.0.2:allow,MAXCONIP="1000"\n')
    with serving(tmp_path, keys, *program, options=["-c3", letter, cdb, *LOCAL]) as server, ExitStack() as stack:
        for _ in range(2):
            assert stack.enter_context(secret(server, trusting(ca))).recv(3)
        assert server.talk(b"") == b""
        line = r"deny (\d+) 0:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+ ip connection limit:2 exceeded$"
        pid = server.wait_line(line)[0][1]
        server.wait_line(rf"ended by {pid} status 25600$")
        server.wait_line("status: 2/3/3$", 2)
        assert not is_refused("127.0.0.2", server, trusting(ca)), "others are served"


# What the program is told


@pytest.mark.parametrize("options", ["-s", "-sE", "-S", "-E"])
def test_a_program_of_ours_is_told_the_same(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str) -> None:
    """The environment of one of our programs, and of a foreign one with the same options."""
    subprogram = ("/bin/sh", "-c", f"/usr/bin/env -0 > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/told")
    forged = {"SSL_CLIENT_S_DN": "forged", "SSLREMOTEINFO": "forged", "SSLREMOTEHOST": "forged", "SSL_CIPHER": "forged"}
    context = trusting(ca, ssl.TLSVersion.TLSv1_2)
    with serving(tmp_path, keys, *ENV, options=[options, "-RHlme"], proxy=False, **forged) as server:
        expected = variables(server, context)
    with serving(
        tmp_path, keys, "qmail-popup", "host", *subprogram, options=[options, "-RHlme"], proxy=False, **forged
    ) as server:
        found = of_program(tmp_path, server, context)
    apart = {"SSLREMOTEPORT", "TCPREMOTEPORT", "SSLLOCALPORT", "TCPLOCALPORT", "SSLCTLFD", "SSLREADFD", "SSLWRITEFD",
             "SSL_SESSION_ID", "PWD", "OLDPWD", "SHLVL", "_"}  # fmt: skip
    assert {name: found[name] for name in found if name not in apart} == {
        name: expected[name] for name in expected if name not in apart
    }
    assert "forged" not in found.values()
    assert found["PROTO"] == ("TLS" if "E" in options else "TCP")
    assert ("TCPREMOTEIP" in found) == ("E" not in options)
    assert ("SSL_PROTOCOL" in found) == ("s" in options)
    if "s" in options:
        assert re.fullmatch("[0-9a-f]*", found["SSL_SESSION_ID"])
        assert (found["SSL_PROTOCOL"], found["SSL_CLIENT_VERIFY"]) == ("TLSv1.2", "NONE")


def test_a_client_by_ipv6(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    env = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]))
    words = [ours("sslserver"), "-1vRHlme", "::1", "0", *ENV]
    with (tmp_path / "log").open("wb") as log, spawn(words, env=env, stderr=log) as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline().split()[2]), tmp_path / "log")
        with server.connect("::1") as plain, trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
            port = client.getsockname()[1]
            found = dict(item.split("=", 1) for item in read_all(client).decode().split("\0") if item)
        for start in ("TCP", "TCP6", "SSL"):
            assert (found[f"{start}REMOTEIP"], found[f"{start}REMOTEPORT"]) == ("::1", str(port))
            assert (found[f"{start}LOCALIP"], found[f"{start}LOCALHOST"]) == ("::1", "me")
        assert found["PROTO"] == "TCP6"
        pid = server.wait_line("pid (.*) from ::1$")[0][1]
        server.wait_line(rf"ok {pid} me:::1:{server.port} :::1::{port}$")
        server.wait_line(rf"tls {pid} accept$")
        server.wait_line(rf"ended by {pid} status 0$")


@pytest.mark.parametrize(("option", "is_set"), [([], True), (["-D"], True), (["-d"], False)])
def test_no_delay_is_the_default(tmp_path: Path, keys: tuple[Path, Path], option: list[str], is_set: bool) -> None:
    probe = "import socket; s = socket.socket(fileno=0); print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))"
    with serving(tmp_path, keys, "python3", "-c", probe, options=["-n", *option, *LOCAL]) as server:
        assert (server.talk() != b"0\n") == is_set


@pytest.mark.parametrize(
    ("options", "ip", "host"),
    [
        ("-Rh", "127.0.0.2", "liar.example.org"),
        ("-Rhp", "127.0.0.2", None),
        ("-Rhp", "127.0.0.3", "true.example.org"),
        ("-RhpP", "127.0.0.2", "liar.example.org"),
        ("-RhH", "127.0.0.3", None),
    ],
)
def test_names(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str, ip: str, host: str | None) -> None:
    with Responder(TABLE) as dns, serving(tmp_path, keys, *ENV, options=[options], proxy=False, **dns.env) as server:
        with coming_from(ip, server, trusting(ca)) as client:
            text = read_all(client).decode()
        found = dict(item.split("=", 1) for item in text.split("\0") if item)
        assert found.get("SSLREMOTEHOST") == found.get("TCPREMOTEHOST") == host
        assert found["SSLLOCALHOST"] == found["TCPLOCALHOST"] == "localhost.example.org"
        server.wait_line(rf"ok \d+ localhost\.example\.org:127\.0\.0\.1:\d+ {re.escape(host or '')}:{re.escape(ip)}::\d+$")


# Client certificates


@pytest.mark.parametrize(
    ("options", "ip", "subject", "san", "mismatch"),
    [
        ("-zRh", "127.0.0.3", "/CN=other", "DNS:a.example,DNS:TRUE.example.org", None),
        ("-zRh", "127.0.0.3", "/CN=True.Example.Org", "", None),
        ("-zRh", "127.0.0.3", "/CN=true.example.org", "DNS:a.example,DNS:b.example", "true.example.org <=> b.example"),
        ("-zRh", "127.0.0.3", "/CN=other", "", "true.example.org <=> other"),
        ("-zRh", "127.0.0.3", "/CN=x", "DNS:*.example.org", "true.example.org <=> *.example.org"),
        ("-zRH", "127.0.0.3", "/CN=other", "", None),
        ("-zRh", "127.0.0.9", "/CN=other", "", None),
        ("-zRhp", "127.0.0.3", "/CN=true.example.org", "", None),
        ("-zRhp", "127.0.0.2", "/CN=liar.example.org", "", "127.0.0.2 <=> liar.example.org"),
        ("-zRhp", "127.0.0.2", "/CN=127.0.0.2", "", None),
        ("-mRh", "127.0.0.3", "/CN=other", "", None),
        ("-zmRh", "127.0.0.3", "/CN=other", "", None),
    ],
)  # fmt: skip
def test_a_client_s_name(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str, ip: str, subject: str, san: str, mismatch: str | None
) -> None:
    context = trusting(ca)
    context.load_cert_chain(*map(str, ca.issue("client", subject=subject, san=san)))
    env = {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile)}
    with Responder(TABLE) as dns, serving(tmp_path, keys, *ECHO, options=[options], proxy=False, **env, **dns.env) as server:
        assert is_refused(ip, server, context) == (mismatch is not None)
        pid = server.wait_line(r"pid (\d+) from")[0][1]
        if mismatch is None:
            server.wait_line(rf"^sslserver: info: valid client cert received from: {ip} for pid: {pid}$")
            return
        says = f"sslserver: error: (110) client hostname does not match certificate for pid: {pid} {mismatch}"
        server.wait_line(f"^{re.escape(says)}$")
        server.wait_line(rf"ended by {pid} status (28160|15)$")


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_certificates_that_are_not_believed(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]
) -> None:
    stranger = Authority(tmp_path / "stranger", "Stranger").issue("client")
    lower = ca.lower("Lower")
    below = lower.issue("below")
    below[0].write_bytes(below[0].read_bytes() + lower.cafile.read_bytes())
    env = {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile), "VERIFYDEPTH": "0"}
    cases = [
        (None, "peer did not return a certificate"),
        (stranger, "unable to get local issuer certificate"),
        (ca.expired("gone"), "certificate has expired"),
        (below, "certificate chain too long"),
    ]
    with serving(tmp_path, keys, *program, options=["-m", *LOCAL], proxy=False, **env) as server:
        for turn, (pair, why) in enumerate(cases, 1):
            context = trusting(ca)
            if pair is not None:
                context.load_cert_chain(*map(str, pair))
            assert is_refused("127.0.0.1", server, context)
            line = rf"^sslserver: fatal: \(111\) unable to accept TLS from: 127\.0\.0\.1 for pid: (\d+) {why}$"
            pid = server.wait_line(line)[0][1]
            server.wait_line(r"ended by \d+ status 28416$", turn)
            assert f"sslserver: ended by {pid} status 28416\n" in server.log()
        context = trusting(ca)
        context.load_cert_chain(*map(str, ca.issue("good")))
        assert not is_refused("127.0.0.1", server, context)
    with serving(tmp_path, keys, *program, options=["-m", *LOCAL], CAFILE=str(ca.cafile), CCAFILE=str(ca.cafile)) as server:
        context.load_cert_chain(*map(str, below))
        assert not is_refused("127.0.0.1", server, context), "one authority between is what VERIFYDEPTH allows by default"


@pytest.mark.parametrize(("options", "env"), [("-mZ", {}), ("-m", {"CCAFILE": "-"}), ("-z", {"CCAFILE": "-"})])
def test_nobody_is_asked(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str, env: dict[str, str]) -> None:
    with serving(tmp_path, keys, *ECHO, options=[options, *LOCAL], proxy=False, **env) as server:
        assert not is_refused("127.0.0.1", server, trusting(ca))
        assert "valid client cert" not in server.log()


def test_the_authorities_are_named(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    other = Authority(tmp_path / "other", "Other CA").cafile
    both = tmp_path / "both.pem"
    both.write_bytes(ca.cafile.read_bytes() + other.read_bytes())
    with serving(tmp_path, keys, *ECHO, options=["-m", *LOCAL], CAFILE=str(ca.cafile), CCAFILE=str(both)) as server:
        words = [peer("openssl"), "s_client", "-connect", f"127.0.0.1:{server.port}"]
        said = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).stdout.decode()
    assert "Acceptable client certificate CA names\nCN = Test CA\nCN = Other CA\n" in said


# Suites and protocols


def test_suites_of_tls_13(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    ciphers = "TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    with serving(tmp_path, keys, *ECHO, options=["-V", *LOCAL], CIPHERS=ciphers) as server:
        for version, name in (("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"), ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")):
            with secret(server, trusting(ca, ssl.TLSVersion[version.replace(".", "_")])) as client:
                assert client.cipher() == (name, version, 256)
            server.wait_line(rf"tls \d+ accept {version}:{name}$")


def test_protocols_by_name(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """Whoever means another protocol is not answered; a program that we do not know takes all."""
    foreign, own = trusting(ca), trusting(ca)
    foreign.set_alpn_protocols(["http/1.1"])
    own.set_alpn_protocols(["http/1.1", "pop3"])
    with serving(tmp_path, keys, *POPUP) as server:
        assert is_refused("127.0.0.1", server, foreign)
        server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ no application protocol$")
        with secret(server, own) as client:
            assert client.selected_alpn_protocol() == "pop3"
        assert not is_refused("127.0.0.1", server, trusting(ca))
    with serving(tmp_path, keys, *ECHO) as server:
        assert not is_refused("127.0.0.1", server, foreign)
