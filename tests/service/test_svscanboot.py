"""svscanboot: the pipeline, what it leaves to see in ps, what it ends before and after."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.service.services import Service, is_gone, leave
from tests.service.test_svscan import supervise_of, supervise_pid
from tests.support import environment, ours, run, wait_for


@contextmanager
def booted(scan: Path, *services: Service, words: tuple[str, ...] | None = None, **env: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        [ours("svscanboot"), *((str(scan),) if words is None else words)],
        env={**environment(), **env},
        start_new_session=True,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        leave(process, list(services))


def children(process: psutil.Process) -> dict[str, psutil.Process]:
    """By the name of the program."""
    found = {}
    for child in process.children():
        try:
            words = [word for word in child.cmdline() if not word.startswith("-")]
        except psutil.Error:  # it has ended meanwhile
            continue
        found[next((os.path.basename(word) for word in words if "python" not in word), "")] = child
    return found


def pipeline(process: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    wait_for(lambda: set(children(process)) == {"svscan", "readproctitle"})
    found = children(process)
    return found["svscan"], found["readproctitle"]


def test_the_pipeline(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    service, logger = Service(scan / "svc"), Service(scan / "svc" / "log", "#!/bin/sh\nexec cat >> logged\n")
    service.script("run", "#!/bin/sh\nenv > .env\nmv .env env.seen\necho complaint >&2\nexec sleep 1000\n")
    with booted(scan, service, logger, NOISE="1") as boot:
        svscan, shower = pipeline(boot)
        pids = service.up(), logger.up()
        wait_for(lambda: shower.cmdline()[-1].endswith("..complaint\n"))
        assert shower.cmdline()[-3:-1] == ["service", "errors:"]
        assert len(shower.cmdline()[-1]) == 400
        seen = dict(line.split("=", 1) for line in service.read("env.seen").splitlines())
        assert set(seen) - {"PWD", "_", "OLDPWD", "SHLVL"} == {"PATH"}
        own = os.path.dirname(os.path.realpath(ours("svscan")))
        assert seen["PATH"] == (f"{own}:/command:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin:/usr/X11R6/bin")
        for process in (svscan, shower, boot):
            assert process.environ().get("NOISE") is None or process == boot
        assert os.readlink(f"/proc/{boot.pid}/fd/1") == os.readlink(f"/proc/{svscan.pid}/fd/0") == "/dev/null"
        (scan / "dangling").symlink_to("nowhere")
        svscan.send_signal(signal.SIGHUP)
        wait_for(lambda: "unable to stat dangling: file does not exist" in shower.cmdline()[-1])
    assert all(map(is_gone, (*pids, svscan.pid, shower.pid)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end(tmp_path: Path, number: int) -> None:
    scan = tmp_path / "scan"
    service = Service(scan / "svc", "#!/bin/sh\ntrap 'echo bye > bye; exit 0' TERM\n: > ready\nwhile :; do sleep 0.05; done\n")
    process = subprocess.Popen([ours("svscanboot"), str(scan)], env=environment(), start_new_session=True)
    try:
        wait_for((service.path / "ready").exists)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert service.lines("bye") == ["bye"]
        assert not service.is_supervised()
    finally:
        leave(process, [service])


def test_what_an_earlier_svscan_left_is_ended_first(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    service, logger = Service(scan / "svc"), Service(scan / "svc" / "log", "#!/bin/sh\nexec cat >> logged\n")
    first = subprocess.Popen([ours("svscan"), str(scan)], env=environment(), start_new_session=True)
    try:
        pids = service.up(), logger.up()
        stale = supervise_pid(service), supervise_pid(logger)
        first.kill()
        first.wait(5)
        with booted(scan, service, logger):
            wait_for(lambda: all(map(is_gone, (*pids, *stale))), 20)
            service.up(pids[0])
            logger.up(pids[1])
            assert supervise_of(service) not in (0, stale[0])
    finally:
        leave(first, [service, logger])


@pytest.mark.parametrize("how", ["argument", "SVDIR"])
def test_where_the_services_are(tmp_path: Path, how: str) -> None:
    scan = tmp_path / "scan"
    service = Service(scan / "svc")
    given = {"SVDIR": str(scan if how == "SVDIR" else tmp_path / "nowhere")}
    with booted(scan, service, words=(str(scan),) if how == "argument" else (), **given):
        service.up()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    done = run([ours("svscanboot"), str(tmp_path / "nowhere")])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_pipeline_is_not_restarted_but_ends_when_all_has_ended(tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    service = Service(scan / "svc")
    with booted(scan, service) as boot:
        svscan, shower = pipeline(boot)
        service.up()
        svscan.kill()
        wait_for(lambda: is_gone(svscan.pid))
        assert shower.is_running()
        service.svc("dx")
        wait_for(lambda: is_gone(boot.pid))
