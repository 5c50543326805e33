"""`needs`: what must be ready first; circles. And `backoff`: patience with what keeps dying young."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from qserver.service import detail, settings
from qserver.service.backoff import Backoff
from tests.service.services import Service, supervised
from tests.service.test_svscan import scanned
from tests.support import wait_for


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """Where the services are."""
    place = tmp_path / "scan"
    place.mkdir()
    return place


def waits(service: Service) -> int:
    found = detail.read(str(service.path / "supervise"))
    return 0 if found is None else found.waits


def test_a_service_waits_until_what_it_needs_is_up(scan: Path) -> None:
    web, data = Service(scan / "web"), Service(scan / "data")
    (web.path / "needs").write_text("# first of all\n\n data \n")
    (data.path / "down").touch()
    with supervised(web, name="web"), supervised(data):
        wait_for(lambda: waits(web) == detail.NEEDS)
        assert web.status().pid == 0
        data.svc("u")
        web.up()
        assert waits(web) == 0
        data.svc("d")
        data.reaches(lambda told: told.pid == 0)
        assert web.status().pid, "what runs is left alone"


def test_up_is_not_ready(scan: Path) -> None:
    web, data = Service(scan / "web"), Service(scan / "data", "#!/bin/sh\nread x < go\necho >&5\nexec sleep 1000\n")
    os.mkfifo(data.path / "go")
    (data.path / "notification-fd").write_text("5")
    (web.path / "needs").write_text("data")
    with supervised(data), supervised(web, name="web"):
        data.up()
        wait_for(lambda: waits(web) == detail.NEEDS)
        with open(data.path / "go", "w") as go:
            go.write("\n")
        web.up()
        assert data.status().ready


def test_what_start_alone_has_set_up_is_ready(scan: Path) -> None:
    web, net = Service(scan / "web"), Service(scan / "net", None)
    net.script("start", "#!/bin/sh\nexit 0\n")
    (web.path / "needs").write_text("net\n")
    with supervised(web, name="web"), supervised(net):
        web.up()


def test_a_need_by_its_path(scan: Path, tmp_path: Path) -> None:
    web, data = Service(scan / "web"), Service(tmp_path / "elsewhere")
    (web.path / "needs").write_text(f"{data.path}\n")
    with supervised(web, name="web"):
        wait_for(lambda: waits(web) == detail.NEEDS)
        with supervised(data):
            web.up()


def test_given_up_while_waiting(scan: Path) -> None:
    web = Service(scan / "web")
    (web.path / "needs").write_text("none\n")
    with supervised(web, name="web") as supervise:
        wait_for(lambda: waits(web) == detail.NEEDS)
        web.svc("dx")
        assert supervise.wait(10) == 0
        assert waits(web) == 0
    assert web.messages() == ["supervise: warning: web needs none, which is no service"]


def test_circles_are_said(scan: Path) -> None:
    services = {name: Service(scan / name) for name in ("a", "b", "c", "lone")}
    for name, needed in (("a", "b"), ("b", "lone\nc"), ("c", "a"), ("lone", "lone")):
        (services[name].path / "needs").write_text(f"{needed}\n")
    with supervised(services["a"], name="a"), supervised(services["lone"], name="lone"):
        for name in ("a", "lone"):
            assert services[name].reaches(lambda told: told.state == 5).pid == 0
        assert sorted(services["a"].messages()) == [
            "supervise: warning: unable to start a: it needs itself: a -> b -> c -> a",
            "supervise: warning: unable to start lone: it needs itself: lone -> lone",
        ]
        (services["a"].path / "needs").unlink()
        services["a"].svc("u")
        services["a"].up()


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"x" * 100_000, b"x\0y\n", b"../../../..\n"])
def test_garbage_as_needs(scan: Path, content: bytes) -> None:
    web = Service(scan / "web")
    (web.path / "needs").write_bytes(content)
    with supervised(web, name="web") as supervise:
        wait_for(lambda: waits(web) == detail.NEEDS)
        web.svc("dx")
        assert supervise.wait(10) == 0


def test_svscan_starts_in_the_order_of_needs(scan: Path) -> None:
    order = scan.parent / "order"
    services = [Service(scan / name, f"#!/bin/sh\necho {name} >> {order}\nexec sleep 1000\n") for name in "abc"]
    (scan / "a" / "needs").write_text("b")
    (scan / "b" / "needs").write_text("c")
    with scanned(scan, *services):
        wait_for(lambda: order.exists() and order.read_text() == "c\nb\na\n")


# backoff


def test_every_death_doubles_the_pause() -> None:
    backoff = Backoff()
    assert [backoff.after(0.1, 60, 10) for _ in range(9)] == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.after(10, 60, 10) == 0
    assert [backoff.after(9.9, 3, 10) for _ in range(4)] == [0, 2, 3, 3]
    backoff.forget()
    assert backoff.after(1, 3, 10) == 0
    for _ in range(2000):
        assert backoff.after(0, 5, 10) <= 5


@pytest.mark.parametrize(
    ("text", "value", "warned"),
    [("", (60000, 10000), False), ("5000", (5000, 10000), False), ("5000 200\n", (5000, 200), False), ("0 0", (0, 0), False),
     ("x", (60000, 10000), True), ("1 2 3", (60000, 10000), True), ("-1", (60000, 10000), True)],
)  # fmt: skip
def test_what_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    text: str, value: tuple[int, int], warned: bool,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert settings.backoff("svc") is None
    Path("backoff").write_text(text)
    assert settings.backoff("svc") == value
    assert capfd.readouterr().err == ("supervise: warning: bad value in svc/backoff\n" if warned else "")


def test_a_service_that_keeps_dying_young(scan: Path) -> None:
    service = Service(scan / "svc", "#!/bin/sh\nexit 1\n")
    (service.path / "backoff").write_text("700000\n")
    with supervised(service):
        wait_for(lambda: waits(service) == detail.BACKOFF)
        told = detail.read(str(service.path / "supervise"))
        assert told is not None
        assert (told.pause, told.starts, told.code, told.signal) == (2000, 2, 1, 0)
        assert service.svstat().endswith(", normally up, want up, backing off 2 seconds\n")
        before = told.starts
        service.svc("u")  # no grudge
        wait_for(lambda: (found := detail.read(str(service.path / "supervise"))) and found.starts > before)
        service.script("run", "#!/bin/sh\nexec sleep 1000\n")
        service.svc("u")
        service.up()
        assert waits(service) == 0
        service.svc("d")
        service.reaches(lambda told: told.pid == 0)
        assert "backing" not in service.svstat()


def test_exit_does_not_wait_for_the_pause(scan: Path) -> None:
    service = Service(scan / "svc", "#!/bin/sh\nexit 1\n")
    (service.path / "backoff").write_text("")
    with supervised(service) as supervise:
        wait_for(lambda: waits(service) == detail.BACKOFF)
        service.svc("x")
        assert supervise.wait(10) == 0


def test_the_last_end_is_told(scan: Path) -> None:
    service = Service(scan / "svc")
    with supervised(service):
        pid = service.up()
        os.kill(pid, signal.SIGUSR1)
        service.up(pid)
        told = detail.read(str(service.path / "supervise"))
        assert told is not None
        assert (told.starts, told.code, told.signal) == (2, 256, signal.SIGUSR1)
