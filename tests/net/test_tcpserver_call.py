"""tcpserver's command line: usage, exit codes, messages of the start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.net.server import read_all, serving
from tests.support import ours, peer, run, spawn, wait_for

USAGE = (
    b"tcpserver: usage: tcpserver [ -146UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] [ -g gid ] [ -u uid ]"
    b" [ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] host port program [ arg ... ]\n"
)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 100, USAGE),
        (["127.0.0.1"], 100, USAGE),
        (["", "0", "cat"], 100, USAGE),
        (["127.0.0.1", "0"], 100, USAGE),
        (["-q"], 100, b""),
        (["-z"], 100, b"tcpserver: illegal option -- z\n" + USAGE),
        (["-q", "-z"], 100, b"tcpserver: illegal option -- z\n" + USAGE),
        (["--nosuch"], 100, b"tcpserver: illegal option -- -\n" + USAGE),
        (["-c"], 100, b"tcpserver: option requires an argument -- c\n" + USAGE),
        (["127.0.0.1", "nosuch"], 111, b"tcpserver: fatal: (111) unable to figure out port number for: nosuch\n"),
        (["-q", "127.0.0.1", "nosuch", "cat"], 111, b""),
        (["192.0.2.1", "0", "cat"], 111, b"tcpserver: fatal: (111) unable to bind: address not available\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_calls(words: list[str], code: int, message: bytes) -> None:
    done = run([ours("tcpserver"), *words])
    assert (done.returncode, done.stderr, done.stdout) == (code, message, b"")


def test_the_original_agrees_on_exit_codes() -> None:
    theirs = peer("tcpserver")
    for words in ([], ["127.0.0.1"], ["127.0.0.1", "0"], ["-z"], ["127.0.0.1", "nosuch", "cat"], ["192.0.2.1", "0", "cat"]):
        assert run([ours("tcpserver"), *words]).returncode == run([theirs, *words]).returncode, words


def test_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run([ours("tcpserver"), "127.0.0.1", str(taken.getsockname()[1]), "cat"])
    assert (done.returncode, done.stderr) == (111, b"tcpserver: fatal: (111) unable to bind: address already used\n")


def test_two_servers_share_a_port_that_both_want_to_share(tmp_path: Path) -> None:
    with serving(tmp_path, "/bin/cat", options=["--reuseport", "-RHl0"]) as first:
        argv = [ours("tcpserver"), "--reuseport", "-1RHl0", "127.0.0.1", str(first.port), "/bin/cat"]
        with spawn(argv) as second:
            assert second.stdout is not None
            assert second.stdout.readline().decode() == f"127.0.0.1 : {first.port}\n"
        assert first.talk(b"x") == b"x"


@pytest.mark.skipif(os.geteuid() == 0, reason="needs not to be root")
def test_somebody_elses_ids_without_root() -> None:
    done = run([ours("tcpserver"), "-u", "1", "127.0.0.1", "0", "cat"])
    assert (done.returncode, done.stderr) == (111, b"tcpserver: fatal: (111) unable to set uid: permission denied\n")


@pytest.mark.root
@pytest.mark.parametrize("how", ["options", "environment", "both"])
def test_ids(tmp_path: Path, how: str) -> None:
    options = {"options": ["-u", "65534", "-g", "65533"], "environment": ["-U"], "both": ["-U", "-g", "65533"]}[how]
    env = {} if how == "options" else {"UID": "65534", "GID": "65533" if how == "environment" else "7"}
    with serving(tmp_path, "/bin/sh", "-c", "id -u; id -g; id -G", options=[*options, "-RHl0"], env=env) as server:
        assert server.talk().split() == [b"65534", b"65533", b"65533"]


def test_help_is_the_page() -> None:
    done = run([ours("tcpserver"), "--help"])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"NAME\n    tcpserver - ")


@pytest.mark.parametrize(
    ("host", "options", "shown"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.000.000.001", [], "127.0.0.1"),
        ("[127.0.0.1]", [], "127.0.0.1"),
        ("0", [], "0.0.0.0"),
        ("0", ["-4"], "0.0.0.0"),
        ("0.0.0.0", [], "0.0.0.0"),
    ],
)
def test_addresses_of_ipv4(tmp_path: Path, host: str, options: list[str], shown: str) -> None:
    argv = [ours("tcpserver"), "-1", "-RHl0", *options, host, "0", "/bin/cat"]
    with spawn(argv) as process:
        assert process.stdout is not None
        ip, colon, port = process.stdout.readline().decode().split()
        assert (ip, colon) == (shown, ":")
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["0", "::", ":0"])
def test_everywhere_is_both_families(tmp_path: Path, host: str) -> None:
    with serving(tmp_path, "/usr/bin/env", host=host) as server:
        four, six = server.talk().decode().split("\n"), server.talk(host="::1").decode().split("\n")
        assert {"PROTO=TCP", "TCPREMOTEIP=127.0.0.1", "TCPLOCALIP=127.0.0.1"} <= set(four)
        assert not any(line.startswith("TCP6") for line in four)
        assert {"PROTO=TCP6", "TCPREMOTEIP=::1", "TCP6REMOTEIP=::1", "TCP6LOCALHOST=localhost"} <= set(six)
        server.wait_line(r"ok \d+ localhost:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+$")
        server.wait_line(rf"ok \d+ localhost:::1:{server.port} :::1::\d+$")


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def handed_over(fd: int, *words: str) -> list[str]:
    """A command line for a tcpserver that finds descriptor `fd` as the socket handed to it."""
    return [sys.executable, "-c", HAND_OVER, str(fd), ours("tcpserver"), *words]


def test_inherited_socket_is_used_instead_of_host_and_port() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        argv = handed_over(listening.fileno(), "-1RHl0", "nowhere.invalid", "nosuch", "/usr/bin/env")
        with spawn(argv, pass_fds=[listening.fileno()]) as process:
            assert process.stdout is not None
            assert process.stdout.readline().decode() == f"127.0.0.1 : {port}\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                text = read_all(client)
            process.terminate()
            assert process.wait(10) == 0
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1, "it belongs to somebody else"
    assert b"TCPREMOTEIP=127.0.0.1\n" in text
    assert b"LISTEN_" not in text


def test_inherited_descriptor_that_does_not_listen(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        done = run(handed_over(file.fileno(), "0", "0", "cat"), pass_fds=[file.fileno()])
    assert done.returncode == 111
    assert done.stderr.startswith(b"tcpserver: fatal: (111) unable to use inherited socket 3: ")


def test_more_sessions_than_there_can_be(tmp_path: Path) -> None:
    with serving(tmp_path, "/bin/cat", options=["-RHl0", "-c", "99999999999"]) as server:
        assert server.talk(b"there") == b"there"
        server.wait_line("^tcpserver: status: 1/99999999999$")


def test_an_empty_port_is_zero(tmp_path: Path) -> None:
    with spawn([ours("tcpserver"), "-1RHl0", "127.0.0.1", "", "/bin/cat"]) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline().rpartition(b" ")[2]) > 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_are_no_trouble(closed: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = f"exec {ours('tcpserver')} -vRHl0 127.0.0.1 {port} /bin/cat {closed}"
    command = ["/bin/sh", "-c", line]
    with spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        client = wait_for(lambda: connected(port))
        assert client is not None
        with client:
            client.sendall(b"there")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"there"


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=20)
    except ConnectionRefusedError:
        return None
