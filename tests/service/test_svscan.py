"""svscan with real services."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qserver.service import pair as pair_module
from qserver.service.pair import Half, Service
from qserver.service.scanner import MOST_SERVICES, Scanner
from tests.service.services import RECORDER, SLEEP, facts, is_asleep, is_gone, leave, switches
from tests.service.services import Service as Directory
from tests.support import BIN, environment, ours, run, wait_for

WRITER = f"""#!{BIN}/python -IS
import os, signal
count = 0
def more(number, frame):
    global count
    for _ in range(100):
        count += 1
        os.write(1, b"line %d\\n" % count)
signal.signal(signal.SIGHUP, more)
open("ready", "w").close()
while True:
    signal.pause()
"""
"""Writes a hundred numbered lines at every HUP."""
CAT = "#!/bin/sh\nexec cat >> logged\n"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A directory of services, empty."""
    place = tmp_path / "service"
    place.mkdir()
    return place


@contextmanager
def scanned(
    scan: Path, *services: Directory, env: dict[str, str] | None = None, words: tuple[str, ...] = (), program: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """svscan until the end of the block; its messages go to `../stderr`."""
    with open(scan.parent / "stderr", "ab") as stderr:
        process = subprocess.Popen(
            [program or ours("svscan"), str(scan), *words],
            env=env or environment(),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        leave(process, list(services))


def messages(scan: Path) -> list[str]:
    return (scan.parent / "stderr").read_text().splitlines()


def supervise_of(service: Directory) -> int:
    """The pid of the supervise that holds the service's lock; 0 if none does."""
    inode = f":{(service.path / 'supervise' / 'lock').stat().st_ino} "
    for line in Path("/proc/locks").read_text().splitlines():
        if "FLOCK" in line and inode in line:
            return int(line.split()[4])
    return 0


def supervise_pid(service: Directory, other_than: int = 0) -> int:
    return wait_for(lambda: service.is_supervised() and supervise_of(service) != other_than and supervise_of(service))


def rescan(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGHUP)


def pair(path: Path, run_script: str = WRITER, log_script: str = CAT) -> tuple[Directory, Directory]:
    """A service and its logger."""
    return Directory(path, run_script), Directory(path / "log", log_script)


def test_services_come_and_go(scan: Path) -> None:
    first = Directory(scan / "first")
    hidden = Directory(scan / ".hidden")
    (scan / "file").touch()
    with scanned(scan, first) as process:
        pid = first.up()
        second = Directory(scan.parent / "made" / "second")
        (scan / "link").symlink_to(second.path)
        (scan / "other link").symlink_to(second.path)
        rescan(process)
        second.up()
        assert supervise_of(second)
        assert not hidden.is_supervised()
        first.path = (scan / "first").rename(scan / "renamed")
        rescan(process)
        os.kill(supervise_pid(first), signal.SIGKILL)
        # The new name is the one that is told to the supervise that follows.
        new = supervise_pid(first)
        wait_for(lambda: Path(f"/proc/{new}/cmdline").read_bytes().rstrip(b" \0").replace(b"\0", b" ") == b"supervise renamed")
        assert first.status().pid == pid
        (scan / "link").unlink()
        (scan / "other link").unlink()
        rescan(process)
        second.svc("dx")
        wait_for(lambda: not second.is_supervised())
        rescan(process)
        (scan / "back").symlink_to(second.path)
        rescan(process)
        second.up()
        second.svc("k")
        process.terminate()
        assert process.wait(20) == 0
        assert not first.is_supervised()
        assert not second.is_supervised()
    assert messages(scan) == []


def test_dangling_links_are_a_warning(scan: Path) -> None:
    (scan / "gone").symlink_to("no-such")
    with scanned(scan) as process:
        wait_for(lambda: messages(scan))
        rescan(process)
        wait_for(lambda: len(messages(scan)) == 2)
        assert set(messages(scan)) == {"svscan: warning: unable to stat gone: file does not exist"}


def test_a_directory_that_cannot_be_entered(tmp_path: Path) -> None:
    done = run([ours("svscan"), "no-such"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"svscan: fatal: unable to chdir to no-such: file does not exist\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_that_cannot_be_read(scan: Path) -> None:
    scan.chmod(0o300)
    with scanned(scan):
        wait_for(lambda: messages(scan))
        assert messages(scan)[0] == "svscan: warning: unable to read directory: access denied"
    scan.chmod(0o700)


def test_the_directory_of_services_may_vanish(scan: Path) -> None:
    service = Directory(scan / "svc")
    with scanned(scan, service) as process:
        pid = service.up()
        run(["rm", "-rf", str(scan)])
        rescan(process)
        process.terminate()
        assert process.wait(20) == 0
        assert is_gone(pid)


def test_no_byte_is_lost_whoever_is_killed(scan: Path) -> None:
    service, logger = pair(scan / "svc")
    total = 0

    def more() -> Callable[[], bool]:
        nonlocal total
        total += 100
        service.svc("h")
        return lambda: len(logger.lines("logged")) == total

    with scanned(scan, service, logger) as process:
        wait_for((service.path / "ready").exists)
        wait_for(more())
        for victim in (logger.up(), supervise_pid(logger), supervise_pid(service)):
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: is_gone(victim))  # type: ignore[misc]
            wait_for(service.is_supervised)
            wait_for(more())
        logger.svc("d")
        logger.reaches(lambda told: told.pid == 0)
        more()
        more()
        logger.svc("u")
        wait_for(lambda: len(logger.lines("logged")) == total)
        process.terminate()
        assert process.wait(20) == 0
    assert logger.lines("logged") == [f"line {number}" for number in range(1, total + 1)]
    assert messages(scan) == []


def test_the_logger_reads_to_the_end_before_it_is_ended(scan: Path) -> None:
    slow = "#!/bin/sh\nwhile read line; do echo $line; done >> logged\necho end >> logged\n"
    last_words = "#!/bin/sh\ntrap 'seq 5000; exit' TERM\n: > ready\nwhile :; do sleep 0.05; done\n"
    service, logger = pair(scan / "svc", last_words, slow)
    with scanned(scan, service, logger) as process:
        wait_for((service.path / "ready").exists)
        logger.up()
        process.terminate()
        assert process.wait(20) == 0
    assert [line for line in logger.lines("logged") if line != "end"] == [str(number) for number in range(1, 5001)]
    assert not service.is_supervised()
    assert not logger.is_supervised()


ORDERED = """#!/bin/sh
trap 'echo {name} >> {order}; exit' TERM
: > ready
while :; do sleep 0.02; done
"""


def test_services_end_before_logs_and_the_log_of_svscan_last(scan: Path) -> None:
    order = scan.parent / "order"
    service, logger = pair(scan / "svc", ORDERED.format(name="service", order=order), ORDERED.format(name="log", order=order))
    alone = Directory(scan / "alone", ORDERED.format(name="alone", order=order))
    reader = f"#!/bin/sh\ntrap 'echo svscan >> {order}; exit' TERM\n: > ready\nwhile read x; do echo $x >> said; done\n"
    own = Directory(scan / ".svscan", reader)
    (scan / "gone").symlink_to("no-such")
    with scanned(scan, service, logger, alone, own, words=(".svscan",)) as process:
        for directory in (service, logger, alone, own):
            wait_for((directory.path / "ready").exists)
        wait_for(lambda: len(own.lines("said")) >= 2)
        assert own.lines("said")[:2] == ["svscan: info: starting", "svscan: warning: unable to stat gone: file does not exist"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    *ended, last = order.read_text().split()
    assert last == "svscan"
    assert sorted(ended) == ["alone", "log", "service"]
    assert ended.index("service") < ended.index("log")
    assert messages(scan) == []


def test_a_log_service_that_is_none_is_ignored(scan: Path) -> None:
    (scan / ".svscan").touch()
    service = Directory(scan / "svc")
    for name in (".svscan", ".no-such"):
        with scanned(scan, service, words=(name,)) as process:
            service.up()
            process.terminate()
            assert process.wait(20) == 0
    assert messages(scan) == []


def test_a_supervise_that_is_killed_is_replaced(scan: Path) -> None:
    service = Directory(scan / "svc")
    with scanned(scan, service) as process:
        pid = service.up()
        old = supervise_pid(service)
        descriptors = os.listdir(f"/proc/{process.pid}/fd")
        os.kill(old, signal.SIGKILL)
        new = supervise_pid(service, old)
        assert new != old
        assert service.status().pid == pid
        assert os.listdir(f"/proc/{process.pid}/fd") == descriptors
        service.svc("dx")
        wait_for(lambda: is_gone(pid))
        assert supervise_pid(service, new) != new
        assert service.up() != pid


def test_idle_between_scans(scan: Path) -> None:
    service = Directory(scan / "svc")
    with scanned(scan, service) as process:
        service.up()
        os.kill(supervise_pid(service), signal.SIGKILL)
        service.path.joinpath("supervise/lock").unlink()
        service.path.joinpath("supervise/lock").mkdir()  # the next one cannot start
        wait_for(lambda: messages(scan))
        assert switches(process.pid) < 300  # it sleeps between two attempts
        service.path.joinpath("supervise/lock").rmdir()
        rescan(process)
        wait_for(service.is_supervised)
    assert set(messages(scan)) == {"supervise: fatal: unable to acquire svc/supervise/lock: is a directory"}


def test_no_supervise_to_be_found(scan: Path) -> None:
    pair(scan / "svc")
    with scanned(scan, env={"PATH": "/nonexistent"}) as process:
        wait_for(lambda: len(messages(scan)) == 2)
        assert set(messages(scan)) == {
            "svscan: warning: unable to start supervise svc: file does not exist",
            "svscan: warning: unable to start supervise svc/log: file does not exist",
        }
        process.terminate()
        assert process.wait(20) == 0


FOREIGN = """#!/bin/sh
echo "$0" "$@" in "$(pwd)" >> {log}
for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo fd $fd >> {log}; done
exec sleep 1000
"""


def test_a_supervise_that_is_not_ours(scan: Path) -> None:
    log = scan.parent / "called"
    directory = scan.parent / "bin"
    directory.mkdir()
    (directory / "supervise").write_text(FOREIGN.format(log=log))
    (directory / "supervise").chmod(0o755)
    pair(scan / "svc")
    with scanned(scan, env=environment(PATH=f"{directory}:{BIN}:/usr/bin:/bin")) as process:
        wait_for(lambda: log.exists() and log.read_text().count("\n") == 2)
        process.terminate()
        assert process.wait(20) == 0
    program = directory / "supervise"
    assert sorted(log.read_text().splitlines()) == [f"{program} log in {scan}/svc", f"{program} svc in {scan}"]


def _seen(pid: int, svscan: int) -> dict[str, object]:
    """What tells a process apart: descriptors, signals, umask, directory, identity, place in the tree of processes."""
    wait_for(lambda: is_asleep(pid))
    wanted = ("SigBlk", "SigIgn", "SigCgt", "Umask", "Uid", "Gid", "Groups")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    descriptors = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        flags = next(line for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() if "flags" in line)
        descriptors[int(fd)] = (os.readlink(f"/proc/{pid}/fd/{fd}").partition("[")[0], flags)
    return {
        "status": [line for line in lines if line.partition(":")[0] in wanted],
        "fd": descriptors,
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "parent, group, session": [field == str(svscan) for field in facts(pid)[1:4]],
    }


def test_a_forked_supervise_is_like_one_that_was_executed(tmp_path: Path) -> None:
    look = "env | sort; umask; ls /proc/self/fd; grep ^Sig[BIC] /proc/self/status"
    report = f"#!/bin/sh\n{{ {look}; }} > new\nmv new report\nexec sleep 1000\n"
    seen: dict[str, list[object]] = {}
    for way in ("forked", "executed"):
        scan = tmp_path / "service"
        service, logger = pair(scan / "svc", report, report)
        others = [Directory(scan / f"other{number}") for number in range(3)]
        (scan / "other0" / "log").mkdir()
        env = environment(A="b", **({"QSERVER_EXEC": "1"} if way == "executed" else {}))
        with scanned(scan, service, logger, *others, env=env) as process:
            seen[way] = []
            for directory in (service, logger):
                pid = supervise_pid(directory)
                told = [line for line in directory.read("report").splitlines() if line != "QSERVER_EXEC=1"]
                seen[way] += [_seen(pid, process.pid), told]
                title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").rstrip(b" ")
                assert title == b"supervise " + directory.path.name.encode() if way == "forked" else title
        scan.rename(tmp_path / way)
    assert seen["forked"] == seen["executed"]


def test_memory_of_a_forked_supervise(scan: Path) -> None:
    service = Directory(scan / "svc")
    with scanned(scan, service):
        service.up()
        lines = Path(f"/proc/{supervise_pid(service)}/smaps_rollup").read_text().splitlines()
        private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
        assert private <= 3 * 1024


def test_closed_standard_descriptors(scan: Path) -> None:
    service, logger = pair(scan / "svc", "#!/bin/sh\necho heard\nexec sleep 1000\n")
    script = 'exec "$0" "$1" 0<&- 1>&- 2>&-'
    process = subprocess.Popen(["/bin/sh", "-c", script, ours("svscan"), str(scan)], env=environment(), start_new_session=True)
    try:
        wait_for(lambda: logger.lines("logged") == ["heard"])
    finally:
        leave(process, [service, logger])


def test_names_of_any_bytes(scan: Path) -> None:
    services = [Directory(scan / os.fsdecode(name)) for name in (b"caf\xe9", b"a b\nc", b"-x", b"\xf0\x9f\x90\x8d")]
    with scanned(scan, *services):
        for service in services:
            service.up()


class Quiet(Scanner):
    """A scanner that starts nothing."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        super().__init__(environment())
        self._wake.close()
        self.started: list[str] = []

    def _fork(self, service: Service, half: Half) -> None:
        half.pid = 1
        self.started.append(service.name)


def test_a_thousand_services_and_no_more(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scan)
    for number in range(MOST_SERVICES + 2):
        (scan / f"s{number:04}").mkdir()
    quiet = Quiet()
    quiet.look()
    assert len(set(quiet.started)) == len(quiet.started) == MOST_SERVICES
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    left = {path.name for path in scan.iterdir()} - set(quiet.started)
    assert set(said) == {f"svscan: warning: unable to start {name}: running too many services" for name in left}
    gone = quiet.started[0]
    (scan / gone).rmdir()
    for service in quiet._services.values():
        if service.name == gone:
            service.main.pid = 0
    quiet.look()
    quiet.look()
    assert len(quiet.started) == MOST_SERVICES + 1
    assert quiet.started[-1] in left


def test_names_longer_than_255_bytes_have_no_log(monkeypatch: pytest.MonkeyPatch, scan: Path) -> None:
    (scan / "x" / "log").mkdir(parents=True)
    monkeypatch.chdir(scan)
    assert pair_module.has_log("x") is True
    assert pair_module.has_log("./" * 127 + "x") is True
    assert pair_module.has_log("./" * 127 + "./x") is False
    (scan / "y").mkdir()
    assert pair_module.has_log("y") is False
    (scan / "y" / "log").touch()
    assert pair_module.has_log("y") is False


def test_a_log_that_cannot_be_looked_at_is_tried_again(scan: Path) -> None:
    service = Directory(scan / "svc")
    (scan / "svc" / "log").symlink_to("log")
    with scanned(scan, service) as process:
        wait_for(lambda: messages(scan))
        assert set(messages(scan)) == {"svscan: warning: unable to stat svc/log: symbolic link loop"}
        assert not service.is_supervised()
        (scan / "svc" / "log").unlink()
        rescan(process)
        service.up()


def test_a_service_that_ignores_term_is_waited_for(scan: Path) -> None:
    service = Directory(scan / "svc", RECORDER)
    with scanned(scan, service) as process:
        wait_for(lambda: service.lines("got") == ["ready"])
        pid = service.up()
        process.terminate()
        wait_for(lambda: "SIGTERM" in service.lines("got"))
        assert process.poll() is None
        late = Directory(scan / "late", SLEEP)
        rescan(process)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(20) == 0
        assert not late.path.joinpath("supervise").exists()
