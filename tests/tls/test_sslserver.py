"""sslserver: TLS at once and when asked for, programs of ours and others, what is logged, who is refused."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.net.server import Server
from tests.support import environment, ours, peer, run, spawn, wait_for
from tests.tls.authority import Authority, openssl
from tests.tls.server import ECHO, POPUP, secret, serving, trusting, variables


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_tls_at_once(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], version: ssl.TLSVersion
) -> None:
    with serving(tmp_path, keys, *program, options=["-RHVl", "here"]) as server:
        for _ in range(3):
            with secret(server, trusting(ca, version)) as client:
                if program == ECHO:
                    assert client.recv(100) == b"hello\n"
                    client.sendall(b"word\n")
                    assert client.recv(100) == b"word\n"
                else:
                    assert client.recv(100).startswith(b"+OK")
                    client.sendall(b"QUIT\r\n")
                    assert client.recv(100).startswith(b"+OK")
        server.wait_line("ended by", 3)
        wait_for(lambda: server.lines()[-1].endswith("status: 0/40/40"))
        pid = server.wait_line(r"pid (\d+) from 127")[0][1]
        assert f"sslserver: tls {pid} accept {version.name.replace('_', '.')}:" in server.log()
        assert re.search(rf"ok {pid} here:127.0.0.1:{server.port} :127.0.0.1::\d+\n", server.log())
        assert f"sslserver: ended by {pid} status " in server.log()


def test_the_lines_of_the_start(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO, CIPHERS="ECDHE+AESGCM", MAXCONIP="7") as server:
        pid = server.process.pid
        assert server.lines() == [
            f"sslserver: ciphers {pid} ECDHE+AESGCM",
            *(f"sslserver: {word} {pid} " for word in ("cafile", "ccafile", "cadir", "certchainfile")),
            f"sslserver: cert {pid} {keys[0]}",
            f"sslserver: key {pid} {keys[1]}",
            f"sslserver: dhparam {pid} ",
            "sslserver: status: 0/40/7",
        ]


@pytest.mark.parametrize("options", [["-s"], ["-sE"], ["-S"]])
def test_variables(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: list[str]) -> None:
    with serving(tmp_path, keys, "/usr/bin/env", "-0", options=["-RHl", "me", *options], SSL_CLIENT_S_DN="forged") as server:
        found = variables(server, trusting(ca))
    assert found["PROTO"] == ("TLS" if "E" in options[0] else "TCP")
    assert ("TCPREMOTEIP" in found) == ("E" not in options[0])
    assert (found["SSLREMOTEIP"], found["SSLLOCALHOST"], found["SSLLOCALPORT"]) == ("127.0.0.1", "me", str(server.port))
    assert {"SSLCTLFD", "SSLREADFD", "SSLWRITEFD"} <= set(found)
    assert "SSL_CLIENT_S_DN" not in found
    if options == ["-S"]:
        assert "SSL_PROTOCOL" not in found
    else:
        assert (found["SSL_PROTOCOL"], found["SSL_CLIENT_VERIFY"]) == ("TLSv1.3", "NONE")
        assert found["SSL_SERVER_S_DN"] == "/CN=localhost"
        assert found["SSL_SERVER_CERT"].strip() == keys[0].read_text().strip()


ASKING = """#!/usr/bin/python3
import os, sys
os.write(1, b"plain\\n")
assert os.read(0, 100) == b"STARTTLS\\n"
os.write(1, b"go\\n")
control, reader, writer = (int(os.environ[name]) for name in ("SSLCTLFD", "SSLREADFD", "SSLWRITEFD"))
letter = sys.argv[1].encode()
os.write(control, letter)
block = b""
if letter == b"Y":
    while not block.endswith(b"\\0\\0"):
        block += os.read(control, 65536)
os.write(writer, b"secret %d " % (b"SSL_PROTOCOL=TLSv1.3\\0" in block) + os.read(reader, 100))
"""


@pytest.mark.parametrize("letter", ["y", "Y"])
def test_tls_when_asked_for(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], letter: str) -> None:
    program = tmp_path / "asking"
    program.write_text(ASKING)
    program.chmod(0o755)
    options = ["-nRHl0", "-B", "banner\n"]
    with serving(tmp_path, keys, str(program), letter, options=options) as server, server.connect() as plain:
        assert plain.recv(100) == b"banner\n"
        assert plain.recv(100) == b"plain\n"
        plain.sendall(b"STARTTLS\n")
        assert plain.recv(100) == b"go\n"
        with trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"words")
            assert client.recv(100) == b"secret %d words" % (letter == "Y")
            assert client.recv(100) == b""
        server.wait_line("tls .* accept$")
        server.wait_line("ended by .* status 0")


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_who_never_asks_has_none(tmp_path: Path, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    with serving(tmp_path, keys, *program, options=["-nRHl0"]) as server:
        for _ in range(2):
            assert server.talk(b"QUIT\r\n").startswith((b"hello", b"+OK"))
        server.wait_line("ended by", 2)
        assert "tls" not in server.log()


def test_a_banner_goes_through_tls(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    options = ["-RHl0", "-B", "welcome"]
    with serving(tmp_path, keys, "/bin/cat", options=options) as server, secret(server, trusting(ca)) as client:
        assert client.recv(100) == b"welcome"


@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_failed_handshakes(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    with serving(tmp_path, keys, *program, options=["-RHl0", "-T1"]) as server:
        assert server.talk(b"EHLO plain\r\n") != b"+OK"
        server.wait_line(r"fatal: \(111\) unable to accept TLS from: 127.0.0.1 for pid: \d+ wrong version number$")
        with server.connect() as silent:
            assert silent.recv(100) == b""
        server.wait_line(r"unable to accept TLS from: 127.0.0.1 for pid: \d+ timed out$")
        server.wait_line("ended by .* status 28416", 2)
        with secret(server, trusting(ca)) as client:
            assert client.recv(3) in (b"hel", b"+OK")


def test_without_a_certificate(tmp_path: Path, ca: Authority) -> None:
    with serving(tmp_path, None, *ECHO) as server:
        with pytest.raises(ssl.SSLError), secret(server, trusting(ca)):
            pass
        server.wait_line("unable to accept TLS from")


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"CERTFILE": "/nowhere"}, "unable to load certificate: /nowhere"),
        ({"CERTFILE": "{certificate}", "KEYFILE": "/nowhere"}, "unable to load key: /nowhere"),
        ({"CERTCHAINFILE": "/nowhere", "KEYFILE": "{key}"}, "unable to load certificate chain file: /nowhere"),
        ({"CERTFILE": "{certificate}", "KEYFILE": "{other}"}, "key does not match certificate"),
        ({"DHFILE": "/nowhere"}, "unable to set DH parameters"),
        ({"CIPHERS": "nonsense"}, "unable to set cipher list"),
    ],
)
def test_load_errors(ca: Authority, keys: tuple[Path, Path], tmp_path: Path, env: dict[str, str], text: str) -> None:
    other = Authority(tmp_path / "ca").issue("other")[1]
    given = {name: value.format(certificate=keys[0], key=keys[1], other=other) for name, value in env.items()}
    done = run([ours("sslserver"), "-RHl0", "127.0.0.1", "0", "true"], env=environment(**given))
    assert (done.returncode, done.stderr.decode()) == (111, f"sslserver: error: (111) {text}\n")


def test_client_certificates(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    certificate, key = ca.issue("client", subject="/C=DE/CN=client/emailAddress=me@x.example", san="email:me@x.example")
    context = trusting(ca)
    context.load_cert_chain(str(certificate), str(key))
    files = {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile)}
    with serving(tmp_path, keys, "/usr/bin/env", "-0", options=["-msRHl0"], proxy=False, **files) as server:
        for _ in range(2):
            found = variables(server, context)
            assert found["SSL_CLIENT_S_DN"] == "/C=DE/CN=client/emailAddress=me@x.example"
            assert (found["SSL_CLIENT_S_DN_Email"], found["SSL_CLIENT_SAN_Email_0"]) == ("me@x.example", "me@x.example")
            assert (found["SSL_CLIENT_VERIFY"], found["SSL_CLIENT_I_DN_CN"]) == ("SUCCESS", "Test CA")
            assert "SSL_CLIENT_CERT_CHAIN_0" in found
        server.wait_line("info: valid client cert received from: 127.0.0.1 for pid: ")
        with pytest.raises((ssl.SSLError, ConnectionError)), secret(server, trusting(ca)) as client:
            client.recv(100)
        server.wait_line("unable to accept TLS from: .* peer did not return a certificate")
    given = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]))
    done = run([ours("sslserver"), "-mRHl0", "127.0.0.1", "0", "true"], env=given)
    assert done.stderr == b"sslserver: error: (111) unable to load client CA list\n"


def test_rules_for_the_address_come_first(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    for name, text in (("ip", b'127.0.0.1:allow,WHICH="ip"\n'), ("all", b":deny\n"), ("no", b"127.:deny\n")):
        run([ours("tcprules"), str(tmp_path / f"{name}.cdb"), str(tmp_path / "tmp")], input=text)
    rules = ["-RHl0", "-y", str(tmp_path / "ip.cdb"), "-x", str(tmp_path / "all.cdb")]
    with serving(tmp_path, keys, "/usr/bin/env", "-0", options=rules) as server:
        assert variables(server, trusting(ca))["WHICH"] == "ip"
    with serving(tmp_path, keys, "/bin/cat", options=["-RHl0", "-y", str(tmp_path / "no.cdb")]) as server:
        assert server.talk(b"") == b""
        server.wait_line("deny ")
        server.wait_line("status 25600")
    with serving(tmp_path, keys, "/bin/cat", options=["-RHl0", "-x", "/nowhere"]) as server:
        assert server.talk(b"") == b""
        server.wait_line(r"sslserver: fatal: \(110\) unable to read: /nowhere")


def test_resumption_whichever_worker_answers(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    context = trusting(ca, ssl.TLSVersion.TLSv1_2)
    with serving(tmp_path, keys, *ECHO, QSERVER_WORKER_SESSIONS="1") as server:
        session = None
        for turn in range(4):
            with server.connect() as plain:
                client = context.wrap_socket(plain, server_hostname="localhost", session=session)
                assert client.recv(5)
                assert client.session_reused == (turn > 0)
                session = client.session
                client.close()


def test_only_the_contracted_descriptors_reach_a_program(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, "/bin/sh", "-c", "exec ls /proc/self/fd") as server, secret(server, trusting(ca)) as client:
        data = b""
        while block := client.recv(100):
            data += block
    assert set(data.split()) - {b"3"} == {b"0", b"1", b"2", b"10", b"11", b"12"}


@pytest.mark.root
def test_the_relay_s_cage(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    jail = tmp_path / "jail"
    jail.mkdir()
    with serving(
        tmp_path, keys, "/bin/sh", "-c", "id -u; id -g", options=["-u65534", "-g65534", "-RHl0"],
        SSL_UID="65533", SSL_GID="65532", SSL_CHROOT=str(jail),
    ) as server:  # fmt: skip
        with secret(server, trusting(ca)) as client:
            assert client.makefile("rb").read() == b"65534\n65534\n"
        relay = next(child for child in server.workers()[0].children() if " tls " in " ".join(child.cmdline()))
        assert relay.uids().real == relay.uids().effective == 65533
        assert relay.gids().effective == 65532
        assert os.readlink(f"/proc/{relay.pid}/root") == str(jail)


def test_sslclient_and_openssl(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO) as server:
        words = [ours("sslclient"), "-NRHl0", "-a", str(ca.cafile), "127.0.0.1", str(server.port)]
        done = run([*words, "/bin/sh", "-c", "echo one >&7; read a <&6; read b <&6; echo $a $b"])
        assert (done.returncode, done.stdout) == (0, b"hello one\n")
        there = f"127.0.0.1:{server.port}"
        words = [peer("openssl"), "s_client", "-quiet", "-no_ign_eof", "-CAfile", str(ca.cafile), "-connect", there]
        with spawn(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"hello\n"


def test_much_in_both_directions(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    with serving(tmp_path, keys, "/bin/cat") as server:
        script = f"cat {tmp_path}/data >&7 & exec 7>&-; cat <&6"
        words = [ours("sslclient"), "-NRHl0", "-a", str(ca.cafile), "127.0.0.1", str(server.port), "/bin/sh", "-c", script]
        assert run(words).stdout == data


def test_wrong_calls() -> None:
    for words in ([], ["h"], ["h", "1"]):
        done = run([ours("sslserver"), *words])
        assert done.returncode == 100
        assert done.stderr.startswith(b"sslserver: usage: sslserver [ -1346UXpPhHrRoOdDqQvVIeEsSnNmzZ ] [ -c limit ]")


def test_hup_reads_the_certificate_again(tmp_path: Path, ca: Authority) -> None:
    place = tmp_path / "keys"
    place.mkdir()
    files = place / "cert.pem", place / "key.pem"

    def install(name: str) -> None:
        for source, target in zip(ca.issue(name, san="DNS:localhost"), files, strict=True):
            (place / "new").write_bytes(source.read_bytes())
            (place / "new").rename(target)

    def serial() -> int:
        with secret(server, trusting(ca)) as client:
            return int(str((client.getpeercert() or {})["serialNumber"]), 16)

    install("one")
    with serving(tmp_path, files, *ECHO) as server:
        first = serial()
        with secret(server, trusting(ca)) as old:
            assert old.recv(100) == b"hello\n"
            install("two")
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: serial() != first)
            second = serial()
            old.sendall(b"still here")
            assert old.recv(100) == b"still here", "no session is dropped"
        files[0].write_text("rubbish")
        server.process.send_signal(signal.SIGHUP)
        server.wait_line(f"warning: unable to load certificate: {files[0]}")
        assert serial() == second


def test_dh_parameters(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    weak, strong = tmp_path / "weak.pem", tmp_path / "strong.pem"
    weak.write_bytes(openssl("dhparam", "-dsaparam", "1024"))
    strong.write_bytes(openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"))
    with serving(tmp_path, keys, *ECHO, DHFILE=str(weak)) as server:
        assert f"sslserver: warning: DH parameters too weak, ignored: {weak}" in server.lines()
        server.wait_line(r"dhparam \d+ $")
    with serving(tmp_path, keys, *ECHO, DHFILE=str(strong)) as server:
        server.wait_line(rf"dhparam \d+ {strong} 2048$")


def test_a_password_for_the_key(tmp_path: Path, ca: Authority) -> None:
    certificate, key = ca.issue("locked", san="DNS:localhost", password="secret")
    (tmp_path / "password").write_bytes(b"secret\0more")
    env = environment(CERTFILE=str(certificate), KEYFILE=str(key))
    line = f"exec {ours('sslserver')} -3 -1vRHl0 127.0.0.1 0 /bin/echo hello 3< {tmp_path}/password"
    with (tmp_path / "log").open("wb") as log, spawn(["/bin/sh", "-c", line], env=env, stderr=log) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2])
        with secret(Server(process, port, tmp_path / "log"), trusting(ca)) as client:
            assert client.recv(100) == b"hello\n"
    done = run([ours("sslserver"), "-RHl0", "127.0.0.1", "0", "true"], env=env)
    assert (done.returncode, done.stderr.decode()) == (111, f"sslserver: error: (111) unable to load key: {key}\n")


def test_behind_a_proxy(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    options = ["-RHl0"]
    with serving(tmp_path, keys, "/bin/sh", "-c", "echo $TCPREMOTEIP $SSLREMOTEPORT", options=options, proxy=True) as server:
        with server.connect() as plain:
            plain.sendall(b"PROXY TCP4 192.0.2.9 198.51.100.1 4711 25\r\n")
            with trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
                assert client.recv(100) == b"192.0.2.9 4711\n"
        server.wait_line("ok .* 0:198.51.100.1:25 :192.0.2.9::4711$")
