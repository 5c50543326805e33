"""What a server does before it forks, with a visitor who is not there: nobody else may notice."""

from __future__ import annotations

import ast
import os
import sysconfig
from pathlib import Path

import pytest

from qserver.net.options import Options
from qserver.net.rehearsal import TIMES, _tame
from tests.net.server import Server
from tests.support import BIN, ROOT, spawn

MODULE = """
import os, signal
SEEN = []
def serve(argv, env, connection):
    what = connection.read(100).decode().strip()
    if what != "clean":
        SEEN.append((what, sorted(env)))
        os.write(2, b"noise\\n")
        os.umask(0); os.chdir("/"); env["LEFT"] = "1"; signal.alarm(2); argv.append("x")
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, lambda *_: None)
    if what == "bug":
        raise ZeroDivisionError("a bug")
    if what == "die":
        from qserver.base.errors import Die
        raise Die("famous last words", 103)
    if what == "gone":
        raise ConnectionResetError
    mask = os.umask(0); os.umask(mask)
    handlers = [str(signal.getsignal(number)) for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
    state = [mask, os.getcwd(), env.get("LEFT"), signal.alarm(0), len(argv), handlers]
    connection.write(repr((state, SEEN, len(os.listdir("/proc/self/fd")))).encode())
    return 3
"""
MASTER = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
sys.path.append({site!r})
import probe
from qserver.net import bindings, options, pool
from qserver.net.programs import Called
asked = options.parse(["tcpserver", *sys.argv[1:]], {{}})
listener, _ = bindings.listen("tcpserver", asked, 0, {{}})
print(listener.port, flush=True)
env = {{"PATH": "/bin", "QMAILHOME": "/home", "SECRET": "1", "RELAYCLIENT": ""}}
sys.exit(pool.serve("tcpserver", asked, env, [listener], Called(["probe"], probe.serve, (), {words!r})))
"""


def serve_once(tmp_path: Path, words: bytes) -> tuple[object, object, int, int, list[str]]:
    """What a session finds, what was rehearsed, the worker's and the master's descriptors, and the log."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "probe.py").write_text(MODULE)
    code = MASTER.format(root=str(ROOT), here=str(tmp_path), site=sysconfig.get_path("purelib"), words=words)
    argv, log = [str(BIN / "python"), "-IS", "-c", code, "-vRHl0", "-c1", "127.0.0.1", "0", "probe"], tmp_path / "log"
    with log.open("wb") as file, spawn(argv, stderr=file, cwd="/tmp") as process:
        assert process.stdout is not None
        server = Server(process, int(process.stdout.readline()), log)
        state, seen, fds = ast.literal_eval(server.talk(b"clean").decode())
        server.wait_line(r"end \d+ status 768")
        masters = len(os.listdir(f"/proc/{process.pid}/fd"))
        assert len(server.workers()) == 1
        server.wait_line("status: 0/1", 2)
        return state, seen, fds, masters, [line.split()[1] for line in server.lines()]


@pytest.mark.parametrize("what", ["foul", "bug", "die", "gone"])
def test_a_rehearsal_leaves_nothing(tmp_path: Path, what: str) -> None:
    usual = serve_once(tmp_path / "usual", b"")
    assert usual[1] == []
    rehearsed = serve_once(tmp_path / "rehearsed", what.encode())
    assert rehearsed[1] == [(what, ["PATH", "PROTO", "QMAILHOME", *CONNECTION])] * TIMES
    assert (rehearsed[0], *rehearsed[2:]) == (usual[0], *usual[2:])


CONNECTION = ["TCPLOCALHOST", "TCPLOCALIP", "TCPLOCALPORT", "TCPREMOTEIP", "TCPREMOTEPORT"]


def test_nobody_is_asked_and_nothing_waits() -> None:
    options = Options()
    options.names, options.info, options.proxy, options.rules, options.banner = True, True, True, "rules.cdb", b"hello"
    options.most_per_address, options.limit = 3, 17
    tame = _tame(options)
    assert not tame.blocking_look_ups()
    assert not tame.counts_addresses()
    assert (tame.rules, tame.ip_rules, tame.banner, tame.limit) == (None, None, b"", 17)
    assert (options.names, options.rules, options.banner) == (True, "rules.cdb", b"hello")
