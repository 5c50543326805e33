"""kill -9 of whatever holds a service together, and rubbish in all of its files."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from qserver.base import tai64n
from qserver.service import detail
from tests.service.services import WHO, Service, is_gone, program, supervised
from tests.service.test_svscan import messages, pair, scanned, supervise_of, supervise_pid
from tests.support import ours, run, wait_for

MULTILOG = f"#!/bin/sh\nexec {ours('multilog')} ./main\n"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    place = tmp_path / "service"
    place.mkdir()
    return place


def logged(logger: Service) -> list[bytes]:
    """All lines in the log directory, oldest file first."""
    files = [*sorted((logger.path / "main").glob("@*")), logger.path / "main" / "current"]
    try:
        return [line for file in files if file.exists() for line in file.read_bytes().splitlines()]
    except FileNotFoundError:  # renamed under our eyes: another look will do
        return []


def lines(first: int, last: int) -> list[bytes]:
    return [b"line %d" % number for number in range(first, last + 1)]


def test_svscan_is_killed_and_what_it_started_lives_on(scan: Path) -> None:
    service, logger = pair(scan / "svc", log_script=MULTILOG)
    with scanned(scan, service, logger) as first:
        wait_for((service.path / "ready").exists)
        pids = service.up(), logger.up()
        first.kill()
        first.wait(5)
        service.svc("h")
        wait_for(lambda: logged(logger) == lines(1, 100))
        assert (service.up(), logger.up()) == pids
        held = supervise_of(service)
        with scanned(scan, service, logger) as second:
            locked = "supervise: fatal: unable to acquire svc/supervise/lock: temporary failure"
            wait_for(lambda: locked in messages(scan))
            assert supervise_of(service) == held
            (service.path / "ready").unlink()
            for directory in (service, logger):
                directory.svc("dx")
            for pid in pids:
                wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
            service.reaches(lambda told: told.pid not in (0, pids[0]))
            logger.up(pids[1])
            wait_for((service.path / "ready").exists)
            service.svc("h")
            wait_for(lambda: logged(logger) == lines(1, 100) + lines(1, 100))
            second.terminate()
            assert second.wait(20) == 0
    assert set(messages(scan)) <= {locked, locked.replace("svc/", "log/")}


def test_both_ends_of_a_log_pipe_are_killed(scan: Path) -> None:
    """What the dead service wrote, and nobody had read, is there for the next logger."""
    service, logger = pair(scan / "svc", log_script=MULTILOG)
    with scanned(scan, service, logger) as process:
        wait_for((service.path / "ready").exists)
        logger.svc("d")
        logger.reaches(lambda told: told.pid == 0)
        service.svc("h")
        writer = service.up()
        wait_for(lambda: (service.path / "wrote").exists() or unread(process.pid) >= len(b"line 100\n"))
        for pid in (writer, supervise_pid(service), supervise_pid(logger)):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: supervise_of(logger) and logger.up())
        wait_for(lambda: logged(logger)[:100] == lines(1, 100))
        process.terminate()
        assert process.wait(20) == 0


def unread(svscan: int) -> int:
    """Bytes in the pipe of svscan that holds most."""
    import fcntl

    most = 0
    for name in os.listdir(f"/proc/{svscan}/fd"):
        path = f"/proc/{svscan}/fd/{name}"
        if os.readlink(path).startswith("pipe:"):
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                most = max(most, int.from_bytes(fcntl.ioctl(fd, 0x541B, bytes(4)), "little"))
            finally:
                os.close(fd)
    return most


def test_a_logger_is_killed_while_much_is_written(scan: Path) -> None:
    """Lines may be lost only with the logger that had read them; none twice, none broken, all others in order."""
    flood = "#!/bin/sh\nexec seq -f 'line %.0f' 1 200000\n"
    service, logger = pair(scan / "svc", flood, MULTILOG)
    (service.path / "down").touch()
    with scanned(scan, service, logger) as process:
        service.reaches(lambda told: told.want)
        pid = logger.up()
        service.svc("o")
        for _ in range(3):
            wait_for(lambda: logged(logger))
            os.kill(pid, signal.SIGKILL)
            pid = logger.up(pid)
        wait_for(lambda: logged(logger)[-1:] == [b"line 200000"], 30)
        process.terminate()
        assert process.wait(20) == 0
    numbers = [int(line.split()[1]) for line in logged(logger) if line.startswith(b"line ")]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("seed", range(3))
def test_rubbish_in_every_file_of_a_running_service(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    service = Service(tmp_path / "svc")
    with supervised(service):
        service.up()
        place = service.path / "supervise"
        for name in ("status", "detail"):
            (place / name).write_bytes(chance.randbytes(chance.choice([0, 5, 17, 18, 19, 20, 32, 39, 40, 5000])))
        for words in (["svstat"], ["svok"], ["svup"], ["svstat", "-o", "up,pid,state,updownsince"], ["svstat", "--json"],
                      ["svwait", "-t", "200"], ["svtop", "--once"]):  # fmt: skip
            done = run([ours(words[0]), *words[1:], str(service.path)])
            assert b"Traceback" not in done.stderr + done.stdout, words
            assert b"internal bug" not in done.stderr, words
            assert done.returncode in (0, 1, 99, 100, 111), words
        with open(place / "control", "wb") as control:
            control.write(bytes(byte for byte in chance.randbytes(4000) if byte not in b"dxkiqt12hawp"))
            control.write(b"u")
        pid = service.up()
        service.svc("t")
        assert service.up(pid)
        with open(place / "ok", "r+b", buffering=0) as ok:
            ok.write(chance.randbytes(100))
        assert service.is_supervised()


def test_clocks_that_jump(tmp_path: Path) -> None:
    """A status from the future counts as now, one from the distant past as old."""
    service = Service(tmp_path / "svc")
    with supervised(service):
        service.up()
        data = bytearray((service.path / "supervise" / "status").read_bytes())
        for when, seconds in ((2**64 - 1, "0"), (0, str(4611686018427387914)[:4])):
            data[:8] = when.to_bytes(8, "big")
            (service.path / "supervise" / "status").write_bytes(data)
            assert f" {seconds}" in service.svstat().replace("(pid", "")
        assert tai64n.pack(0)[:8] == (2**62 + 10).to_bytes(8, "big")


@pytest.mark.parametrize("who", WHO)
def test_a_service_directory_that_is_replaced(scan: Path, who: str) -> None:
    """The old one goes on, the new one is started beside it, whoever asks."""
    service = Service(scan / "svc")
    with scanned(scan, service, env=None):
        pid = service.up()
        (scan / "svc").rename(scan / ".old")
        old = Service.__new__(Service)
        old.path = scan / ".old"
        fresh = Service(scan / "svc")
        fresh_pid = fresh.up()
        assert fresh_pid != pid
        assert old.status().pid == pid
        done = run([program(who, "svc"), "-dx", str(old.path)])
        assert done.returncode == 0
        wait_for(lambda: is_gone(pid))
        assert fresh.status().pid == fresh_pid


def test_a_detail_file_that_cannot_be_made(tmp_path: Path) -> None:
    service = Service(tmp_path / "svc")
    (service.path / "supervise").mkdir()
    (service.path / "supervise" / "detail").mkdir()
    with supervised(service):
        service.up()
        assert detail.read(str(service.path / "supervise")) is None
    path = service.path / "supervise" / "detail"
    assert service.messages() == [f"supervise: warning: unable to open {path} for writing: is a directory"]
