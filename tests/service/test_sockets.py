"""Sockets that outlive a service: from its file `socket`, and from systemd by way of svscan or supervise."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qserver.service import sockets
from tests.service.services import Service, is_gone, supervised
from tests.service.test_svscan import scanned
from tests.support import BIN, environment, ours, peer, wait_for

GREETER = f"""#!{BIN}/python -IS
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
names = os.environ["LISTEN_FDNAMES"].split(":")
listening = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
with open(".here", "w") as here:
    here.write(" ".join(names) + "\\n")
    for one in listening:
        address = one.getsockname()
        here.write(f"{{one.family.name}} {{one.type.name}} {{address[1] if isinstance(address, tuple) else address}}\\n")
os.rename(".here", "here")
assert not os.path.exists("silent")
while True:
    client, _ = listening[0].accept()
    client.sendall(f"{{os.getpid()}}\\n".encode())
    client.close()
"""
"""Says its pid to whoever calls on its first socket, if it is not silent."""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "svc", GREETER)


def call(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        return int(client.makefile().readline())


def kill(pid: int) -> None:
    """It is gone when this returns, and accepts nothing more."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))


def port_of(service: Service, line: int = 0) -> int:
    return int(service.read("here").splitlines()[1 + line].split()[2])


def test_the_backlog_outlives_the_service(service: Service) -> None:
    (service.path / "socket").write_text("# where it listens\ntcp 127.0.0.1 0 name=greeter\n")
    with supervised(service):
        pid = service.up()
        port = port_of(service)
        assert call(port) == pid
        service.svc("d")
        service.reaches(lambda told: told.pid == 0)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as waiting:
            service.svc("u")
            assert int(waiting.makefile().readline()) == service.up()
        kill(service.up())
        assert call(port) == service.up()
    assert service.read("here").splitlines()[0] == "greeter"
    assert service.messages() == []
    with pytest.raises(ConnectionRefusedError):
        call(port)


def test_all_kinds_in_their_order(service: Service) -> None:
    (service.path / "socket").write_text(
        "tcp 127.0.0.1 0 backlog=5\nudp 0 0 name=dns\nunix here.sock mode=600 name=u\nunixgram gram.sock\n"
    )
    with supervised(service):
        service.up()
        lines = service.read("here").splitlines()
        assert lines[0] == "unknown:dns:u:unknown".replace(":", " ")
        assert [line.split()[:2] for line in lines[1:]] == [
            ["AF_INET", "SOCK_STREAM"], ["AF_INET", "SOCK_DGRAM"], ["AF_UNIX", "SOCK_STREAM"], ["AF_UNIX", "SOCK_DGRAM"],
        ]  # fmt: skip
        assert [line.split()[2] for line in lines[3:]] == ["here.sock", "gram.sock"]
        assert (service.path / "here.sock").stat().st_mode & 0o777 == 0o600
        assert (service.path / "gram.sock").stat().st_mode & 0o777 == 0o666
        service.svc("dx")
        wait_for(lambda: not (service.path / "here.sock").exists() and not (service.path / "gram.sock").exists())


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(service: Service) -> None:
    place = service.path / "s"
    (service.path / "socket").write_text("unix s\n")
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(place))
        live.listen()
        with supervised(service):
            words = f"supervise: fatal: unable to start {service.path}/run: unable to listen on unix s: address already used"
            wait_for(lambda: words in service.messages())
            live.close()
            service.up()


@pytest.mark.parametrize(
    "line",
    ["tcp 127.0.0.1", "tcp", "sctp 127.0.0.1 1", "tcp 127.0.0.1 1 name", "tcp 127.0.0.1 1 x=y", "tcp 0 1 backlog=z",
     "unix", "unix a b", "unix a mode=9", "udp 0 1 name=a:b"],
)  # fmt: skip
def test_a_bad_line_is_said(service: Service, line: str) -> None:
    (service.path / "socket").write_text(f"{line}\n")
    words = f"supervise: fatal: unable to start {service.path}/run: bad line in socket: {line}"
    with supervised(service):
        wait_for(lambda: words in service.messages())
        (service.path / "socket").write_text("tcp 127.0.0.1 0\n")
        service.up()


@pytest.mark.parametrize("address", ["tcp 127.0.0.1 65536", "tcp 127.0.0.1 no-such-service", "tcp 300.0.0.1 1",
                                     "unix no/such/directory"])  # fmt: skip
def test_an_address_that_is_none(service: Service, address: str) -> None:
    (service.path / "socket").write_text(f"{address}\n")
    words = f"supervise: fatal: unable to start {service.path}/run: unable to listen on {address}: "
    with supervised(service) as supervise:
        wait_for(lambda: any(message.startswith(words) for message in service.messages()))
        service.svc("dx")
        assert supervise.wait(10) == 0


def test_a_port_in_use_is_waited_for(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (service.path / "socket").write_text(f"tcp 127.0.0.1 {port}\n")
        with supervised(service):
            wait_for(lambda: service.messages())
            other.close()
            pid = service.up()
            assert call(port) == pid


def test_with_a_way_to_be_ready(service: Service) -> None:
    (service.path / "socket").write_text("tcp 127.0.0.1 0\n")
    (service.path / "notification-fd").write_text("7\n")
    service.script("run", "#!/bin/sh\nreadlink /proc/$$/fd/3 > .three\nmv .three three\necho >&7\nexec sleep 1000\n")
    with supervised(service):
        service.reaches(lambda told: told.ready)
        assert service.read("three").startswith("socket:")


def test_one_descriptor_cannot_be_both(service: Service) -> None:
    (service.path / "socket").write_text("tcp 127.0.0.1 0\n")
    (service.path / "notification-fd").write_text("3\n")
    with supervised(service):
        assert call(port_of(service)) == service.up()
    assert service.messages() == [f"supervise: warning: {service.path}/notification-fd is the descriptor of a socket"]


def test_other_scripts_get_no_socket(service: Service) -> None:
    (service.path / "socket").write_text("tcp 127.0.0.1 0\n")
    script = "#!/bin/sh\nreadlink /proc/$$/fd/* > .{0}\necho x$LISTEN_FDS >> .{0}\nmv .{0} {0}.seen\n"
    for name in ("start", "finish", "stop"):
        service.script(name, script.format(name))
    with supervised(service):
        service.up()
        service.read("here")
        service.svc("d")
        for name in ("start", "finish", "stop"):
            seen = service.read(f"{name}.seen")
            assert seen.endswith("\nx\n"), name
            assert "socket:" not in seen, name


# Handed over


@pytest.fixture
def handed() -> Iterator[list[socket.socket]]:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield made
    for one in made:
        one.close()


def launch(handed: list[socket.socket], words: list[str], env: dict[str, str], stderr: Path) -> subprocess.Popen[bytes]:
    """Start a program as systemd does: the sockets from descriptor 3 on, LISTEN_PID its own."""
    moved = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in handed]
    shuffle = "".join(f"{3 + n}<&{fd} {fd}<&- " for n, fd in enumerate(moved))
    line = f'exec {shuffle}; export LISTEN_FDS={len(handed)} LISTEN_PID=$$; exec "$@"'
    with open(stderr, "ab") as messages:
        process = subprocess.Popen(
            ["/bin/bash", "-c", line, "bash", *words],
            env={**environment(), **env},
            pass_fds=moved,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            start_new_session=True,
        )
    for fd in moved:
        os.close(fd)
    return process


def test_supervise_passes_on_what_systemd_hands_it(service: Service, handed: list[socket.socket], tmp_path: Path) -> None:
    (service.path / "socket").write_text("tcp 127.0.0.1 0 name=mine\n")
    process = launch(handed[:2], [ours("supervise"), str(service.path)], {"LISTEN_FDNAMES": "smtp"}, tmp_path / "stderr")
    try:
        assert call(handed[0].getsockname()[1]) == service.up()
        lines = service.read("here").splitlines()
        assert lines[0] == "smtp unknown mine"
        assert [port_of(service, n) for n in range(2)] == [one.getsockname()[1] for one in handed[:2]]
        kill(service.up())
        assert call(handed[0].getsockname()[1]) == service.up()
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert service.messages() == []


def test_svscan_gives_each_service_the_sockets_of_its_name(tmp_path: Path, handed: list[socket.socket]) -> None:
    scan = tmp_path / "scan"
    web, mail, none = (Service(scan / name, GREETER) for name in ("web", "mail", "none"))
    Service(scan / "web" / "log", "#!/bin/sh\nexec cat > /dev/null\n")
    none.script("run", "#!/bin/sh\nreadlink /proc/$$/fd/* > .fds\necho x$LISTEN_FDS >> .fds\nmv .fds fds\nexec sleep 1000\n")
    process = launch(handed, [ours("svscan"), str(scan)], {"LISTEN_FDNAMES": "mail:web:mail"}, tmp_path / "stderr")
    try:
        ports = [one.getsockname()[1] for one in handed]
        assert call(ports[1]) == web.up()
        assert call(ports[0]) == mail.up()
        assert [port_of(mail, 0), port_of(mail, 1)] == [ports[0], ports[2]]
        assert none.read("fds").endswith("\nx\n")
        assert "socket:" not in none.read("fds")
        for pid in [web.up(), *supervise_pids(process.pid)]:
            kill(pid)
        wait_for(lambda: web.is_supervised())
        assert call(ports[1]) == web.up()
    finally:
        process.terminate()
        assert process.wait(20) == 0


def supervise_pids(svscan: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{svscan}/task/{svscan}/children").read_text().split()][:1]


def test_systemd_socket_activate_itself(service: Service, tmp_path: Path) -> None:
    activate = peer("systemd-socket-activate")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(tmp_path / "stderr", "wb") as messages:
        process = subprocess.Popen(
            [activate, "-l", f"127.0.0.1:{port}", "--fdname=greeter", ours("supervise"), str(service.path)],
            env=environment(), stderr=messages, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: b"Listening" in (tmp_path / "stderr").read_bytes())
        assert call(port) == service.up()
        assert service.read("here").splitlines()[0] == "greeter"
    finally:
        process.terminate()
        process.wait(10)


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    assert sockets.inherited({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == []
    assert sockets.inherited({"LISTEN_FDS": "1000000", "LISTEN_PID": str(os.getpid())}) == []
    assert sockets.inherited({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}) == []
    assert sockets.inherited({}) == []


def test_nothing_of_svscan_changes_where_nothing_is_handed(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    service = Service(scan / "svc", "#!/bin/sh\necho $LISTEN_FDS $LISTEN_PID > .env\nmv .env env.seen\nexec sleep 1000\n")
    with scanned(scan, service, env={**environment(), "LISTEN_FDS": "2", "LISTEN_PID": "1"}):
        assert service.read("env.seen") == "2 1\n"
