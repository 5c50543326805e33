"""Debian's daemontools and ours on the same service directories, in both directions."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.services import RECORDER, SLEEP, WHO, Service, is_gone, program, supervised
from tests.service.test_svscan import CAT, messages, pair, scanned, supervise_of
from tests.support import BIN, environment, peer, run, wait_for

BRIEF = "#!/bin/sh\nexit 0\n"


def both_say(service: Service, ending: str) -> None:
    """C's svstat and ours print the same line (in the same second), and it ends like this."""
    said: list[str] = []

    def same() -> bool:
        said[:] = [service.svstat(who) for who in WHO]
        return said[0] == said[1] and said[0].endswith(f" seconds{ending}\n")

    wait_for(same)


STATES: dict[str, tuple[str, bool, str, str, str]] = {
    # state: run, down file, letters sent, how the line begins and ends
    "up": (SLEEP, False, "", "up (pid ", ""),
    "paused": (SLEEP, False, "p", "up (pid ", ", paused"),
    "up, normally down": (SLEEP, True, "u", "up (pid ", ", normally down"),
    "paused, normally down": (SLEEP, True, "up", "up (pid ", ", normally down, paused"),
    "down, normally up": (SLEEP, False, "d", "down ", ", normally up"),
    "down": (SLEEP, True, "", "down ", ""),
    "once": (SLEEP, True, "o", "up (pid ", ", normally down"),
    "once from up": (SLEEP, False, "o", "up (pid ", ""),
    "once and over": (BRIEF, True, "o", "down ", ""),
    "want down": (RECORDER, False, "d", "up (pid ", ", want down"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("who", WHO)
def test_both_svstats_in_every_state(tmp_path: Path, who: str, state: str) -> None:
    script, down, letters, begin, end = STATES[state]
    service = Service(tmp_path / "svc", script)
    if down:
        (service.path / "down").touch()
    with supervised(service, who):
        if not down:
            service.up()
        if script == RECORDER:
            wait_for(lambda: service.lines("got"))
        if letters:
            service.svc(letters, "theirs" if who == "ours" else "ours")
        wait_for(lambda: service.svstat().startswith(begin))
        both_say(service, end)


def test_a_service_between_two_starts(tmp_path: Path) -> None:
    """It ends at once, and waits for its second. (C's supervise sleeps then and still shows the process.)"""
    service = Service(tmp_path / "svc", BRIEF)
    with supervised(service):
        wait_for(lambda: all(service.svstat(one) == "down 0 seconds, normally up, want up\n" for one in WHO))


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("sender", WHO)
def test_each_svc_and_each_supervise(tmp_path: Path, who: str, sender: str) -> None:
    service = Service(tmp_path / "svc", RECORDER)
    with supervised(service, who) as supervise:
        wait_for(lambda: service.lines("got") == ["ready"])
        pid = service.up()
        expected = ["ready"]
        for letter, name in {"h": "HUP", "a": "ALRM", "i": "INT", "t": "TERM", "c": "CONT"}.items():
            service.svc(letter, sender)
            expected.append(f"SIG{name}")
            wait_for(lambda: service.lines("got") == expected)
        service.svc("p", sender)
        service.reaches(lambda told: told.paused)
        service.svc("kc", sender)
        new = service.up(pid)
        service.svc("dk", sender)
        service.reaches(lambda told: told.pid == 0)
        assert is_gone(new)
        for one in WHO:
            assert run([program(one, "svok"), str(service.path)]).returncode == 0
        service.svc("x", sender)
        assert supervise.wait(10) == 0
        for one in WHO:
            assert run([program(one, "svok"), str(service.path)]).returncode == 100
            assert service.svstat(one) == "supervise not running\n"


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("other", WHO)
def test_one_lock_for_both(tmp_path: Path, who: str, other: str) -> None:
    service = Service(tmp_path / "svc")
    with supervised(service, who):
        service.up()
        done = run([program(other, "supervise"), "svc"], cwd=tmp_path)
        assert (done.returncode, done.stdout) == (111, b"")
        assert done.stderr == b"supervise: fatal: unable to acquire svc/supervise/lock: temporary failure\n"


def test_one_after_the_other(tmp_path: Path) -> None:
    """A directory that one has used is good enough for the other."""
    service = Service(tmp_path / "svc")
    for one in ("theirs", "ours", "theirs"):
        with supervised(service, one) as supervise:
            service.up()
            service.svc("dx")
            assert supervise.wait(10) == 0


def exe(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/exe")


@pytest.mark.parametrize(("svscan", "supervise"), [("theirs", "ours"), ("ours", "theirs")])
def test_each_svscan_runs_the_other_supervise(tmp_path: Path, svscan: str, supervise: str) -> None:
    scan = tmp_path / "service"
    service, logger = pair(scan / "svc", "#!/bin/sh\necho hello\nexec sleep 1000\n", CAT)
    path = {"ours": f"{BIN}:/usr/bin:/bin", "theirs": f"{Path(peer('supervise')).parent}:{BIN}:/bin"}[supervise]
    with scanned(scan, service, logger, env=environment(PATH=path), program=program(svscan, "svscan")) as process:
        wait_for(lambda: logger.lines("logged") == ["hello"])
        for directory in (service, logger):
            pid = wait_for(lambda directory=directory: supervise_of(directory))  # type: ignore[misc]
            assert (exe(pid) == peer("supervise")) == (supervise == "theirs")
            assert Path(f"/proc/{pid}/status").read_text(errors="replace").count(f"PPid:\t{process.pid}\n") == 1
            both_say(directory, "")
        descriptors = {fd for fd in os.listdir(f"/proc/{supervise_of(service)}/fd") if int(fd) > 2}
        assert len(descriptors) <= 8
        both: list[Callable[[], None]] = [lambda: service.svc("dx"), lambda: logger.svc("dx")]
        for pid, end in zip((supervise_of(service), supervise_of(logger)), both, strict=True):
            end()
            wait_for(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
    assert messages(scan) == []


@pytest.mark.parametrize("who", WHO)
def test_messages_of_each_svscan(tmp_path: Path, who: str) -> None:
    scan = tmp_path / "service"
    scan.mkdir()
    (scan / "gone").symlink_to("no-such")
    with scanned(scan, program=program(who, "svscan")):
        wait_for(lambda: messages(scan))
        assert messages(scan)[0] == "svscan: warning: unable to stat gone: file does not exist"
    done = run([program(who, "svscan"), "no-such"], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (111, b"svscan: fatal: unable to chdir to no-such: file does not exist\n")


@pytest.mark.parametrize("who", WHO)
def test_messages_of_each_supervise(tmp_path: Path, who: str) -> None:
    def said(*words: str) -> tuple[int, bytes]:
        done = run([program(who, "supervise"), *words], cwd=tmp_path)
        return done.returncode, done.stderr

    assert said() == (100, b"supervise: usage: supervise dir\n")
    assert said("no-such") == (111, b"supervise: fatal: unable to chdir to no-such: file does not exist\n")
    place = Service(tmp_path / "s").path / "supervise"
    place.touch()
    assert said("s") == (111, b"supervise: fatal: unable to acquire s/supervise/lock: not a directory\n")
    place.unlink()
    place.mkdir()
    (place / "control").symlink_to("no/control")
    assert said("s") == (111, b"supervise: fatal: unable to read s/supervise/control: file does not exist\n")
    (place / "control").unlink()
    service = Service(tmp_path / "unable", "#!/no/such\n")
    with supervised(service, who, name="unable") as supervise:
        wait_for(lambda: service.messages())
        assert service.messages()[0] == "supervise: fatal: unable to start unable/run: file does not exist"
        supervise.send_signal(signal.SIGKILL)
        supervise.wait(5)
