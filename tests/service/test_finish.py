"""`finish`, `timeout-finish`, `timeout-kill`, `flag-timeout-killpg`, `down-signal` (daemontools 24.1, 24.2)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.service.services import NOTIFY, RECORDER, Service, facts, is_gone, supervised
from tests.support import wait_for

FINISH = '#!/bin/sh\necho "$@" >> finished\n'
STUBBORN = "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > child\nwhile :; do wait; done\n"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "svc")


def test_finish_is_told_how_run_ended(service: Service) -> None:
    service.script("finish", FINISH)
    service.script("run", "#!/bin/sh\nread x < go || exit 3\nexec sleep 1000\n")
    os.mkfifo(service.path / "go")
    with supervised(service):
        pid = service.up()
        with open(service.path / "go", "wb"):
            pass  # no line: the service gives up
        wait_for(lambda: service.lines("finished"))
        second = service.up(pid)
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: len(service.lines("finished")) == 2)
    path = str(service.path)
    assert service.lines("finished")[:2] == [f"3 0 {path} {pid}", f"256 9 {path} {second}"]


def test_notify_is_told_of_finish_too(service: Service) -> None:
    service.script("notify", NOTIFY)
    service.script("finish", "#!/bin/sh\nexit 7\n")
    service.script("run", "#!/bin/sh\nexit 1\n")
    (service.path / "down").touch()
    with supervised(service):
        service.svc("o")
        wait_for(lambda: len(service.lines("events")) == 4)
    told = [line.split() for line in service.lines("events")]
    seen = {(script, event, code) for script, event, _, code in told}
    assert seen == {("run", "start", "0"), ("run", "exit", "1"), ("finish", "start", "0"), ("finish", "exit", "7")}
    assert len({pid for script, _, pid, _ in told if script == "finish"}) == 1


def test_while_finish_runs_nothing_runs(service: Service) -> None:
    os.mkfifo(service.path / "go")
    service.script("finish", "#!/bin/sh\nread x < go\n")
    with supervised(service):
        pid = service.up()
        os.kill(pid, signal.SIGTERM)
        service.reaches(lambda told: told.pid == 0)
        service.svc("u")
        assert service.status().pid == 0
        with open(service.path / "go", "w") as go:
            go.write("\n")
        assert service.up(pid)


def test_finish_that_says_no(service: Service) -> None:
    service.script("finish", "#!/bin/sh\nexit 125\n")
    service.script("run", "#!/bin/sh\nexit 0\n")
    with supervised(service):
        told = service.reaches(lambda told: told.state == 5)
        assert (told.pid, chr(told.want)) == (0, "d")
        assert service.svstat().endswith(" seconds, normally up, failed\n")


def test_finish_that_takes_too_long_is_killed(service: Service) -> None:
    (service.path / "timeout-finish").write_text("50\n")
    service.script("finish", "#!/bin/sh\necho $$ >> finishers\nexec sleep 1000\n")
    service.script("notify", NOTIFY)
    with supervised(service):
        pid = service.up()
        os.kill(pid, signal.SIGKILL)
        assert service.up(pid)
        (finisher,) = service.lines("finishers")
        wait_for(lambda: f"finish killed {finisher} 9" in service.lines("events"))


def test_finish_that_cannot_be_executed(service: Service) -> None:
    service.script("finish", "#!/no/such/shell\n")
    with supervised(service):
        pid = service.up()
        os.kill(pid, signal.SIGKILL)
        assert service.up(pid)
    assert service.messages()[0] == f"supervise: fatal: unable to start {service.path}/finish: file does not exist"


def test_without_setsid_the_group_is_that_of_supervise(service: Service) -> None:
    service.script("finish", FINISH)
    (service.path / "no-setsid").touch()
    with supervised(service) as supervise:
        os.kill(service.up(), signal.SIGKILL)
        (line,) = wait_for(lambda: service.lines("finished"))
    assert line == f"256 9 {service.path} {supervise.pid}"


def test_a_service_that_ignores_term_is_killed_in_time(service: Service) -> None:
    (service.path / "timeout-kill").write_text("100\n")
    service.script("run", STUBBORN)
    with supervised(service):
        pid = service.up()
        child = int(service.read("child"))
        service.svc("d")
        service.reaches(lambda told: told.pid == 0 and told.state == 0)
        assert is_gone(pid)
        assert not is_gone(child)
        os.kill(child, signal.SIGKILL)


def test_and_its_group_if_that_is_asked_for(service: Service) -> None:
    (service.path / "timeout-kill").write_text("100\n")
    (service.path / "flag-timeout-killpg").touch()
    service.script("run", STUBBORN)
    with supervised(service):
        service.up()
        child = int(service.read("child"))
        service.svc("d")
        wait_for(lambda: is_gone(child))


@pytest.mark.parametrize("text", ["", "0\n"])
def test_no_time_out_means_never(service: Service, text: str) -> None:
    if text:
        (service.path / "timeout-kill").write_text(text)
    service.script("run", RECORDER)
    with supervised(service):
        service.up()
        wait_for(lambda: "ready" in service.lines("got"))
        service.svc("d")
        wait_for(lambda: "CONT" in "".join(service.lines("got")))
        assert service.status().pid


@pytest.mark.parametrize(
    ("text", "name"),
    [("HUP\n", "SIGHUP"), ("sigusr1", "SIGUSR1"), ("SIGINT", "SIGINT"), ("3\n", "SIGQUIT"), ("nonsense\n", "SIGTERM"),
     ("0\n", "SIGTERM"), ("99999\n", "SIGTERM"), ("HUP INT\n", "SIGTERM"), ("\n", "SIGTERM")],
)  # fmt: skip
def test_the_signal_of_down(service: Service, text: str, name: str) -> None:
    (service.path / "down-signal").write_text(text)
    service.script("run", RECORDER)
    with supervised(service):
        service.up()
        wait_for(lambda: "ready" in service.lines("got"))
        service.svc("d")
        wait_for(lambda: {name, "SIGCONT"} <= set(service.lines("got")))
        assert {"ready", name, "SIGCONT"} == set(service.lines("got"))
        said = service.messages()
    wrong = name == "SIGTERM" and text.strip()
    assert said == ([f"supervise: warning: bad value in {service.path}/down-signal"] if wrong else [])


def test_a_setting_that_cannot_be_read(service: Service) -> None:
    (service.path / "timeout-kill").mkdir()
    with supervised(service):
        service.up()
        service.svc("d")
        service.reaches(lambda told: told.pid == 0)
    assert service.messages() == [f"supervise: warning: unable to read {service.path}/timeout-kill: is a directory"]


def test_finish_leads_a_session_of_its_own(service: Service) -> None:
    service.script("finish", "#!/bin/sh\necho $$ > pid\nexec sleep 1000\n")
    with supervised(service):
        os.kill(service.up(), signal.SIGKILL)
        pid = int(service.read("pid"))
        assert facts(pid)[3] == str(pid)
        os.kill(pid, signal.SIGKILL)
