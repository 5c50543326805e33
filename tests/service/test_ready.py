"""Readiness: a newline on `notification-fd`, or READY=1 to NOTIFY_SOCKET (daemontools 24.3)."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.service.services import Service, supervised
from tests.support import BIN, peer, run, wait_for

WAITS = "#!/bin/sh\nread x < go\nprintf 'starting'>&%d\nread x < go.on\nprintf ' up\\n'>&%d\nexec sleep 1000\n"
NOTIFIER = f"""#!{BIN}/python -IS
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
    channel.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
    open("go").read()
    channel.send(b"STATUS=nearly\\nREADY=0")
    channel.send(os.environb.get(b"WORDS", b"STATUS=here\\nREADY=1\\nMAINPID=1"))
    with open("sent", "w") as sent:
        sent.write("yes")
time.sleep(1000)
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path / "svc")
    os.mkfifo(made.path / "go")
    os.mkfifo(made.path / "go.on")
    return made


def go(service: Service, name: str = "go") -> None:
    with open(service.path / name, "w") as fifo:
        fifo.write("\n")


@pytest.mark.parametrize("number", [3, 9])
def test_a_newline_on_the_descriptor(service: Service, number: int) -> None:
    (service.path / "notification-fd").write_text(f"{number}\n")
    service.script("run", WAITS % (number, number))
    with supervised(service) as supervise:
        pid = service.up()
        assert not service.status().ready
        assert "ready" not in service.svstat()
        go(service)
        go(service, "go.on")
        service.reaches(lambda told: told.ready)
        assert service.svstat().endswith(" seconds, ready\n")
        descriptors = len(os.listdir(f"/proc/{supervise.pid}/fd"))
        os.kill(pid, signal.SIGKILL)
        pid = service.up(pid)
        assert not service.status().ready
        os.kill(pid, signal.SIGKILL)
        service.reaches(lambda told: told.pid == 0)
        assert len(os.listdir(f"/proc/{supervise.pid}/fd")) == descriptors
    assert service.messages() == []


def test_a_service_that_closes_the_descriptor_is_never_ready(service: Service) -> None:
    (service.path / "notification-fd").write_text("4")
    service.script("run", "#!/bin/sh\nread x < go\nexec 4>&-\nexec sleep 1000\n")
    with supervised(service) as supervise:
        service.up()
        descriptors = Path(f"/proc/{supervise.pid}/fd")
        before = len(os.listdir(descriptors))
        go(service)
        wait_for(lambda: len(os.listdir(descriptors)) == before - 1)
        assert not service.status().ready
    assert service.messages() == []


@pytest.mark.parametrize("text", ["", "2", "x", "3 4", "99999999999", "-3"])
def test_a_bad_number_is_said_and_the_service_runs(service: Service, text: str) -> None:
    (service.path / "notification-fd").write_text(text)
    with supervised(service):
        service.up()
    assert service.messages() == [f"supervise: warning: bad value in {service.path}/notification-fd"]


def test_the_datagram_of_systemd(service: Service) -> None:
    (service.path / "notification-socket").touch()
    service.script("run", NOTIFIER)
    with supervised(service):
        pid = service.up()
        go(service)
        service.reaches(lambda told: told.ready)
        os.kill(pid, signal.SIGKILL)
        pid = service.up(pid)
        assert not service.status().ready
        go(service)
        service.reaches(lambda told: told.ready)


def test_other_words_are_not_readiness(service: Service) -> None:
    (service.path / "notification-socket").touch()
    service.script("run", NOTIFIER.replace('b"STATUS=here\\nREADY=1', 'b"XREADY=1'))
    with supervised(service):
        service.up()
        go(service)
        service.read("sent")
        service.svc("p")
        service.reaches(lambda told: told.paused)
        assert not service.status().ready


def test_what_strangers_say_does_not_count(service: Service) -> None:
    (service.path / "notification-socket").touch()
    service.script("run", "#!/bin/sh\necho $NOTIFY_SOCKET > .address\nmv .address address\nexec sleep 1000\n")
    with supervised(service):
        service.up()
        address = "\0" + service.read("address").strip()[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            for garbage in (b"READY=1", b"\xff" * 3000, b""):
                channel.sendto(garbage, address)
        service.svc("p")
        service.reaches(lambda told: told.paused)
        assert not service.status().ready
    assert service.messages() == []


def test_systemd_notify_itself(service: Service) -> None:
    notify = peer("systemd-notify")
    (service.path / "notification-socket").touch()
    service.script("run", f"#!/bin/sh\n{notify} --ready --status=up\nexec sleep 1000\n")
    with supervised(service):
        service.reaches(lambda told: told.ready)


def test_no_file_no_variable(service: Service) -> None:
    service.script("run", "#!/bin/sh\necho x$NOTIFY_SOCKET > .seen\nmv .seen seen\nexec sleep 1000\n")
    with supervised(service):
        assert service.read("seen") == "x\n"


def test_c_svstat_understands_a_ready_service(service: Service) -> None:
    svstat = peer("svstat")
    (service.path / "notification-fd").write_text("3")
    service.script("run", "#!/bin/sh\necho >&3\nexec sleep 1000\n")
    with supervised(service):
        pid = service.reaches(lambda told: told.ready).pid
        done = run([svstat, str(service.path)])
        assert done.stdout.decode().startswith(f"{service.path}: up (pid {pid}) ")
        assert done.stdout.endswith(b" seconds\n")
