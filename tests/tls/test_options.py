"""sslserver's options, variables and log lines one by one (ucspi 6)."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.net.server import Server, read_all
from tests.support import environment, ours, run, spawn, wait_for
from tests.tls.authority import Authority, openssl
from tests.tls.server import ECHO, secret, serving, trusting, variables

ENV = ("/usr/bin/env", "-0")
LOCAL = ["-RHl0"]


def files(keys: tuple[Path, Path], **more: str) -> dict[str, str]:
    return environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]), **more)


# The start


@pytest.mark.parametrize(
    ("host", "options", "most", "shown"),
    [
        ("127.0.0.1", [], None, r"127\.0\.0\.1 : (\d+) \[40/40\]\n"),
        ("127.0.0.1", ["-c7"], None, r"127\.0\.0\.1 : (\d+) \[7/7\]\n"),
        ("127.0.0.1", ["-c7"], "3", r"127\.0\.0\.1 : (\d+) \[7/3\]\n"),
        ("127.0.0.1", [], "0", r"127\.0\.0\.1 : (\d+) \[40/0\]\n"),
        ("0", ["-4"], None, r"0\.0\.0\.0 : (\d+) \[40/40\]\n"),
        ("::1", ["-6"], None, r"::1 : (\d+) \[40/40\]\n"),
        ("127.0.0.1", ["-c7"], "", r"127\.0\.0\.1 : (\d+) \[7/7\]\n"),
    ],
)  # fmt: skip
def test_the_address_on_standard_output(
    keys: tuple[Path, Path], host: str, options: list[str], most: str | None, shown: str
) -> None:
    env = files(keys) if most is None else files(keys, MAXCONIP=most)
    with spawn([ours("sslserver"), "-1RHl0", *options, host, "0", "true"], env=env) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert re.fullmatch(shown, line), line


def test_a_port_that_is_taken(keys: tuple[Path, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run([ours("sslserver"), "-RHl0", "127.0.0.1", str(port), "true"], env=files(keys))
    said = f"sslserver: fatal: (111) unable to bind to: 127.0.0.1 port: {port}: address already used\n"
    assert (done.returncode, done.stderr.decode()) == (111, said)


def test_all_the_lines_of_the_start(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    group = tmp_path / "dh.pem"
    group.write_bytes(openssl("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"))
    authorities = tmp_path / "authorities"
    authorities.mkdir()
    (authorities / "ca.pem").write_bytes(ca.cafile.read_bytes())
    both = {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile)}
    chain = {"CERTCHAINFILE": str(keys[0]), "CADIR": str(authorities), "DHFILE": str(group), "CIPHERS": "ECDHE+AESGCM"}
    with serving(tmp_path, keys, *ECHO, options=["-mc9", *LOCAL], proxy=False, **both, **chain) as server:
        pid = server.process.pid
        assert server.lines() == [
            f"sslserver: ciphers {pid} ECDHE+AESGCM",
            f"sslserver: cafile {pid} {ca.cafile}",
            f"sslserver: ccafile {pid} {ca.cafile}",
            f"sslserver: cadir {pid} {authorities}",
            f"sslserver: certchainfile {pid} {keys[0]}",
            f"sslserver: cert {pid} {keys[0]}",
            f"sslserver: key {pid} {keys[1]}",
            f"sslserver: dhparam {pid} {group} 2048",
            "sslserver: status: 0/9/9",
        ]


@pytest.mark.parametrize(
    ("options", "env", "text"),
    [
        ("", {"CERTFILE": "{top}"}, "unable to load certificate: {top}"),
        ("", {"CERTFILE": "{empty}"}, "unable to load certificate: {empty}"),
        ("", {"CERTFILE": "{certificate}"}, "unable to load key: {certificate}"),
        ("", {"CERTFILE": "{certificate}", "KEYFILE": "{empty}"}, "unable to load key: {empty}"),
        ("", {"CERTFILE": "{certificate}", "KEYFILE": "{top}"}, "unable to load key: {top}"),
        ("", {"CERTCHAINFILE": "{certificate}", "CERTFILE": "{certificate}"}, "unable to load key: {certificate}"),
        ("-m", {"CAFILE": "{ca}", "CCAFILE": "/nowhere"}, "unable to load client CA list"),
        ("-z", {"CAFILE": "{ca}", "CCAFILE": "{empty}"}, "unable to load client CA list"),
        ("-z", {"CAFILE": "{ca}", "CCAFILE": ""}, "unable to load client CA list"),
        ("-m", {"CAFILE": "/nowhere", "CCAFILE": "{ca}"}, "unable to load CA list"),
        ("-m", {"CAFILE": "{empty}", "CCAFILE": "{ca}"}, "unable to load CA list"),
        ("-m", {"CADIR": "/nowhere", "CCAFILE": "{ca}"}, "unable to load CA list"),
        ("", {"DHFILE": "{empty}"}, "unable to set DH parameters"),
        ("", {"DHFILE": "{top}"}, "unable to set DH parameters"),
        ("", {"DHFILE": "{certificate}"}, "unable to set DH parameters"),
        ("", {"CIPHERS": "TLS_NONSENSE"}, "unable to set cipher list"),
        ("-3", {}, "unable to read password from FD3"),
    ],
)
def test_more_load_errors(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str, env: dict[str, str], text: str
) -> None:
    (tmp_path / "empty").touch()
    names = {"certificate": keys[0], "ca": ca.cafile, "empty": tmp_path / "empty", "top": tmp_path}
    given = {name: value.format(**names) for name, value in env.items()}
    for quiet, said in (("", f"sslserver: error: (111) {text.format(**names)}\n"), ("q", "")):
        words = [ours("sslserver"), *([options] if options else []), f"-{quiet}RHl0", "127.0.0.1", "0", "true"]
        done = run(words, env=environment(**given))
        assert (done.returncode, done.stdout, done.stderr.decode()) == (111, b"", said)


@pytest.mark.parametrize(
    ("password", "text"),
    [
        (b"wrong\0", "unable to load key: {key}"),
        (b"", "unable to load key: {key}"),
        (b"x" * 1025, "password too long"),
        (b"x" * 5000 + b"\0", "password too long"),
    ],
)
def test_passwords_that_open_nothing(tmp_path: Path, ca: Authority, password: bytes, text: str) -> None:
    certificate, key = ca.issue("locked", password="secret")
    (tmp_path / "password").write_bytes(password)
    line = f"exec {ours('sslserver')} -3RHl0 127.0.0.1 0 true 3< {tmp_path}/password"
    done = run(["/bin/sh", "-c", line], env=files((certificate, key)))
    assert (done.returncode, done.stderr.decode()) == (111, f"sslserver: error: (111) {text.format(key=key)}\n")


def test_the_password_s_descriptor_is_closed(tmp_path: Path, ca: Authority) -> None:
    certificate, key = ca.issue("closed", san="DNS:localhost", password="secret")
    (tmp_path / "password").write_bytes(b"secret")  # no NUL: it ends where the file does
    script = f"exec {ours('sslserver')} -3 -1vRHl0 127.0.0.1 0 /bin/sh -c 'exec ls /proc/self/fd' 3< {tmp_path}/password"
    env = files((certificate, key))
    with (tmp_path / "log").open("wb") as log, spawn(["/bin/sh", "-c", script], env=env, stderr=log) as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline().split()[2]), tmp_path / "log")
        with secret(server, trusting(ca)) as client:
            found = sorted(map(int, read_all(client).split()))
    assert found == [0, 1, 2, 3, 10, 11, 12]  # 3 is the directory that ls reads


def test_a_key_in_the_certificate_s_file(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(keys[0].read_bytes() + keys[1].read_bytes())
    for env in ({}, {"KEYFILE": ""}, {"KEYFILE": "", "CERTCHAINFILE": "", "CAFILE": "", "DHFILE": "", "CIPHERS": ""}):
        with (
            serving(tmp_path, None, *ECHO, CERTFILE=str(both), proxy=False, **env) as server,
            secret(server, trusting(ca)) as client,
        ):
            assert client.recv(6) == b"hello\n"


def test_a_chain(tmp_path: Path, ca: Authority) -> None:
    """CERTCHAINFILE counts, not CERTFILE, and all of it is sent: the client knows the root alone."""
    below = ca.lower("Lower")
    certificate, key = below.issue("chained", san="DNS:localhost")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.read_bytes() + below.cafile.read_bytes())
    env = {"CERTCHAINFILE": str(chain), "KEYFILE": str(key)}
    with serving(tmp_path, None, *ENV, options=["-s", *LOCAL], CERTFILE="/nowhere", proxy=False, **env) as server:
        found = variables(server, trusting(ca))
        assert found["SSL_SERVER_I_DN"] == "/CN=Lower"
        assert found["SSL_SERVER_CERT"] == certificate.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="needs not to be root")
@pytest.mark.parametrize("name", ["SSL_UID", "SSL_GID", "SSL_CHROOT"])
def test_only_root_has_a_cage(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], name: str) -> None:
    said = "sslserver: warning: not root: SSL_UID, SSL_GID, SSL_CHROOT ignored"
    value = str(tmp_path) if name == "SSL_CHROOT" else "12345"
    with serving(tmp_path, keys, *ECHO, proxy=False, **{name: value}) as server, secret(server, trusting(ca)) as client:
        assert client.recv(6) == b"hello\n"
        assert server.lines().count(said) == 1
    mine = {"SSL_UID": str(os.geteuid()), "SSL_GID": str(os.getegid()), "SSL_CHROOT": ""}
    with serving(tmp_path, keys, *ECHO, proxy=False, **mine) as server:
        assert said not in server.lines()


@pytest.mark.root
def test_ids_from_the_environment(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    who = ("/bin/sh", "-c", "id -u; id -g; id -G")
    with serving(tmp_path, keys, *who, options=["-U", *LOCAL], UID="65533", GID="65532") as server:
        with secret(server, trusting(ca)) as client:
            assert read_all(client) == b"65533\n65532\n65532\n"
        relay = next(child for child in server.workers()[0].children() if " tls " in " ".join(child.cmdline()))
        assert (relay.uids().effective, relay.gids().effective) == (65533, 65532), "-u and -g are its ids too"


# What a session says


def session_lines(server: Server) -> list[str]:
    """The lines after the first status line, ports and the pid as words."""
    server.wait_line("status: 0/40/40", 2)
    lines = server.lines()
    first = lines.index("sslserver: status: 0/40/40")
    pids = {match[1] for line in lines[first:] if (match := re.search(r"(?:pid|ok|deny|tls|by|pid:) (\d+)", line))}
    text = re.sub(rf"\b({'|'.join(pids)})\b", "PID", "\n".join(lines[first + 1 :])) if len(pids) == 1 else str(pids)
    return re.sub(r"::\d+$", "::PORT", text.replace(f":{server.port} ", ":LOCAL "), flags=re.M).splitlines()


@pytest.mark.parametrize(
    ("options", "program", "status", "cipher"),
    [
        ([], ("/bin/sh", "-c", "exit 3"), 768, ""),
        ([], ("/bin/sh", "-c", "kill -9 $$"), 9, ""),
        (["-V"], ("/bin/sh", "-c", "exit 0"), 0, " TLSv1.2:ECDHE-ECDSA-AES256-GCM-SHA384"),
        (["-V"], ("qmail-popup",), 256, " TLSv1.2:ECDHE-ECDSA-AES256-GCM-SHA384"),
        (["-s"], ("qmail-popup",), 256, ""),
    ],
)
def test_the_lines_of_a_session(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: Sequence[str], program: tuple[str, ...], status: int,
    cipher: str,
) -> None:  # fmt: skip
    env = {"CIPHERS": "ECDHE-ECDSA-AES256-GCM-SHA384"}
    with serving(tmp_path, keys, *program, options=[*options, "-RHl", "a b%c"], proxy=False, **env) as server:
        with secret(server, trusting(ca, ssl.TLSVersion.TLSv1_2)) as client:
            read_all(client)
        assert session_lines(server) == [
            "sslserver: status: 1/40/40",
            "sslserver: pid PID from 127.0.0.1",
            "sslserver: ok PID a?b?c:127.0.0.1:LOCAL :127.0.0.1::PORT",
            f"sslserver: tls PID accept{cipher}",
            f"sslserver: ended by PID status {status}",
            "sslserver: status: 0/40/40",
        ]


def test_the_pid_is_the_program_s_in_all_lines(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, "/bin/sh", "-c", "echo $$", options=["-s", *LOCAL]) as server:
        with secret(server, trusting(ca)) as client:
            pid = read_all(client).decode().strip()
        server.wait_line(rf"ended by {pid} status 0$")
        server.wait_line(rf"pid {pid} from")
        assert f"sslserver: tls {pid} accept\n" in server.log()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-Q"], False),
        (["-vQ"], False),
        (["-vq"], False),
        (["-qV"], True),
        (["-VQ"], False),
        (["-Vq"], False),
    ],
)
def test_who_is_quiet(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: list[str], says: bool) -> None:
    with spawn([ours("sslserver"), "-1", *options, *LOCAL, "127.0.0.1", "0", *ECHO], env=files(keys)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        server = Server(process, int(process.stdout.readline().split()[2]), tmp_path / "log")
        with secret(server, trusting(ca)) as client:
            assert client.recv(6) == b"hello\n"
        process.terminate()
        said = process.stderr.read()
    assert bool(said) == says, said


def test_titles(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    pytest.importorskip("setproctitle")
    with serving(tmp_path, keys, "qmail-popup", "host", "true", options=["-c7", *LOCAL]) as server:

        def titles() -> set[str]:
            everybody = psutil.Process(server.process.pid)
            return {" ".join(process.cmdline()).rstrip() for process in (everybody, *everybody.children(recursive=True))}

        start = f"sslserver: {server.port}"
        idle = {f"{start} master 0/7", f"{start} worker idle", f"{start} tls idle"}
        wait_for(lambda: titles() == idle)
        with secret(server, trusting(ca)) as client:
            assert client.recv(100)
            wait_for(lambda: {f"{start} worker 127.0.0.1 qmail-popup", f"{start} tls 127.0.0.1"} <= titles())
        wait_for(lambda: titles() == idle)
