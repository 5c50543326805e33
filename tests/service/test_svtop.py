"""svtop, and svstat's output for programs."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qserver.base import tai64n
from qserver.service import detail, fields, logtail, screen
from qserver.service.status import DOWN, RUNNING, STOPPED, UP, Status
from tests.service.services import Service, supervised
from tests.service.test_svscan import pair, scanned
from tests.service.test_svup import told
from tests.support import environment, ours, run, wait_for

HEAD = ["SERVICE", "STATE", "READY", "UPTIME", "RESTARTS", "PID", "PROCS", "%CPU", "MEMORY", "LOG/s", "LAST", "LINE"]
MULTILOG = f"#!/bin/sh\nexec {ours('multilog')} t ./main\n"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    place = tmp_path / "scan"
    place.mkdir()
    return place


def top(*words: str | Path, cwd: Path | None = None) -> dict[str, list[str]]:
    """Name → the other columns."""
    done = run([ours("svtop"), "--once", "-d", "0.3", *map(str, words)], cwd=cwd)
    assert (done.returncode, done.stderr) == (0, b"")
    head, *lines = done.stdout.decode().splitlines()
    assert head.split() == HEAD
    return {line.split()[0]: line.split(maxsplit=10)[1:] for line in lines}


def test_a_table_of_services(scan: Path) -> None:
    service, logger = pair(scan / "web", "#!/bin/sh\nwhile :; do echo 'hi \033[31m there'; sleep 0.01; done\n", MULTILOG)
    ready = Service(scan / "ready", "#!/bin/sh\necho >&3\nsleep 1000 & exec sleep 1000\n")
    (ready.path / "notification-fd").write_text("3")
    down = Service(scan / "down")
    (down.path / "down").touch()
    needy = Service(scan / "needy")
    (needy.path / "needs").write_text("down\n")
    (scan / "no").mkdir()
    (scan / "plain").touch()
    with scanned(scan, service, logger, ready, down, needy):
        ready.reaches(lambda told: told.ready)
        wait_for(lambda: (logger.path / "main" / "current").exists() and (logger.path / "main" / "current").stat().st_size)
        wait_for(lambda: needy.is_supervised() and down.is_supervised())
        table = top(scan)
        assert set(table) == {"web", "web/log", "ready", "down", "needy", "no"}
        assert table["web"][:2] == ["running", "no"]
        assert int(table["web"][4]) == service.up()
        assert float(table["web"][8].rstrip("K")) > 0, "the log grows"
        assert table["web"][9].endswith("hi ?[31m there")
        assert time.strptime(table["web"][9][:19], "%Y-%m-%d %H:%M:%S")
        assert table["ready"][:2] == ["running", "yes"]
        assert table["ready"][5] == "2"
        assert table["ready"][7].endswith("K")
        assert table["down"] == ["stopped", "no", table["down"][2], "0", "-", "0", "0.0", "-", "-", "-"]
        assert table["needy"][0] == "needs"
        assert top(cwd=scan).keys() == table.keys()
        assert set(top(service.path)) == {str(service.path), f"{service.path}/log"}
        os.kill(ready.up(), signal.SIGKILL)
        ready.reaches(lambda told: told.pid and told.ready)
        assert top(scan)["ready"][3] == "1"
        done = run([ours("svtop"), "-1t", "-d0.1", str(scan)])
        tree = done.stdout.decode().splitlines()
        at = next(number for number, line in enumerate(tree) if line.startswith("ready"))
        assert tree[at + 1].split()[1] == tree[at + 2].split()[1] == "sleep"
        assert len(tree[at + 2]) - len(tree[at + 2].lstrip()) > len(tree[at + 1]) - len(tree[at + 1].lstrip())
    assert top(scan)["web"][0] == "no-supervise"


def test_an_executable_log(tmp_path: Path) -> None:
    service = Service(tmp_path / "svc", "#!/bin/sh\necho hello\nexec sleep 1000\n")
    service.script("log", MULTILOG)
    with supervised(service):
        service.up()
        wait_for(lambda: (service.path / "main" / "current").exists())
        wait_for(lambda: (service.path / "main" / "current").stat().st_size)
        table = top(service.path)
        assert table[str(service.path)][9].endswith(" hello")
        assert table[f"{service.path}/log"][0] == "running"


def test_odd_directories(tmp_path: Path) -> None:
    assert top(tmp_path / "nowhere") == top(tmp_path) == {}
    (tmp_path / "a b\xff\n").mkdir()
    (tmp_path / "a b\xff\n" / "run").touch()
    with told(tmp_path / "bad", b"rubbish"), told(tmp_path / "big", b"\xff" * 100):
        table = top(tmp_path)
        assert table["bad"][0] == "bad-status"
        assert table["big"][0] == "paused" or table["big"][4] == str(2**32 - 1)
        assert len(table) == 4, "big has a log, says its status"


def test_wrong_calls() -> None:
    usage = b"svtop: usage: svtop [ --once ] [ -1t ] [ -d seconds ] [ dir ... ]\n"
    for words in (["-d", "x"], ["-d", "0"], ["-d", "-1"], ["-dnan"], ["-d1e9"]):
        done = run([ours("svtop"), *words])
        assert (done.returncode, done.stderr) == (100, usage)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([ours("svtop"), "-1d0.1"], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert (done.returncode, done.stderr) == (111, b"svtop: fatal: unable to write output: out of disk space\n")


# On a terminal


class Terminal:
    """svtop on a terminal of its own."""

    def __init__(self, scan: Path, **env: str) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.resize(24, 100)
        self.process = subprocess.Popen(
            [ours("svtop"), "-d", "0.1", str(scan)],
            stdin=slave, stdout=slave, stderr=slave, env={**environment(), "TERM": "xterm", **env}, start_new_session=True,
        )  # fmt: skip
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        import fcntl

        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def shows(self, text: bytes) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen:
            assert select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0], self.seen
            self.seen += os.read(self.master, 65536)

    def ends(self, code: int) -> None:
        """It has ended so, and the terminal is as it was."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        assert self.process.returncode == code, self.seen
        assert termios.tcgetattr(self.slave) == self.before
        assert b"Traceback" not in self.seen


@contextmanager
def terminal_of(scan: Path, **env: str) -> Iterator[Terminal]:
    """svtop, which does not outlive the block."""
    made = Terminal(scan, **env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        os.close(made.master)
        os.close(made.slave)


@pytest.fixture
def running(scan: Path) -> Iterator[Path]:
    service = Service(scan / "web")
    with scanned(scan, service):
        service.up()
        yield scan


def test_q_ends_it(running: Path) -> None:
    with terminal_of(running) as terminal:
        terminal.shows(b"SERVICE")
        terminal.shows(b"web")
        terminal.seen = b""
        terminal.resize(10, 40)
        terminal.process.send_signal(signal.SIGWINCH)
        terminal.shows(b"SERVICE")
        terminal.resize(1, 1)
        terminal.process.send_signal(signal.SIGWINCH)
        os.write(terminal.master, b"xq")
        terminal.ends(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(running: Path, number: signal.Signals) -> None:
    with terminal_of(running) as terminal:
        terminal.shows(b"web")
        terminal.process.send_signal(number)
        terminal.ends(0)


def test_a_terminal_nobody_knows(running: Path) -> None:
    with terminal_of(running, TERM="no-such-terminal") as terminal:
        terminal.shows(b"svtop: fatal: unable to use the terminal: ")
        terminal.ends(111)


# Its parts


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1000, "1.0K"), (1023, "1.0K"), (1536, "1.5K"),
                                              (10240, "10K"), (1048576, "1.0M"), (2**50, "1024T")])  # fmt: skip
def test_sizes(number: int, text: str) -> None:
    assert screen.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86400, "1d00h")]
)
def test_durations(seconds: int, text: str) -> None:
    assert screen.duration(seconds) == text


@given(st.binary(max_size=200))
def test_no_line_commands_the_terminal(line: bytes) -> None:
    assert logtail.readable(line).isprintable()


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["multilog", "t", "./main"], "/s/log/./main"),
        (["python", "-IS", "/bin/setuidgid", "u", "/x/multilog", "t", "s99", "!cat", "/var/log/x", "./y"], "/var/log/x"),
        (["setuidgid", "multilog", "multilog", "t"], "/s/log/main"),
        (["cat"], "/s/log/main"),
        ([], "/s/log/main"),
    ],
)
def test_where_a_logger_logs(words: list[str], path: str) -> None:
    assert logtail.directory_of(words, "/s/log") == path


def test_growth_over_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_700_000_000 * 10**9]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    current = tmp_path / "current"
    current.write_bytes(b"x" * 1000)
    tail = logtail.Tail(str(tmp_path))
    tail.look()
    assert tail.rate == 0
    clock[0] += 10**9
    current.write_bytes(b"x" * 3000)
    tail.look()
    assert tail.rate == 2000
    current.write_bytes(b"x" * 4000)
    current.rename(tmp_path / os.fsdecode(tai64n.label(clock[0] + 5) + b".s"))
    current.write_bytes(b"y\n" * 250)
    (tmp_path / os.fsdecode(tai64n.label(5) + b".s")).write_bytes(b"old" * 1000)
    clock[0] += 2 * 10**9
    tail.look()
    assert tail.rate == (1000 + 500) / 2
    assert tail.last_line() == b"y"
    current.write_bytes(b"")
    assert tail.last_line() == b"x" * 4000


# svstat for programs


def svstat(*words: str | Path) -> tuple[int, list[str], str]:
    done = run([ours("svstat"), *map(str, words)])
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def test_fields(tmp_path: Path) -> None:
    when = 1_700_000_000 * 10**9 + 5
    data = Status(when, 77, True, UP, RUNNING, True).pack() + Status(when, 0, False, DOWN, STOPPED).pack()
    with told(tmp_path / "svc", data):
        more = detail.Detail(4, 256, 9, detail.BACKOFF, when, 4000)
        (tmp_path / "svc" / "supervise" / "detail").write_bytes(more.pack())
        names = "up,wantedup,normallyup,ready,paused,pid,updownsince,state,starts,exitcode,signal,waits,backoff"
        code, lines, _ = svstat("-o", names, tmp_path / "svc")
        label = tai64n.label(when).decode()
        assert (code, lines) == (0, [f"true true true true true 77 {label} running 4 256 9 backoff 4000"])
        (tmp_path / "svc" / "down").touch()
        code, lines, _ = svstat("-L", "-oup,pid,normallyup,state,starts", tmp_path / "svc")
        assert (code, lines) == (0, ["false -1 false stopped 0"])
        code, lines, _ = svstat("--json", tmp_path / "svc")
        found = json.loads(lines[0])
        assert list(found) == ["service", *fields.FIELDS]
        assert (found["service"], found["up"], found["pid"], found["backoff"]) == (str(tmp_path / "svc"), True, 77, 4000)
    assert svstat("-o", "up", tmp_path / "svc") == (1, [], f"svstat: warning: {tmp_path}/svc: supervise not running\n")
    code, lines, error = svstat("--json", tmp_path / "svc", tmp_path / "x\udcff")
    assert (code, error) == (1, "")
    assert json.loads(lines[0]) == {"service": str(tmp_path / "svc"), "error": "supervise not running"}
    assert json.loads(lines[1])["service"] == f"{tmp_path}/x\udcff"


def test_what_0_76_tells(tmp_path: Path) -> None:
    with told(tmp_path / "svc", Status(1, 77, False, UP, RUNNING).pack()[:18]):
        (tmp_path / "svc" / "supervise" / "detail").write_bytes(detail.Detail(9, 0, 0, detail.NEEDS).pack())
        assert svstat("-o", "state,ready,waits,starts", tmp_path / "svc")[1] == ["running false - 0"]
        assert svstat("-L", "-o", "up", tmp_path / "svc")[0] == 1


def test_fields_that_are_none() -> None:
    code, lines, error = svstat("-o", "up,nonsense", ".")
    assert (code, lines) == (100, [])
    assert error.startswith("svstat: fatal: no such field: nonsense\nsvstat: fields: up wantedup ")
    usage = "svstat: usage: svstat [-L] [-l] dir [dir ...]\n"
    assert svstat("-o") == (100, [], f"svstat: option requires an argument -- o\n{usage}")
    assert svstat("--json")[0] == 100
