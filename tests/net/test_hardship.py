"""Servers and filters where something is missing or in the way: descriptors, a directory, patience of others."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.net.server import serving
from tests.support import environment, ours, peer, run

POPUP = ("qmail-popup", "host", "true")
CAT = ("/bin/cat",)
SILENT = 12


@pytest.mark.parametrize("program", [POPUP, CAT])
def test_silent_proxies_keep_nobody_waiting(tmp_path: Path, program: tuple[str, ...]) -> None:
    """Who is marked as one may take his time; others are answered while he still has some."""
    cdb = tmp_path / "rules.cdb"
    rules = b'127.0.0.1:allow,PROXY=""\n:allow\n'
    assert run([ours("tcprules"), str(cdb), f"{cdb}.tmp"], input=rules).returncode == 0
    with serving(tmp_path, *program, options=["-RHl0", "-x", str(cdb)]) as server, ExitStack() as stack:
        proxies = [stack.enter_context(server.connect()) for _ in range(SILENT)]
        address = ("127.0.0.1", server.port)
        other = stack.enter_context(socket.create_connection(address, timeout=20, source_address=("127.0.0.3", 0)))
        other.sendall(b"QUIT\r\n")
        assert other.recv(100)
        assert select.select(proxies, [], [], 0)[0] == [], "they still had time"
        other.close()
        for proxy in proxies:
            proxy.shutdown(socket.SHUT_WR)
            assert proxy.recv(100) == b""
        server.wait_line("bad PROXY header", SILENT)
        server.wait_line(r"end \d+ status 28160", SILENT)
        server.wait_line("status: 0/")
        assert server.lines()[-1].endswith("status: 0/40")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
@pytest.mark.parametrize("program", [POPUP, CAT])
def test_a_directory_that_the_user_may_not_enter(tmp_path: Path, program: tuple[str, ...]) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    with serving(tmp_path, *program, options=["-RHl0", "-u65534", "-g65534"], cwd=place) as server:
        for _ in range(3):
            assert server.talk(b"QUIT\r\n")
        assert "bug" not in server.log()


@pytest.mark.parametrize("server", ["tcpserver", "sslserver"])
@pytest.mark.parametrize("program", [POPUP, CAT])
@pytest.mark.parametrize("limit", [5, 8, 11, 14, 17, 20, 24, 28])
def test_few_descriptors(server: str, program: tuple[str, ...], limit: int) -> None:
    """It says what it lacks, or serves; it is no bug."""
    script = f"ulimit -n {limit}; exec {ours(server)} -1RHl0 127.0.0.1 0 {' '.join(program)}"
    argv = ["/bin/sh", "-c", script]
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = process.stdout.readline()
        if shown:
            port = int(shown.split()[2])
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                    select.select([client], [], [], 0.3)
            except ConnectionRefusedError:  # it could not go on
                process.wait(20)
        process.terminate()
        said = process.stderr.read()
    assert b"internal bug" not in said
    assert b"Traceback" not in said
    assert process.returncode == 0 or said.startswith(server.encode() + b": fatal: "), (process.returncode, said)


@pytest.mark.parametrize("server", ["peers", "ours"])
def test_ignored_signals_stay_ignored(tmp_path: Path, server: str) -> None:
    """HUP and INT of a shell's background job; what the server itself changes is at its default."""
    name = peer("tcpserver") if server == "peers" else ours("tcpserver")
    script = f"trap '' HUP INT ALRM TERM; exec {name} -1RHl0 127.0.0.1 0 grep SigIgn /proc/self/status"
    with subprocess.Popen(["/bin/sh", "-c", script], env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline().split()[-1])
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                data = b""
                while block := client.recv(100):
                    data += block
        finally:
            process.kill()
    assert int(data.split()[1], 16) & 0b11 == 0b11


def test_a_backlog_beyond_all_measure(tmp_path: Path) -> None:
    with serving(tmp_path, *POPUP, options=["-RHl0", "-b", "99999999999"]) as server:
        assert server.talk(b"QUIT\r\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
@pytest.mark.parametrize("command", ["recordio cat", "fixcrio cat", "addcr", "delcr", "tcprules rules.cdb rules.tmp"])
def test_closed_descriptors(tmp_path: Path, command: str, closed: str) -> None:
    """As the programs of C, whose pipes and files may not get the numbers 0 and 1 either."""
    said = []
    for place, name in (("c", peer(command.split()[0])), ("own", ours(command.split()[0]))):
        (tmp_path / place).mkdir()
        (tmp_path / place / "rules.cdb").write_bytes(b"old")
        words = " ".join([name, *command.split()[1:]])
        done = run(["/bin/sh", "-c", f"{words} {closed}"], input=b"word\n", cwd=tmp_path / place)
        rules = (tmp_path / place / "rules.cdb").read_bytes() if closed.startswith("<") else b""
        said.append((done.returncode, done.stdout, rules))
    assert said[1] == said[0]


@pytest.mark.parametrize("words", ["tcpclient -T 99999999999999", "tcpclient -T 0", "tcpclient -rt 99999999999"])
def test_times_beyond_all_measure(tmp_path: Path, words: str) -> None:
    """As the programs of C."""
    with serving(tmp_path, "/bin/echo", "hello", options=["-rl0", "-Ht", "99999999999999"]) as server:
        name, *options = words.split()
        for program in (peer(name), ours(name)):
            done = run([program, "-HRl0", *options, "127.0.0.1", str(server.port), "/bin/sh", "-c", "cat <&6"])
            assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr
        assert "bug" not in server.log()
