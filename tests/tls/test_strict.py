"""What the interpreter's binding cannot do: names of authorities, depth of chains, suites of TLS 1.3; ALPN; renewed keys."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from tests.support import environment, ours, peer, run, wait_for
from tests.tls.authority import Authority, openssl
from tests.tls.server import ECHO, POPUP, secret, serving, trusting, variables


def s_client(port: int, *words: str) -> str:
    done = run([peer("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *words], input=b"")
    return (done.stdout + done.stderr).decode(errors="replace")


def test_the_authorities_are_named(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    other = Authority(tmp_path / "other", "Another Authority")
    both = tmp_path / "both.pem"
    both.write_bytes(ca.cafile.read_bytes() + other.cafile.read_bytes())
    for options, cafile in ((["-mRHl0"], both), (["-zRHl0"], ca.cafile)):
        with serving(tmp_path, keys, *ECHO, options=options, CAFILE=str(ca.cafile), CCAFILE=str(cafile)) as server:
            said = s_client(server.port)
        assert "Acceptable client certificate CA names" in said
        assert "CN = Test CA" in said
        assert ("CN = Another Authority" in said) == (cafile == both)


def test_ccafile_may_switch_it_off(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *ECHO, options=["-mRHl0"], CAFILE=str(ca.cafile), CCAFILE="-") as server:
        with secret(server, trusting(ca)) as client:
            assert client.recv(100) == b"hello\n"
        assert "No client certificate CA names sent" in s_client(server.port)


def intermediate(ca: Authority, top: Path, name: str, issuer: tuple[Path, Path]) -> tuple[Path, Path]:
    """An authority below another one."""
    certificate, key = top / f"{name}.pem", top / f"{name}.key"
    extensions = top / "extensions"
    extensions.write_text("basicConstraints=critical,CA:TRUE\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key,
            "-out", top / "csr")  # fmt: skip
    openssl("x509", "-req", "-in", top / "csr", "-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial", "-days", "9",
            "-extfile", extensions, "-out", certificate)  # fmt: skip
    return certificate, key


def test_the_depth_of_a_chain(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    one = intermediate(ca, tmp_path, "One", (ca.cafile, ca.top / "ca.key"))
    two = intermediate(ca, tmp_path, "Two", one)
    leaf, key = tmp_path / "leaf.pem", tmp_path / "leaf.key"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=deep", "-keyout", key, "-out", tmp_path / "csr")
    openssl(
        "x509", "-req", "-in", tmp_path / "csr", "-CA", two[0], "-CAkey", two[1], "-CAcreateserial", "-days", "9", "-out", leaf
    )
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf.read_bytes() + two[0].read_bytes() + one[0].read_bytes())
    context = trusting(ca)
    context.load_cert_chain(str(chain), str(key))
    cafile = str(ca.cafile)
    with serving(
        tmp_path, keys, "/usr/bin/env", "-0", options=["-msRHl0"], VERIFYDEPTH="2", CAFILE=cafile, CCAFILE=cafile
    ) as server:
        found = variables(server, context)
        assert (found["SSL_CLIENT_S_DN"], found["SSL_CLIENT_VERIFY"]) == ("/CN=deep", "SUCCESS")
        shown = [found[f"SSL_CLIENT_CERT_CHAIN_{number}"] for number in range(3)]
        assert "".join(shown) == chain.read_text()
    with serving(tmp_path, keys, "/usr/bin/env", "-0", options=["-msRHl0"], CAFILE=cafile, CCAFILE=cafile) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            variables(server, context)
        server.wait_line("unable to accept TLS from: 127.0.0.1 for pid: .* certificate chain too long$")


def test_suites_of_tls_1_3(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    ciphers = "TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    with serving(tmp_path, keys, *ECHO, CIPHERS=ciphers) as server:
        for version, expected in (
            (ssl.TLSVersion.TLSv1_3, "TLS_CHACHA20_POLY1305_SHA256"),
            (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ):
            with secret(server, trusting(ca, version)) as client:
                assert (client.cipher() or ("",))[0] == expected
                assert client.recv(100) == b"hello\n"
    env = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]), CIPHERS="TLS_NO_SUCH_SUITE")
    done = run([ours("sslserver"), "-RHl0", "127.0.0.1", "0", "true"], env=env)
    assert (done.returncode, done.stderr) == (111, b"sslserver: error: (111) unable to set cipher list\n")


def test_old_versions_only_when_asked_for(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    with serving(tmp_path, keys, *ECHO) as server:
        assert "Cipher is (NONE)" in s_client(server.port, *old)
        server.wait_line("unable to accept TLS from: .* unsupported protocol$")
    with serving(tmp_path, keys, *ECHO, CIPHERS="ALL:@SECLEVEL=0") as server:
        assert "Protocol  : TLSv1.1" in s_client(server.port, *old)


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_foreign_protocols_are_refused(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], delayed: bool, strict: bool
) -> None:
    ciphers = "TLS_AES_256_GCM_SHA384" if strict else ""
    options = ["-nRHl0"] if delayed else ["-RHl0"]
    with serving(tmp_path, keys, *POPUP, options=options, CIPHERS=ciphers, UCSPITLS="" if delayed else "-") as server:

        def talk(*protocols: str) -> str | None:
            context = trusting(ca)
            if protocols:
                context.set_alpn_protocols(list(protocols))
            with server.connect() as plain:
                if delayed:
                    plain.recv(1000)
                    plain.sendall(b"STLS\r\n")
                    assert plain.recv(1000).startswith(b"+OK")
                with context.wrap_socket(plain, server_hostname="localhost") as client:
                    client.sendall(b"NOOP\r\n")
                    assert client.recv(1000)
                    return client.selected_alpn_protocol()

        assert talk() is None
        assert talk("h2", "pop3") == "pop3"
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            talk("h2", "http/1.1")
        server.wait_line("unable to accept TLS from: 127.0.0.1 for pid: .* no application protocol$")
        assert talk("pop3") == "pop3"


def test_a_program_we_know_nothing_of_may_be_asked_anything(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    context = trusting(ca)
    context.set_alpn_protocols(["h2"])
    with serving(tmp_path, keys, *ECHO) as server, secret(server, context) as client:
        assert client.recv(100) == b"hello\n"
        assert client.selected_alpn_protocol() is None


def test_the_keys_of_tickets_are_renewed(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    context = trusting(ca, ssl.TLSVersion.TLSv1_2)
    with serving(tmp_path, keys, *ECHO, QSERVER_RENEW_KEYS="1") as server:
        with secret(server, context) as client:
            assert client.recv(100)
            old = client.session

        def is_forgotten() -> bool:
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
                context.wrap_socket(plain, server_hostname="localhost", session=old) as client,
            ):
                assert client.recv(100) == b"hello\n"
                return not client.session_reused

        wait_for(is_forgotten)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_much_in_both_directions(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], version: ssl.TLSVersion) -> None:
    """Through the stricter library too."""
    data = bytes(range(256)) * 4000
    with serving(tmp_path, keys, "/bin/cat", CIPHERS="TLS_AES_128_GCM_SHA256") as server:
        with secret(server, trusting(ca, version)) as client:
            received = b""
            client.settimeout(30)
            for at in range(0, len(data), 50_000):
                client.sendall(data[at : at + 50_000])
                while len(received) < at + len(data[at : at + 50_000]):
                    received += client.recv(65536)
        assert received == data
        server.wait_line("ended by .* status 0")
