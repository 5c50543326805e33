"""tcpserver's pool: limits, replacement, the ends of master and workers, shortage, nothing carried from session to session."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.net.server import Server, read_all, serving
from tests.net.test_tcpserver_session import GREETING, POPUP, rules
from tests.support import ours, spawn, wait_for

CAT = ("/bin/cat",)
BOTH = pytest.mark.parametrize("program", [CAT, POPUP], ids=["C program", "ours"])


def begin(server: Server, program: tuple[str, ...]) -> socket.socket:
    """A connection whose session is under way."""
    client = server.connect()
    assert greeted(client, program)
    return client


def greeted(client: socket.socket, program: tuple[str, ...]) -> bool:
    if program is CAT:
        client.sendall(b"hello\n")
    return client.recv(100).startswith(b"hello" if program is CAT else GREETING)


def ended(process: psutil.Process) -> bool:
    """Whether it has ended, even if nobody has reaped it yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def statuses(server: Server) -> list[int]:
    return [int(number) for number in re.findall(r"status: (\d+)/", server.log())]


@BOTH
@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_sessions_than_the_limit_and_nobody_is_turned_away(
    tmp_path: Path, limit: int, program: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, *program, options=["-RHl0", "-c", str(limit)]))
        inside = [stack.enter_context(begin(server, program)) for _ in range(limit)]
        outside = [stack.enter_context(server.connect()) for _ in range(5)]
        server.wait_line(f"status: {limit}/{limit}")
        for client in outside:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(20)
        for leaving, coming in zip([*inside, *outside], outside, strict=False):
            leaving.close()
            assert greeted(coming, program)
        for client in outside:
            client.close()
        wait_for(lambda: statuses(server)[-1] == 0)
        seen = statuses(server)
        assert max(seen) == limit
        assert len(seen) == 1 + 2 * (limit + 5)
        assert all(abs(a - b) == 1 for a, b in pairwise(seen))


@BOTH
def test_status_lines_are_exact_under_load(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program, options=["-RHl0", "-c", "20", "-b", "200"]) as server:
        for _ in range(5):
            clients = [server.connect() for _ in range(60)]
            for client in clients:
                client.sendall(b"QUIT\r\n")
                client.shutdown(socket.SHUT_WR)
            for client in clients:
                assert read_all(client)
                client.close()
        wait_for(lambda: len(statuses(server)) == 601)
        seen = statuses(server)
        assert (seen[0], seen[-1]) == (0, 0)
        assert max(seen) <= 20
        assert all(abs(a - b) == 1 for a, b in pairwise(seen))
        for word in ("pid", "ok", "end"):
            assert len(re.findall(f"^tcpserver: {word} ", server.log(), re.MULTILINE)) == 300


def test_limit_zero_accepts_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, *CAT, options=["-RHl0", "-c", "0"]) as server, server.connect() as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert statuses(server) == [0]


@pytest.mark.timeout(120)
def test_a_thousand_over_the_limit_wait_in_the_backlog(tmp_path: Path) -> None:
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    if somaxconn < 1010:
        pytest.skip(f"net.core.somaxconn is {somaxconn}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1100 + len(os.listdir("/proc/self/fd"))
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with ExitStack() as stack:
            server = stack.enter_context(serving(tmp_path, *POPUP, options=["-RHl0", "-c", "4", "-b", "1100"]))
            clients = [stack.enter_context(server.connect()) for _ in range(1004)]
            for client in clients:
                client.sendall(b"QUIT\r\n")
            for client in clients:
                assert client.recv(100).startswith(GREETING)
                client.close()
            server.wait_line("status: 0/4", 2)
            assert max(statuses(server)) == 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@BOTH
def test_sessions_of_one_address(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program, env={"MAXCONIP": "2"}) as server, ExitStack() as stack:
        inside = [stack.enter_context(begin(server, program)) for _ in range(2)]
        assert server.talk() == b""
        server.wait_line(r"^tcpserver: warning: ip connection limit of 2 exceeded for: 127\.0\.0\.1$")
        assert max(statuses(server)) == 2
        inside[0].close()
        wait_for(lambda: statuses(server)[-1] == 1)
        stack.enter_context(begin(server, program))


@BOTH
def test_sessions_of_one_address_by_rule(tmp_path: Path, program: tuple[str, ...]) -> None:
    cdb = rules(tmp_path, '127.:allow,MAXCONIP="2"\n')
    with serving(tmp_path, *program, options=["-RHl0", "-x", cdb]) as server, ExitStack() as stack:
        inside = [stack.enter_context(begin(server, program)) for _ in range(2)]
        assert server.talk() == b""
        server.wait_line(r"^tcpserver: deny \d+ 0:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+ ip connection limit:2 exceeded$")
        server.wait_line("end [0-9]+ status 25600$")
        inside[1].close()
        wait_for(lambda: statuses(server)[-1] == 1)
        stack.enter_context(begin(server, program))


def test_a_worker_is_replaced_after_its_sessions(tmp_path: Path) -> None:
    with serving(tmp_path, *POPUP, options=["--sessions", "3", "-RHl0", "-c", "1"]) as server:
        for _ in range(7):
            assert server.talk(b"QUIT\r\n").startswith(GREETING)
        server.wait_line("end ", 7)
        pids = re.findall(r"end (\d+)", server.log())
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    with serving(tmp_path, *POPUP, options=["-RHl0", "-c", "1"], env={"QSERVER_WORKER_SESSIONS": "2"}) as server:
        for _ in range(4):
            server.talk(b"QUIT\r\n")
        server.wait_line("end ", 4)
        assert len(set(re.findall(r"end (\d+)", server.log()))) == 2


def test_workers_grow_with_demand(tmp_path: Path) -> None:
    with serving(tmp_path, *POPUP) as server, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(begin(server, POPUP))
        wait_for(lambda: len(server.workers()) >= 22)
        assert len(server.workers()) <= 40


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_killed_in_a_session(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path, *POPUP, options=["-RHl0", "-c", "1"]) as server, begin(server, POPUP) as client:
        pid = int(server.wait_line(r"ok (\d+)")[0][1])
        os.kill(pid, number)
        assert read_all(client) == b""
        status = server.wait_line(rf"^tcpserver: end {pid} status (\d+)$")[0][1]
        assert int(status) & 127 == number
        server.wait_line("status: 0/1", 2)
        assert server.talk(b"QUIT\r\n").startswith(GREETING)


def test_an_idle_worker_killed_is_replaced(tmp_path: Path) -> None:
    for program in (CAT, POPUP):
        with serving(tmp_path, *program, options=["-RHl0", "-c", "1"]) as server:
            worker = wait_for(server.workers)[0]
            worker.send_signal(signal.SIGKILL)
            assert server.talk(b"QUIT\r\n")
            assert not re.search(rf"end {worker.pid} ", server.log())


def test_a_killed_starter_leaves_its_programs_running_and_counted(tmp_path: Path) -> None:
    with serving(tmp_path, *CAT, options=["-RHl0", "-c", "2"]) as server, begin(server, CAT) as client:
        pid = server.wait_line(r"ok (\d+)")[0][1]
        starter = psutil.Process(int(pid)).parent()
        assert starter is not None
        starter.kill()
        wait_for(lambda: ended(starter))
        client.sendall(b"still there")
        assert client.recv(100) == b"still there"
        with begin(server, CAT):
            server.wait_line("status: 2/2")
        server.wait_line("status: 1/2", 2)
        client.close()
        server.wait_line(f"^tcpserver: end {pid} status 9$")
        server.wait_line("status: 0/2", 2)


@BOTH
def test_term_closes_the_port_at_once_and_lets_sessions_end(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program) as server, begin(server, program) as client:
        workers = server.workers()
        server.process.terminate()
        assert server.process.wait(10) == 0
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        again = [ours("tcpserver"), "-1RHl0", "127.0.0.1", str(server.port), *CAT]
        with spawn(again) as successor:
            assert successor.stdout is not None
            assert successor.stdout.readline().decode() == f"127.0.0.1 : {server.port}\n"
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client)
        wait_for(lambda: all(map(ended, workers)))
        server.wait_line(r"^tcpserver: end \d+ status")
        assert statuses(server) == [0, 1], "the successor counts now"


@BOTH
def test_a_killed_master_frees_the_port(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program) as server, begin(server, program) as client:
        workers = server.workers()
        server.process.kill()
        server.process.wait(10)
        wait_for(lambda: refused(server.port))
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client)
        wait_for(lambda: all(map(ended, workers)))


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def test_a_killed_master_frees_the_port_even_if_all_workers_are_busy(tmp_path: Path) -> None:
    with serving(tmp_path, *POPUP, options=["-RHl0", "-c", "1"]) as server, begin(server, POPUP) as client:
        server.process.kill()
        server.process.wait(10)
        wait_for(lambda: refused(server.port))
        client.sendall(b"QUIT\r\n")
        assert client.recv(100).startswith(b"+OK")


@BOTH
def test_restart_under_load_binds_at_once(tmp_path: Path, program: tuple[str, ...]) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(serving(tmp_path, *program))
        held = [stack.enter_context(begin(first, program)) for _ in range(10)]
        first.process.terminate()
        assert first.process.wait(10) == 0
        with spawn([ours("tcpserver"), "-1RHl0", "127.0.0.1", str(first.port), *program]) as second:
            assert second.stdout is not None
            assert second.stdout.readline()
            with first.connect() as client:
                assert greeted(client, program)
        for client in held:
            client.sendall(b"QUIT\r\n")
            assert client.recv(100)


@BOTH
def test_no_descriptors_left(tmp_path: Path, program: tuple[str, ...]) -> None:
    """A worker at its limit of descriptors drops nothing: it says so, waits, and goes on when there are some."""
    with serving(tmp_path, *program, options=["-RHl0", "-c", "1"]) as server:
        assert server.talk(b"QUIT\r\n")  # the worker is past its start
        server.wait_line("status: 0/1", 2)
        worker = server.workers()[0]
        limits = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        with server.connect() as client:
            server.wait_line(r"^tcpserver: drop: \(111\) unable to accept: process cannot open more files$")
            before = worker.cpu_times()
            time.sleep(0.3)
            after = worker.cpu_times()
            assert after.user + after.system - before.user - before.system < 0.2, "it spins"
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, limits)
            assert greeted(client, program)


MODULE = """
import os, signal
COUNT = []
def preload():
    COUNT.append("preloaded")
def serve(argv, env, connection):
    what = connection.read(100).decode().strip()
    if what == "bug":
        raise ZeroDivisionError("a bug")
    if what == "die":
        from qserver.base.errors import Die
        raise Die("famous last words", 103)
    if what == "foul":
        os.umask(0); os.chdir("/"); env["LEFT"] = "1"; signal.alarm(2); argv.append("x")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGHUP, lambda *_: None)
    mask = os.umask(0); os.umask(mask)
    state = [mask, os.getcwd(), env.get("LEFT"), signal.alarm(0), len(argv), COUNT,
             signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, signal.getsignal(signal.SIGHUP) == signal.SIG_DFL]
    connection.write(repr((os.getpid(), state)).encode())
    return 3
"""
MASTER = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
sys.path.append({site!r})
import probe
probe.preload()
from qserver.net import bindings, options, pool
from qserver.net.programs import Called
asked = options.parse(["tcpserver", *sys.argv[1:]], {{}})
listener, _ = bindings.listen("tcpserver", asked, 0, {{}})
print(listener.port, flush=True)
sys.exit(pool.serve("tcpserver", asked, {{"A": "1"}}, [listener], Called(["probe"], probe.serve)))
"""


def test_workers_that_nobody_needs_retire(tmp_path: Path) -> None:
    argv, log = probing(tmp_path, "40")
    argv[3] = argv[3].replace("import probe\n", "import probe\nfrom qserver.net import worker\nworker.RETIRE_AFTER = 0.2\n")
    with log.open("wb") as file, spawn(argv, stderr=file) as process, ExitStack() as stack:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline()), log)
        clients = [stack.enter_context(server.connect()) for _ in range(16)]
        server.wait_line("status: 16/40")
        wait_for(lambda: len(server.workers()) >= 18)
        for client in clients:
            client.sendall(b"clean")
            assert read_all(client)
        wait_for(lambda: len(server.workers()) == 8)
        assert server.talk(b"clean")
        assert statuses(server)[-1] in (0, 1)


def probing(tmp_path: Path, limit: str = "1") -> tuple[list[str], Path]:
    """A command line of a server for the program above."""
    import sysconfig

    from tests.support import BIN, ROOT

    (tmp_path / "probe.py").write_text(MODULE)
    code = MASTER.format(root=str(ROOT), here=str(tmp_path), site=sysconfig.get_path("purelib"))
    return [str(BIN / "python"), "-IS", "-c", code, "-vRHl0", f"-c{limit}", "127.0.0.1", "0", "probe"], tmp_path / "log"


def test_nothing_of_a_session_reaches_the_next(tmp_path: Path) -> None:
    argv, log = probing(tmp_path)
    with log.open("wb") as file, spawn(argv, stderr=file, cwd=tmp_path) as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline()), log)
        first = server.talk(b"clean")
        assert first == server.talk(b"clean")
        foul = server.talk(b"foul")
        assert foul != first
        assert server.talk(b"clean") == first
        server.wait_line(r"end \d+ status 768", 4)


def test_a_bug_is_one_line_and_a_new_worker(tmp_path: Path) -> None:
    argv, log = probing(tmp_path)
    with log.open("wb") as file, spawn(argv, stderr=file, cwd=tmp_path) as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline()), log)
        before = server.talk(b"clean")
        assert server.talk(b"bug") == b""
        server.wait_line(r"^tcpserver: error: \(111\) internal bug in probe: ZeroDivisionError: a bug \(probe\.py:9\)$")
        server.wait_line(r"end \d+ status 28416")
        after = server.talk(b"clean")
        assert before.partition(b",")[0] != after.partition(b",")[0]
        assert server.talk(b"die") == b""
        server.wait_line("^famous last words$")
        server.wait_line(r"end \d+ status 26368")
        assert server.talk(b"clean") == after
        assert "Traceback" not in server.log()


@BOTH
def test_no_cell_is_lost_whoever_dies(tmp_path: Path, program: tuple[str, ...]) -> None:
    """Workers killed at random under load: in the end every session that began has ended, and the limit is whole."""
    limit = 6
    with serving(tmp_path, *program, options=["-RHl0", "-c", str(limit), "-b", "100"]) as server:
        for turn in range(30):
            clients = [server.connect() for _ in range(8)]
            workers = server.workers()
            if workers:
                try:
                    workers[turn % len(workers)].kill()
                except psutil.NoSuchProcess:
                    pass
            for client in clients:
                with client:
                    try:
                        client.sendall(b"QUIT\r\n")
                        client.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    read_all(client)
        wait_for(lambda: statuses(server)[-1] == 0)
        with ExitStack() as stack:
            for _ in range(limit):
                stack.enter_context(begin(server, program))
            server.wait_line(f"status: {limit}/{limit}")
        wait_for(lambda: statuses(server)[-1] == 0)
        seen = statuses(server)
        assert max(seen) == limit
        assert all(abs(a - b) <= 2 for a, b in pairwise(seen)), "2: one died after it had begun and before it could say so"
        assert "bug" not in server.log()


def test_titles(tmp_path: Path) -> None:
    pytest.importorskip("setproctitle")
    with serving(tmp_path, *POPUP) as server, begin(server, POPUP):

        def titles() -> list[str]:
            return [" ".join(process.cmdline()).strip() for process in server.workers()]

        wait_for(lambda: f"tcpserver: {server.port} worker 127.0.0.1 qmail-popup" in titles())
        wait_for(lambda: f"tcpserver: {server.port} worker idle" in titles())
        master = psutil.Process(server.process.pid)
        wait_for(lambda: " ".join(master.cmdline()).strip() == f"tcpserver: {server.port} master 1/40")


def test_term_right_after_the_start() -> None:
    with spawn([ours("tcpserver"), "-1RHl0", "127.0.0.1", "0", "/bin/cat"]) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 0


def test_the_reader_of_the_log_may_go(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with spawn([ours("tcpserver"), "-1vRHl0", "127.0.0.1", "0", *POPUP], stderr=writer) as process:
        os.close(writer)
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(b" ")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            assert client.recv(3) == b"+OK"
            os.close(reader)
            for worker in psutil.Process(process.pid).children():  # so that the master has to say how the session ended
                worker.kill()
            read_all(client)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            assert client.recv(3) == b"+OK"
        assert process.poll() is None
