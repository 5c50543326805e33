"""sslserver when files are bad and processes die: what it says, and that everybody else is served as before."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.net.server import Server, read_all
from tests.support import environment, ours, run, spawn, wait_for
from tests.tls.authority import Authority
from tests.tls.server import ECHO, POPUP, secret, serving, trusting

LOCAL = ["-RHl0"]
STUBBORN = ("/bin/sh", "-c", "echo hello; exec sleep 1000")
"""A program that does not care whether anybody speaks to it."""
READY = 4
"""Workers that stand ready while nobody is there."""
BUGS = ("Traceback", "internal bug")


def talks(client: ssl.SSLSocket, program: tuple[str, ...]) -> None:
    """The session is alive in both directions."""
    if program == POPUP:
        client.sendall(b"NOOP\r\n")
        assert client.recv(100).startswith((b"+OK", b"-ERR"))
    else:
        client.sendall(b"word\n")
        assert client.recv(100) == b"word\n"


@contextmanager
def bystander(server: Server, ca: Authority, program: tuple[str, ...]) -> Iterator[None]:
    """A session that is there before and goes on as if nothing had happened; afterwards the server is as new."""
    with secret(server, trusting(ca)) as client:
        assert client.recv(100)
        yield
        talks(client, program)
    is_whole(server)
    with secret(server, trusting(ca)) as client:
        assert client.recv(100)
        talks(client, program)
    assert not any(word in server.log() for word in BUGS), server.log()


def relay_of(worker: psutil.Process) -> psutil.Process | None:
    try:
        return next((child for child in worker.children() if child.exe() == worker.exe()), None)
    except psutil.Error:  # it is just ending
        return None


def is_gone(process: psutil.Process) -> bool:
    """It has ended, whether or not somebody has asked how."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_whole(server: Server) -> None:
    """Nobody is served any more, and enough workers stand ready, each with its relay."""
    wait_for(lambda: server.lines()[-1].endswith("status: 0/40/40"), 20)
    wait_for(lambda: sum(relay_of(worker) is not None for worker in server.workers()) >= 2)


def begun(server: Server, number: int = 2) -> tuple[int, psutil.Process]:
    """The pid in the log of a session, and its worker."""
    pid = int(server.wait_line(r"ok (\d+) ", number)[number - 1][1])
    process = psutil.Process(pid)
    parent = process.parent()
    assert parent is not None
    return pid, process if parent.pid == server.process.pid else parent


def kill(process: psutil.Process | None) -> None:
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


# Processes that are killed


@pytest.mark.parametrize("which", ["relay", "worker"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_killed_while_idle(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], which: str
) -> None:
    with serving(tmp_path, keys, *program) as server, bystander(server, ca, program):
        _, busy = begun(server, 1)
        wait_for(lambda: sum(relay_of(worker) is not None for worker in server.workers()) >= READY)
        idle = [worker for worker in server.workers() if worker.pid != busy.pid]
        relays = [relay for worker in idle if (relay := relay_of(worker)) is not None]
        for process in relays if which == "relay" else idle:
            kill(process)
        wait_for(lambda: all(map(is_gone, (*idle, *relays))))
        assert "ended by" not in server.log()


@pytest.mark.parametrize("phase", ["handshake", "copying"])
@pytest.mark.parametrize("program", [POPUP, ECHO])
def test_relay_killed(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], phase: str) -> None:
    """Its session ends, and so does the program; the worker makes place for another."""
    with serving(tmp_path, keys, *program) as server, bystander(server, ca, program), server.connect() as plain:
        client = trusting(ca).wrap_socket(plain, server_hostname="localhost") if phase == "copying" else plain
        with client:
            if phase == "copying":
                assert client.recv(100)
            pid, worker = begun(server)
            kill(relay_of(worker))
            read_all(client)
        server.wait_line(r"^sslserver: error: \(111\) no TLS process")
        server.wait_line(r"ended by \d+ status (?!0$)\d+$")
        wait_for(lambda: is_gone(worker))
        assert not psutil.pid_exists(pid) or pid == worker.pid
        server.wait_line(rf"ended by {pid} status (?!0$)\d+$")


def test_a_program_whose_tls_is_gone_is_ended(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    with serving(tmp_path, keys, *STUBBORN) as server, secret(server, trusting(ca)) as client:
        assert client.recv(6)
        pid, worker = begun(server, 1)
        kill(relay_of(worker))
        server.wait_line("ended by")
        wait_for(lambda: not psutil.pid_exists(pid), timeout=3)


@pytest.mark.parametrize("program", [POPUP, ECHO])
def test_relay_killed_before_anybody_asked_for_it(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]
) -> None:
    """There is no TLS any more for this session; the next ones have it."""
    with serving(tmp_path, keys, *program, options=["-n", *LOCAL], UCSPITLS="") as server:
        with server.connect() as plain:
            assert plain.recv(100)
            pid, worker = begun(server, 1)
            kill(relay_of(worker))
            if program == POPUP:
                plain.sendall(b"STLS\r\n")
                assert read_all(plain).endswith(b"-ERR TLS startup failed\r\n")
        server.wait_line(r"ended by")
        assert f"sslserver: ended by {pid} " in server.log()
        is_whole(server)
        if program == POPUP:
            with server.connect() as plain:
                assert plain.recv(100)
                plain.sendall(b"STLS\r\n")
                assert plain.recv(100).startswith(b"+OK")
                with trusting(ca).wrap_socket(plain, server_hostname="localhost") as client:
                    talks(client, program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_the_master_ends(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], number: signal.Signals
) -> None:
    """The port is closed and idle processes are gone; a session goes on to its end, and its processes with it."""
    with serving(tmp_path, keys, *program) as server, secret(server, trusting(ca)) as client:
        assert client.recv(100)
        _, busy = begun(server, 1)
        wait_for(lambda: sum(relay_of(worker) is not None for worker in server.workers()) >= READY)
        everybody = psutil.Process(server.process.pid).children(recursive=True)
        ours_now = [busy, *busy.children(recursive=True)]
        server.process.send_signal(number)
        assert server.process.wait(20) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        wait_for(lambda: all(is_gone(process) for process in everybody if process not in ours_now))
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        talks(client, program)
        client.close()
        server.wait_line("ended by")
        wait_for(lambda: all(map(is_gone, ours_now)))


FILLING = """#!/usr/bin/python3
import os, select, time
os.write(1, b"hello")
os.read(0, 100)
os.set_blocking(1, False)
poller = select.poll()
poller.register(1, select.POLLOUT)
while poller.poll(500):
    os.write(1, bytes(4096))
"""
"""Ends when nobody takes its words any more."""


@pytest.mark.parametrize("which", ["relay", "worker"])
def test_killed_when_the_program_has_ended(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], which: str) -> None:
    """The client has not taken all of the program's words when the relay, or its worker, is killed."""
    program = tmp_path / "filling"
    program.write_text(FILLING)
    program.chmod(0o755)
    with serving(tmp_path, keys, str(program)) as server, secret(server, trusting(ca)) as client:
        assert client.recv(5) == b"hello"
        pid, worker = begun(server, 1)
        relay = relay_of(worker)
        client.sendall(b"go")
        wait_for(lambda: not psutil.pid_exists(pid))
        assert "ended by" not in server.log()
        kill(relay if which == "relay" else worker)
        heard = len(read_all(client))
        server.wait_line(rf"ended by {pid} status (?!0$)\d+$")
        wait_for(lambda: not psutil.pid_exists(relay.pid if relay else 0))
        is_whole(server)
        assert heard
        with secret(server, trusting(ca)) as other:
            assert other.recv(5) == b"hello"


@pytest.mark.parametrize("phase", ["handshake", "copying"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_worker_killed(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], phase: str) -> None:
    """A program of ours dies with it. Another one goes on, in TLS, and is counted until it ends."""
    with serving(tmp_path, keys, *program) as server, bystander(server, ca, program), server.connect() as plain:
        client = trusting(ca).wrap_socket(plain, server_hostname="localhost") if phase == "copying" else plain
        with client:
            if isinstance(client, ssl.SSLSocket):
                assert client.recv(100)
            pid, worker = begun(server)
            relay = relay_of(worker)
            kill(worker)
            wait_for(lambda: is_gone(worker))
            if program == POPUP:
                server.wait_line(rf"ended by {pid} status 9$")
            else:
                context = trusting(ca)
                tls = client if isinstance(client, ssl.SSLSocket) else context.wrap_socket(client, server_hostname="localhost")
                with tls:
                    assert phase == "copying" or tls.recv(100)
                    talks(tls, program)
                    assert f"ended by {pid} " not in server.log()
        server.wait_line(rf"ended by {pid} status 9$")
        wait_for(lambda: relay is not None and is_gone(relay))


# Files that are bad


@pytest.mark.root
def test_no_root_directory_for_the_relays(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Said for each relay, and tried again with a pause: twelve of them take two."""
    env = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]), SSL_CHROOT=str(tmp_path / "missing"))
    began = time.monotonic()
    words = [ours("sslserver"), "-1vRHl0", "127.0.0.1", "0", *ECHO]
    with (tmp_path / "log").open("wb") as log, spawn(words, env=env, stderr=log) as process:
        server = Server(process, 0, tmp_path / "log")
        server.wait_line(r"^sslserver: (fatal|error): \(111\) unable to chroot: file does not exist$", 12)
        assert time.monotonic() - began > 1.5
        assert process.poll() is None


@pytest.mark.parametrize("fault", ["missing", "directory", "rubbish", "other key", "no key", "locked"])
def test_hup_with_bad_files(tmp_path: Path, ca: Authority, fault: str) -> None:
    """A warning; what was read before is used further, and good files are taken at the next HUP."""
    place = tmp_path / "keys"
    place.mkdir()
    files = place / "cert.pem", place / "key.pem"

    def install(pair: tuple[Path, Path]) -> None:
        for source, target in zip(pair, files, strict=True):
            (place / "new").write_bytes(source.read_bytes())
            (place / "new").rename(target)

    def serial() -> int:
        with secret(server, trusting(ca)) as client:
            return int(str((client.getpeercert() or {})["serialNumber"]), 16)

    first, second = ca.issue("one", san="DNS:localhost"), ca.issue("two", san="DNS:localhost")
    install(first)
    with serving(tmp_path, files, *ECHO) as server, secret(server, trusting(ca)) as old:
        assert old.recv(6) == b"hello\n"
        number = serial()
        text = f"unable to load key: {files[1]}"
        match fault:
            case "missing" | "directory":
                files[0].unlink()
                if fault == "directory":
                    files[0].mkdir()
                text = f"unable to load certificate: {files[0]}"
            case "rubbish":
                files[0].write_text("rubbish")
                text = f"unable to load certificate: {files[0]}"
            case "other key":
                files[1].write_bytes(second[1].read_bytes())
                text = "key does not match certificate"
            case "no key":
                files[1].unlink()
            case "locked":
                install(ca.issue("locked", san="DNS:localhost", password="secret"))
        server.process.send_signal(signal.SIGHUP)
        server.wait_line(f"^sslserver: warning: {text}$")
        assert serial() == number
        talks(old, ECHO)
        if files[0].is_dir():
            files[0].rmdir()
        install(second)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: serial() != number)
        talks(old, ECHO)
        assert len([line for line in server.lines() if "warning" in line]) == 1


def test_an_expired_certificate_is_served(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    """Whether it is believed is the client's affair: who looks says so, who does not is served."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    with serving(tmp_path, ca.expired("localhost"), *ECHO) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"), secret(server, trusting(ca)):
            pass
        server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ .*certificate expired$")
        with secret(server, careless) as client:
            assert client.recv(6) == b"hello\n"
            talks(client, ECHO)


def test_no_certificate_at_all(tmp_path: Path, ca: Authority) -> None:
    """Every handshake fails, and the server goes on."""
    with serving(tmp_path, None, *ECHO) as server:
        for turn in range(1, 4):
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"), secret(server, trusting(ca)):
                pass
            server.wait_line(r"unable to accept TLS from: 127\.0\.0\.1 for pid: \d+ no shared cipher$", turn)
            server.wait_line(r"ended by \d+ status 28416$", turn)
        is_whole(server)


@pytest.mark.parametrize("letter", ["-x", "-y"])
@pytest.mark.parametrize("program", [ECHO, POPUP])
def test_rules_are_replaced(
    tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...], letter: str
) -> None:
    cdb = tmp_path / "rules.cdb"

    def install(text: str) -> None:
        assert run([ours("tcprules"), str(cdb), f"{cdb}.tmp"], input=text.encode()).returncode == 0

    def is_served() -> bool:
        try:
            with secret(server, trusting(ca)) as client:
                return client.recv(100) != b""
        except OSError:
            return False

    install(":allow\n")
    options = [letter, str(cdb), *LOCAL]
    with serving(tmp_path, keys, *program, options=options) as server, secret(server, trusting(ca)) as old:
        assert old.recv(100)
        assert is_served()
        install("127.:deny\n")
        assert not is_served()
        server.wait_line(r"ended by \d+ status 25600$")
        (tmp_path / "corrupt").write_bytes(os.urandom(100))
        (tmp_path / "corrupt").rename(cdb)
        assert not is_served()
        server.wait_line(rf"^sslserver: fatal: \(110\) unable to read: {cdb}")
        server.wait_line(r"ended by \d+ status 28160$")
        install(":allow\n")
        assert is_served()
        talks(old, program)
        assert not any(word in server.log() for word in BUGS)


def has_visitor(worker: psutil.Process) -> bool:
    return any(found.status == psutil.CONN_ESTABLISHED for found in worker.net_connections())


def test_a_relay_is_killed_while_the_visitor_is_received(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """The program is there already when the relay turns out to be gone: it is told to end, and has its line."""
    with serving(tmp_path, keys, "/bin/sleep", "1000", options=LOCAL, proxy=True) as server, server.connect() as client:
        wait_for(lambda: any(map(has_visitor, server.workers())))
        for worker in server.workers():
            kill(relay_of(worker))
        client.sendall(b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 25\r\n")
        pid = server.wait_line(r"ok (\d+) ")[0][1]
        server.wait_line(rf"^sslserver: ended by {pid} status 15$")
        assert read_all(client) == b""
        assert not psutil.pid_exists(int(pid))


@pytest.mark.parametrize("program", [POPUP, ECHO])
def test_hangup_just_after_the_start(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], program: tuple[str, ...]) -> None:
    """It waits until there is somebody to reload."""
    log = tmp_path / "log"
    words = [ours("sslserver"), "-1vRHl0", "127.0.0.1", "0", *program]
    env = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]))
    with log.open("wb") as file, spawn(words, env=env, stderr=file) as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline().split()[2]), log)
        process.send_signal(signal.SIGHUP)
        with secret(server, trusting(ca)) as client:
            assert client.recv(100)
        assert process.poll() is None


@pytest.mark.parametrize("milliseconds", [0, 20, 60, 100, 140, 180, 240])
def test_terminated_while_it_starts(tmp_path: Path, keys: tuple[Path, Path], milliseconds: int) -> None:
    """The port is free for the next one at once, whoever of its children still runs."""
    env = environment(CERTFILE=str(keys[0]), KEYFILE=str(keys[1]))
    with spawn([ours("sslserver"), "-1RHl0", "127.0.0.1", "0", *POPUP], env=env) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2])
        time.sleep(milliseconds / 1000)
        process.terminate()
        assert process.wait(20) == 0
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
