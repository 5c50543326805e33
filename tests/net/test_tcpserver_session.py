"""One connection at tcpserver: environment, rules, log lines; a C program, a script, programs of ours; beside the original."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.net.server import Server, read_all, serving, shape
from tests.support import environment, ours, peer, run, spawn

POPUP = ("qmail-popup", "mail.example.org", "/bin/true", "/bin/true")
GREETING = b"+OK"


def rules(tmp_path: Path, text: str) -> str:
    """A rules file, by Debian's compiler."""
    path = tmp_path / "rules.cdb"
    done = run([peer("tcprules"), str(path), str(tmp_path / "rules.tmp")], input=text.encode())
    assert done.returncode == 0, done.stderr
    return str(path)


PROGRAMS = {
    "C program": ("/bin/cat",),
    "found on PATH": ("cat",),
    "script": ("/bin/sh", "-c", "cat; exit 3"),
    "no such program": ("no-such-program",),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_log_lines_as_the_original_has_them(tmp_path: Path, program: tuple[str, ...]) -> None:
    logs: list[list[str]] = []
    for which in (peer("tcpserver"), ours("tcpserver")):
        options = ["-RHl", "localhost", "-c", "7"]
        log = tmp_path / f"log-{len(logs)}"
        with serve_any(log, which, options, program) as server:
            for turn in (1, 2):
                server.talk(b"hello")
                server.wait_line("status: 0/7", count=turn + 1)
            logs.append([line for line in shape(server.lines(), server) if "unable to run" not in line])
    assert logs[0] == logs[1]


@contextmanager
def serve_any(log: Path, which: str, options: list[str], program: tuple[str, ...]) -> Iterator[Server]:
    """The original prints only the port with -1, so it is started apart."""
    with log.open("wb") as file:
        argv = [which, *options, "-1v", "127.0.0.1", "0", *program]
        with spawn(argv, env=environment(), stderr=file) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline().decode().rpartition(" ")[2])
            server = Server(process, port, log)
            server.wait_line("status: 0/")
            yield server


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 3", 768), ("kill -TERM $$", 15), ("kill -KILL $$", 9)],
)
def test_end_tells_the_raw_wait_status(tmp_path: Path, script: str, status: int) -> None:
    with serving(tmp_path, "/bin/sh", "-c", script) as server:
        server.talk()
        pid = server.wait_line(r"ok (\d+) ")[0][1]
        server.wait_line(rf"^tcpserver: end {pid} status {status}$")
        assert server.wait_line("status: 0/40", 2)
        assert server.lines() == [
            "tcpserver: status: 0/40",
            "tcpserver: status: 1/40",
            f"tcpserver: pid {pid} from 127.0.0.1",
            next(line for line in server.lines() if line.startswith(f"tcpserver: ok {pid} localhost:127.0.0.1:")),
            f"tcpserver: end {pid} status {status}",
            "tcpserver: status: 0/40",
        ]


def test_a_program_of_ours_runs_in_its_worker(tmp_path: Path) -> None:
    with serving(tmp_path, *POPUP) as server:
        assert server.talk(b"QUIT\r\n").startswith(GREETING)
        pid = server.wait_line(r"^tcpserver: ok (\d+) localhost:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+$")[0][1]
        server.wait_line(f"^tcpserver: end {pid} status 256$")  # qmail-popup's exit code is 1
        assert int(pid) in [worker.pid for worker in server.workers()]


@pytest.mark.parametrize("how", ["--exec", "QSERVER_EXEC"])
def test_a_program_of_ours_as_a_process(tmp_path: Path, how: str) -> None:
    options = ["--exec", "-RHl0"] if how == "--exec" else ["-RHl0"]
    env = {"QSERVER_EXEC": "1"} if how == "QSERVER_EXEC" else {}
    with serving(tmp_path, *POPUP, options=options, env=env) as server:
        assert server.talk(b"QUIT\r\n").startswith(GREETING)
        pid = server.wait_line(r"^tcpserver: end (\d+) status 256$")[0][1]
        assert int(pid) not in [worker.pid for worker in server.workers()]


def test_a_command_of_ours_before_the_program_is_forked_not_executed(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "GREETING").write_text("hello\n")
    probe = "echo $GREETING $TCPREMOTEIP; ls /proc/self/fd; grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status"
    with serving(tmp_path, "envdir", str(tmp_path / "env"), "/bin/sh", "-c", probe) as server:
        first, *fds = server.talk().decode().splitlines()
        assert first == "hello 127.0.0.1"
        assert fds[:4] == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
        assert [line.split()[1] for line in fds[4:]][:2] == ["0" * 16] * 2
        server.wait_line(r"end \d+ status 0$")
    with serving(tmp_path, "envdir", str(tmp_path / "env"), *POPUP) as server:
        assert server.talk(b"QUIT\r\n").startswith(GREETING)
        server.wait_line(r"end \d+ status 256$")


def variables(text: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)


def test_environment(tmp_path: Path) -> None:
    inherited = {
        "TCPREMOTEHOST": "stale", "TCPREMOTEINFO": "stale", "TCPLOCALHOST": "stale", "TCP6REMOTEIP": "stale",
        "TCP6INTERFACE": "stale", "SSL_PROTOCOL": "stale", "SSL_CLIENT_S_DN": "stale", "SSL_UID": "7", "PROTO": "stale",
        "SSL_CERT_FILE": "/kept", "OTHER": "kept",
    }  # fmt: skip
    with serving(tmp_path, "/usr/bin/env", env=inherited) as server, server.connect() as client:
        port = client.getsockname()[1]
        env = variables(read_all(client))
        assert {name: value for name, value in env.items() if name.startswith(("TCP", "SSL", "PROTO", "OTHER"))} == {
            "PROTO": "TCP", "TCPLOCALIP": "127.0.0.1", "TCPLOCALPORT": str(server.port), "TCPLOCALHOST": "localhost",
            "TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": str(port), "SSL_UID": "7", "SSL_CERT_FILE": "/kept", "OTHER": "kept",
        }  # fmt: skip


def test_local_name_that_needs_cleaning(tmp_path: Path) -> None:
    with serving(tmp_path, "/bin/true", options=["-RHl", "a b%c:" + "x" * 200]) as server:
        server.talk()
        server.wait_line("ok [0-9]+ " + re.escape("a?b?c:" + "x" * 94 + "...:127.0.0.1:"))


def test_banner_comes_first_even_for_the_denied(tmp_path: Path) -> None:
    cdb = rules(tmp_path, ":deny\n")
    with serving(tmp_path, "/bin/cat", options=["-RHl0", "-B", "hello\r\n", "-x", cdb]) as server:
        assert server.talk() == b"hello\r\n"
        pid = server.wait_line(r"deny (\d+) 0:127\.0\.0\.1:\d+ :127\.0\.0\.1::\d+$")[0][1]
        server.wait_line(f"end {pid} status 25600$")
        server.wait_line("status: 0/40", 2)
    with serving(tmp_path, "/bin/cat", options=["-RHl0", "-B", "hello\r\n"]) as server:
        assert server.talk(b"x") == b"hello\r\nx"


@pytest.mark.parametrize("program", [("/usr/bin/env",), POPUP], ids=["C program", "ours"])
def test_denied_by_a_rule(tmp_path: Path, program: tuple[str, ...]) -> None:
    with serving(tmp_path, *program, options=["-RHl0", "-x", rules(tmp_path, '127.:deny,A="b"\n')]) as server:
        assert server.talk() == b""
        pid = server.wait_line(r"^tcpserver: deny (\d+) ")[0][1]
        server.wait_line(f"^tcpserver: end {pid} status 25600$")
        assert not re.search(r"^tcpserver: ok", server.log(), re.MULTILINE)


def test_settings_of_a_rule_come_last(tmp_path: Path) -> None:
    cdb = rules(tmp_path, '127.0.0.1:allow,TCPLOCALHOST="other",RELAYCLIENT="",A="1,2:3"\n:deny\n')
    with serving(tmp_path, "/usr/bin/env", options=["-RHl0", "-x", cdb]) as server:
        env = variables(server.talk())
        assert (env["TCPLOCALHOST"], env["RELAYCLIENT"], env["A"]) == ("other", "", "1,2:3")
        server.wait_line(r"ok \d+ 0:127")


def test_a_changed_rules_file_counts_from_the_next_connection(tmp_path: Path) -> None:
    cdb = rules(tmp_path, ":allow\n")
    with serving(tmp_path, "/bin/cat", options=["-RHl0", "-x", cdb]) as server:
        for _ in range(3):
            assert server.talk(b"x") == b"x"
            rules(tmp_path, ":deny\n")
            assert server.talk(b"x") == b""
            rules(tmp_path, ":allow\n")


@pytest.mark.parametrize("program", [("/bin/cat",), POPUP], ids=["C program", "ours"])
@pytest.mark.parametrize("state", ["missing", "corrupt", "directory"])
def test_rules_that_cannot_be_read(tmp_path: Path, state: str, program: tuple[str, ...]) -> None:
    cdb = tmp_path / "rules.cdb"
    if state == "corrupt":
        cdb.write_bytes(b"not a cdb")
    elif state == "directory":
        cdb.mkdir()
    with serving(tmp_path, *program, options=["-RHl0", "-x", str(cdb)]) as server:
        assert server.talk() == b""
        server.wait_line(rf"^tcpserver: drop: \(110\) unable to read: {cdb}: \w+")
        pid = server.wait_line(r"^tcpserver: end (\d+) status 28160$")[0][1]
        server.wait_line(f"^tcpserver: pid {pid} from 127.0.0.1$")
        server.wait_line("status: 0/40", 2)
        assert not re.search(r"^tcpserver: (ok|deny)", server.log(), re.MULTILINE)


@pytest.mark.parametrize(("state", "served"), [("missing", True), ("corrupt", False)])
def test_rules_that_may_be_missing(tmp_path: Path, state: str, served: bool) -> None:
    cdb = tmp_path / "rules.cdb"
    if state == "corrupt":
        cdb.write_bytes(b"not a cdb")
    with serving(tmp_path, "/bin/cat", options=["-RHl0", "-Xx", str(cdb)]) as server:
        assert server.talk(b"x") == (b"x" if served else b"")


def test_quiet_says_nothing_and_errors_are_said_without_v(tmp_path: Path) -> None:
    for option, said in (("-q", 0), ("-Q", 1)):
        log = tmp_path / option
        with log.open("wb") as file:
            argv = [ours("tcpserver"), option, "-1RHl0", "-x", "/nonexistent", "127.0.0.1", "0", "/bin/cat"]
            with spawn(argv, stderr=file) as process:
                assert process.stdout is not None
                server = Server(process, int(process.stdout.readline().decode().rpartition(" ")[2]), log)
                assert server.talk() == b""
                if said:
                    server.wait_line("drop: ")
        assert len(log.read_text().splitlines()) == said


class Identd:
    """Answers each question with a fixed text, on an address of its own."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self.sock.accept()
        with client:
            self.asked.append(client.recv(100))
            client.sendall(self.answer)


@pytest.mark.parametrize(
    ("answer", "info"),
    [
        (b"1 , 2 : USERID : UNIX : joe\r\n", b"joe"),
        (b"1,2:USERID:OTHER:a:b c\n", b"a:bc"),
        (b"1 , 2 : ERROR : NO-USER\r\n", b""),
        (b"1 , 2 : USERID : UNIX : joe", None),
        (b"", None),
        (b"1:2:3:" + b"x" * 300 + b"\n", b"x" * 257),
    ],
)
def test_ident(answer: bytes, info: bytes | None) -> None:
    from qserver.net import ident

    server = Identd(answer)
    try:
        port = server.sock.getsockname()[1]
        assert ident.ask(("127.0.0.1", "1234"), ("127.0.0.1", "25"), 0, 10, port=port) == info
    finally:
        server.thread.join(10)
        server.sock.close()
    assert server.asked == [b"1234 , 25\r\n"]


def test_ident_time_out_and_refusal() -> None:
    from qserver.net import ident

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ident.ask(("127.0.0.1", "1"), ("127.0.0.1", "2"), 0, 0.05, port=silent.getsockname()[1]) is None
        port = silent.getsockname()[1]
    assert ident.ask(("127.0.0.1", "1"), ("127.0.0.1", "2"), 0, 5, port=port) is None


def test_nothing_of_the_server_is_open_in_a_program(tmp_path: Path) -> None:
    inherited = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        with serving(tmp_path, "/bin/sh", "-c", "ls /proc/$$/fd", pass_fds=[inherited]) as server:
            for _ in range(3):
                assert sorted(map(int, server.talk().split())) == [0, 1, 2, inherited]
    finally:
        os.close(inherited)


def test_signals_of_a_program_are_as_the_original_has_them(tmp_path: Path) -> None:
    # glibc's posix_spawn leaves its own signals 32 and 33 ignored; hence the last eight digits, without those bits
    signals = "sed -n 's/^Sig\\(Ign\\|Blk\\|Cgt\\):.*[08]\\(.......\\)$/\\1 \\2/p' /proc/self/status"
    probe = ("/bin/sh", "-c", f"{signals}; umask; pwd")
    answers: list[bytes] = []
    for which in (peer("tcpserver"), ours("tcpserver")):
        with serve_any(tmp_path / f"log{len(answers)}", which, ["-RHl0"], probe) as server:
            answers.append(server.talk())
    assert answers[0] == answers[1]
    assert answers[0].count(b"0000000") == 3


@pytest.mark.parametrize("option", ["-D", "-d"])
def test_no_delay(tmp_path: Path, option: str) -> None:
    probe = "import socket; s = socket.socket(fileno=0); print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))"
    with serving(tmp_path, "python3", "-c", probe, options=["-RHl0", option]) as server:
        assert (server.talk() != b"0\n") == (option == "-D")
