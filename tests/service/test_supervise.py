"""supervise with real run scripts."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qserver.service.status import DOWN, FAILED, ONCE, RUNNING, STARTED, STOPPED, STOPPING, UP, Status
from tests.service.services import NOTIFY, RECORDER, SLEEP, Service, facts, is_asleep, is_gone, supervised, switches
from tests.support import environment, ours, run, wait_for


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service that sleeps."""
    return Service(tmp_path / "svc")


def is_down(told: Status) -> bool:
    return told.pid == 0


def mode(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def test_the_files_of_a_service(service: Service) -> None:
    place = service.path / "supervise"
    with supervised(service):
        service.up()
        assert sorted(path.name for path in place.iterdir()) == ["control", "detail", "lock", "ok", "status"]
        assert mode(place) == "drwx------"
        assert mode(place / "lock") == "-rw-------"
        assert mode(place / "control") == mode(place / "ok") == "prw-------"
        assert mode(place / "status") == "-rw-r--r--"
        assert (place / "lock").stat().st_size == 0
        assert (place / "status").stat().st_size == 20
        assert (service.status().want, service.status().state) == (UP, RUNNING)
    assert not service.is_supervised()
    assert (service.status().pid, service.status().want, service.status().state) == (0, DOWN, STOPPED)
    assert service.messages() == []


def test_only_one_supervise(service: Service) -> None:
    with supervised(service):
        pid = service.up()
        before = (service.path / "supervise" / "status").stat()
        done = run([ours("supervise"), "svc"], cwd=service.path.parent)
        assert (done.returncode, done.stdout) == (111, b"")
        assert done.stderr == b"supervise: fatal: unable to acquire svc/supervise/lock: temporary failure\n"
        after = (service.path / "supervise" / "status").stat()
        assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
        assert service.status().pid == pid


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_wrong_calls(words: list[str]) -> None:
    done = run([ours("supervise"), *words])
    assert (done.returncode, done.stdout, done.stderr) == (100, b"", b"supervise: usage: supervise dir\n")


def test_trouble_at_the_start(tmp_path: Path) -> None:
    def said(name: str) -> bytes:
        done = run([ours("supervise"), name], cwd=tmp_path)
        assert (done.returncode, done.stdout) == (111, b"")
        return done.stderr.replace(b"supervise: fatal: unable to ", b"")

    assert said("no-such") == b"chdir to no-such: file does not exist\n"
    (tmp_path / "file").touch()
    assert said("file") == b"chdir to file: not a directory\n"
    place = Service(tmp_path / "s").path / "supervise"
    place.touch()
    assert said("s") == b"acquire s/supervise/lock: not a directory\n"
    place.unlink()
    (tmp_path / "s" / "down").symlink_to("down")
    assert said("s") == b"stat s/down: symbolic link loop\n"
    (tmp_path / "s" / "down").unlink()
    (place / "status").mkdir()
    assert said("s") == b"open s/supervise/status for writing: is a directory\n"
    (place / "status").rmdir()
    (place / "control").symlink_to("no/control")
    assert said("s") == b"read s/supervise/control: file does not exist\n"
    (place / "control").unlink()
    (place / "ok").symlink_to("no/ok")
    assert said("s") == b"read s/supervise/ok: file does not exist\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every directory")
def test_a_directory_that_may_not_be_entered(service: Service) -> None:
    service.path.chmod(0)
    done = run([ours("supervise"), "svc"], cwd=service.path.parent)
    service.path.chmod(0o700)
    assert (done.returncode, done.stderr) == (111, b"supervise: fatal: unable to chdir to svc: access denied\n")


def test_down_up_once_exit(service: Service) -> None:
    with supervised(service) as supervise:
        first = service.up()
        service.svc("d")
        told = service.reaches(is_down)
        assert (told.want, told.state) == (DOWN, STOPPED)
        service.svc("u")
        second = service.up(first)
        service.svc("o")
        service.reaches(lambda told: told.want == ONCE)
        assert service.status().pid == second
        service.svc("t")
        assert service.reaches(is_down).state == STOPPED
        service.svc("ox")
        third = service.up(second)
        assert service.status().want == ONCE
        assert supervise.poll() is None
        os.kill(third, signal.SIGTERM)
        assert supervise.wait(10) == 0
    assert is_down(service.status())
    assert not service.is_supervised()


def test_exit_waits_for_a_service_that_is_wanted_up(service: Service) -> None:
    with supervised(service) as supervise:
        pid = service.up()
        service.svc("x")
        service.svc("h")
        assert supervise.wait(10) == 0
    told = service.status()
    assert (told.pid, told.want, told.state) == (0, UP, STOPPED)
    assert pid


def test_normally_down(service: Service) -> None:
    (service.path / "down").mkdir()
    with supervised(service) as supervise:
        assert (service.status().pid, service.status().want) == (0, DOWN)
        assert service.svstat().endswith(" seconds\n")
        assert service.svstat().startswith("down ")
        service.svc("u")
        service.up()
        assert service.svstat().endswith(" seconds, normally down\n")
        service.svc("dx")
        assert supervise.wait(10) == 0


LETTERS = {"h": "HUP", "a": "ALRM", "i": "INT", "t": "TERM", "q": "QUIT", "1": "USR1", "2": "USR2", "w": "WINCH"}


def test_every_signal(service: Service) -> None:
    service.script("run", RECORDER)
    expected = ["ready"]
    with supervised(service):
        wait_for(lambda: service.lines("got") == expected)
        pid = service.up()
        for letter, name in LETTERS.items():
            service.svc(letter)
            expected.append(f"SIG{name}")
            wait_for(lambda: service.lines("got") == expected)
        service.svc("p")
        service.reaches(lambda told: told.paused)
        wait_for(lambda: facts(pid)[0] == "T")
        assert service.svstat().endswith(" seconds, paused\n")
        service.svc("c")
        expected.append("SIGCONT")
        wait_for(lambda: service.lines("got") == expected)
        assert not service.status().paused
        service.svc("d")
        expected += ["SIGTERM", "SIGCONT"]
        wait_for(lambda: sorted(service.lines("got")) == sorted(expected))
        assert (service.status().state, service.status().want) == (STOPPING, DOWN)
        assert service.svstat().endswith(" seconds, want down\n")
        assert service.status().pid == pid
        service.svc("uk")
        assert service.up(pid) != pid


FAMILY = RECORDER.replace('os.write(fd, b"ready', 'pid = os.fork()\nos.write(fd, b"ready')


def test_signals_to_the_whole_group(service: Service) -> None:
    service.script("run", FAMILY)
    with supervised(service):
        wait_for(lambda: service.lines("got") == ["ready"] * 2)
        service.svc("+h")
        wait_for(lambda: service.lines("got").count("SIGHUP") == 2)
        service.svc("1")
        service.svc("+=2")
        service.svc("+h=")
        wait_for(lambda: service.lines("got").count("SIGHUP") == 4)
        assert service.lines("got").count("SIGUSR1") == service.lines("got").count("SIGUSR2") == 1
        service.svc("+d")
        wait_for(lambda: service.lines("got").count("SIGTERM") == 2)
        service.svc("+k")
        service.reaches(is_down)


def test_letters_byte_by_byte_are_one_batch(service: Service) -> None:
    """As C's svc writes them."""
    service.script("run", FAMILY)
    with supervised(service):
        wait_for(lambda: service.lines("got") == ["ready"] * 2)
        fd = os.open(service.path / "supervise" / "control", os.O_WRONLY)
        for byte in b"l+h":
            os.write(fd, bytes((byte,)))
        os.close(fd)
        wait_for(lambda: service.lines("got").count("SIGHUP") == 2)


def test_the_log_process_is_addressed_only_where_there_is_one(service: Service) -> None:
    service.script("run", RECORDER)
    with supervised(service):
        wait_for(lambda: service.lines("got") == ["ready"])
        service.svc("LhtdLkl1")
        wait_for(lambda: service.lines("got") == ["ready", "SIGUSR1"])
        assert service.status().want == UP


def test_garbage_in_control_does_no_harm(service: Service) -> None:
    harmless = bytes(set(range(256)) - set(b"+=Lludopchaitkwxq12"))
    with supervised(service) as supervise:
        pid = service.up()
        fd = os.open(service.path / "supervise" / "control", os.O_WRONLY)
        for _ in range(20):
            os.write(fd, bytes(random.choices(harmless, k=10000)))
        os.write(fd, b"+=L" * 1000)
        os.close(fd)
        service.svc("p")
        service.reaches(lambda told: told.paused)
        assert service.status().pid == pid
        assert supervise.poll() is None
    assert service.messages() == []


def test_garbage_as_status_is_overwritten(service: Service) -> None:
    (service.path / "supervise").mkdir()
    for garbage in (b"", b"x" * 17, b"\xff" * 100):
        (service.path / "supervise" / "status").write_bytes(garbage)
        with supervised(service):
            service.up()
            assert (service.path / "supervise" / "status").stat().st_size == 20
    assert service.messages() == []


def test_a_service_that_is_killed_comes_back_and_no_descriptor_is_lost(service: Service) -> None:
    with supervised(service) as supervise:
        pid = service.up()
        descriptors = os.listdir(f"/proc/{supervise.pid}/fd")
        seen = {pid}
        for _ in range(5):
            os.kill(pid, signal.SIGKILL)
            pid = service.up(pid)
            seen.add(pid)
        assert len(seen) == 6
        assert os.listdir(f"/proc/{supervise.pid}/fd") == descriptors
        wait_for(lambda: Path(f"/proc/{supervise.pid}/task/{supervise.pid}/children").read_text().split() == [str(pid)])


def test_exit_100_is_the_last_word(service: Service) -> None:
    service.script("run", "#!/bin/sh\necho ran >> runs\nexit 100\n")
    with supervised(service) as supervise:
        told = service.reaches(lambda told: told.state == FAILED)
        assert (told.pid, told.want) == (0, DOWN)
        assert service.svstat().endswith(" seconds, normally up, failed\n")
        assert service.lines("runs") == ["ran"]
        service.svc("u")
        wait_for(lambda: service.lines("runs") == ["ran"] * 2)
        service.reaches(lambda told: told.state == FAILED)
        service.svc("x")
        assert supervise.wait(10) == 0


def test_notify_is_told_of_start_run_and_stop(service: Service) -> None:
    service.script("start", "#!/bin/sh\nexit 0\n")
    service.script("run", "#!/bin/sh\ntrap 'exit 1' TERM\n: > ready\nwhile :; do sleep 0.05; done\n")
    service.script("stop", "#!/bin/sh\nexit 0\n")
    service.script("notify", NOTIFY)
    with supervised(service) as supervise:
        wait_for((service.path / "ready").exists)
        service.svc("dx")
        assert supervise.wait(10) == 0
        wait_for(lambda: len(service.lines("events")) == 6)
    # They run side by side, so their order in the file is not that of the events.
    by_script: dict[str, set[tuple[str, str]]] = {}
    pids: dict[str, set[str]] = {}
    for line in service.lines("events"):
        script, event, pid, code = line.split()
        by_script.setdefault(script, set()).add((event, code))
        pids.setdefault(script, set()).add(pid)
    assert by_script == {
        "start": {("start", "0"), ("exit", "0")},
        "run": {("start", "0"), ("exit", "1")},
        "stop": {("start", "0"), ("exit", "0")},
    }
    assert [len(of_script) for of_script in pids.values()] == [1, 1, 1]


def test_notify_is_told_the_signal(service: Service) -> None:
    service.script("notify", NOTIFY)
    with supervised(service):
        pid = service.up()
        service.svc("ok")
        wait_for(lambda: sorted(service.lines("events")) == [f"run killed {pid} 9", f"run start {pid} 0"])


def test_start_fails(service: Service) -> None:
    service.script("start", "#!/bin/sh\necho started >> got\nexit 3\n")
    service.script("run", "#!/bin/sh\necho ran >> got\n")
    service.script("stop", "#!/bin/sh\necho stopped >> got\n")
    with supervised(service):
        assert service.reaches(lambda told: told.state == FAILED).want == DOWN
        service.svc("u")
        wait_for(lambda: service.lines("got") == ["started"] * 2)


def test_start_and_stop_alone(service: Service) -> None:
    (service.path / "run").unlink()
    service.script("start", "#!/bin/sh\necho started >> got\n")
    service.script("stop", "#!/bin/sh\necho stopped >> got\n")
    with supervised(service):
        told = service.reaches(lambda told: told.state == STARTED)
        assert (told.pid, told.want) == (0, ONCE)
        assert service.svstat().endswith(" seconds, normally up, started\n")
        service.svc("d")
        wait_for(lambda: service.lines("got") == ["started", "stopped"])
        service.reaches(lambda told: told.state == STOPPED)
        service.svc("u")
        wait_for(lambda: service.lines("got") == ["started", "stopped", "started"])


def test_what_has_no_execute_bit_is_no_script(service: Service) -> None:
    for name in ("start", "stop", "log", "notify"):
        service.script(name, "#!/bin/sh\necho $0 >> got\n", mode=0o655)
    with supervised(service):
        service.up()
        assert (service.path / "supervise" / "status").stat().st_size == 20
        service.svc("d")
        service.reaches(is_down)
    assert service.lines("got") == []


@pytest.mark.parametrize(
    ("name", "words"), [("mode", "access denied"), ("format", "exec format error"), ("interpreter", "file does not exist")]
)
def test_a_run_that_cannot_be_executed(service: Service, name: str, words: str) -> None:
    service.script("run", {"mode": SLEEP, "format": "sleep 1000\n", "interpreter": "#!/no/such\n"}[name])
    if name == "mode":
        (service.path / "run").chmod(0o644)
    message = f"supervise: fatal: unable to start {service.path}/run: {words}"
    with supervised(service) as supervise:
        wait_for(lambda: len(service.messages()) == 2)
        assert set(service.messages()) == {message}
        assert service.svstat().endswith(" seconds, normally up, want up\n")
        slept = switches(supervise.pid)
        service.script("run", SLEEP)
        service.up()
        assert slept < 500  # it sleeps between two attempts


def test_idle_means_asleep(service: Service) -> None:
    with supervised(service) as supervise:
        service.up()
        wait_for(lambda: is_asleep(supervise.pid))
        before = switches(supervise.pid)
        service.svstat()
        service.is_supervised()
        assert switches(supervise.pid) == before


LOG = "#!/bin/sh\nexec cat >> ../logged\n"


def test_an_executable_log(service: Service) -> None:
    service.script("run", "#!/bin/sh\necho run $$\nexec sleep 1000\n")
    service.script("stop", "#!/bin/sh\necho stop\n")
    service.script("log", LOG)
    with supervised(service) as supervise:
        pid, logger = service.up(), service.up(block=1)
        assert (service.path / "supervise" / "status").stat().st_size == 40
        wait_for(lambda: service.lines("../logged") == [f"run {pid}"])
        assert service.svstat().startswith(f"up (pid {pid}) ")
        assert f"\n{service.path} log: up (pid {logger}) " in service.svstat()
        service.svc("Lk")
        logger = service.up(logger, block=1)
        assert service.status().pid == pid
        service.svc("Ld")
        service.reaches(is_down, block=1)
        service.svc("t")
        pid, before = service.up(pid), pid
        service.svc("Lu")
        wait_for(lambda: service.lines("../logged") == [f"run {before}", f"run {pid}"])
        service.svc("dx")
        assert supervise.wait(10) == 0
    assert service.lines("../logged") == [f"run {before}", f"run {pid}", "stop"]
    assert [service.status(block).pid for block in (0, 1)] == [0, 0]
    assert service.messages() == []


def test_the_log_reads_everything_before_it_is_ended(service: Service) -> None:
    """Also of a service that was wanted up when supervise was told to exit."""
    service.script("run", "#!/bin/sh\nread x < go\nseq 5000\n")
    os.mkfifo(service.path / "go")
    service.script("log", "#!/bin/sh\nwhile read line; do echo $line; done >> ../logged\n")
    with supervised(service) as supervise:
        service.up()
        service.up(block=1)
        service.svc("x")
        with open(service.path / "go", "w") as go:
            go.write("\n")
        assert supervise.wait(20) == 0
    assert service.lines("../logged") == [str(number) for number in range(1, 5001)]


def test_down_keeps_the_log_down_too(service: Service) -> None:
    service.script("log", LOG)
    (service.path / "down").touch()
    with supervised(service) as supervise:
        assert [service.status(block).want for block in (0, 1)] == [DOWN, DOWN]
        service.svc("Lu")
        service.up(block=1)
        assert is_down(service.status())
        service.svc("x")
        assert supervise.wait(10) == 0


REPORT = """#!/bin/sh
exec > report.new
grep -E '^(Sig(Blk|Ign)|Umask):' /proc/self/status
echo cwd "$(pwd)" argv0 "$0" arguments $#
for fd in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo fd $fd; done
cut -d' ' -f5,6 < /proc/$$/stat | sed "s/$$/self/g"
env | sort
mv report.new report
exec sleep 1000
"""


LIBRARYS_OWN = 1 << 31 | 1 << 32
"""Signals 32 and 33, which glibc's posix_spawn leaves ignored; programs cannot use them."""


@pytest.mark.parametrize("no_setsid", [False, True])
def test_what_a_service_finds(service: Service, no_setsid: bool) -> None:
    service.script("run", REPORT)
    if no_setsid:
        (service.path / "no-setsid").touch()
    with supervised(service, env=environment(A="b")):
        report = service.read("report").splitlines()
        outside = run(["grep", "-E", "^(Sig(Blk|Ign)|Umask):", "/proc/self/status"]).stdout.decode().splitlines()
        assert report[:2] == outside[:2]
        assert int(report[2].split()[1], 16) & ~LIBRARYS_OWN == int(outside[2].split()[1], 16)
        assert report[3:7] == [f"cwd {service.path} argv0 ./run arguments 0", "fd 0", "fd 1", "fd 2"]
        assert (report[7] == "self self") != no_setsid
        assert "A=b" in report


def test_a_directory_that_vanishes(service: Service) -> None:
    with supervised(service) as supervise:
        pid = service.up()
        service.path.rename(service.path.parent / "moved")
        moved = service.path.parent / "moved"
        run([ours("svc"), "-t", str(moved)])
        service.path = moved
        pid = service.up(pid)
        run(["rm", "-rf", str(moved)])
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: is_gone(pid))
        assert supervise.poll() is None
        supervise.terminate()
        assert supervise.wait(10) == 0


def test_a_link_whose_target_is_made(service: Service, tmp_path: Path) -> None:
    for target in (str(tmp_path / "absolute"), "../relative"):
        (service.path / "supervise").unlink(missing_ok=True)
        (service.path / "supervise").symlink_to(target)
        with supervised(service):
            service.up()
            assert mode(service.path / target) == "drwx------"


@pytest.mark.parametrize("value", ["other", "{tmp}/elsewhere"])
def test_supervise_in_another_place(service: Service, tmp_path: Path, value: str) -> None:
    value = value.format(tmp=tmp_path)
    place = service.path / value
    if value[0] == "/":
        place.mkdir()
        place /= str(service.path)[1:].replace("/", ":")
    env = environment(SUPERVISEDIR=value)
    with supervised(service, env=env, wait=False) as supervise:
        wait_for(lambda: run([ours("svok"), str(service.path)], env=env).returncode == 0)
        wait_for(lambda: b": up (pid " in run([ours("svstat"), str(service.path)], env=env).stdout)
        assert (place / "lock").exists()
        assert not (service.path / "supervise").exists()
        second = run([ours("supervise"), "svc"], cwd=tmp_path, env=env)
        shown = place if value[0] == "/" else f"svc/{value}"
        assert second.stderr == f"supervise: fatal: unable to acquire {shown}/lock: temporary failure\n".encode()
        assert run([ours("svc"), "-dx", str(service.path)], env=env).stderr == b""
        assert supervise.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_end_the_service_too(service: Service, number: int) -> None:
    with supervised(service) as supervise:
        pid = service.up()
        supervise.send_signal(number)
        assert supervise.wait(10) == 0
        assert is_gone(pid)
    assert service.status().want == DOWN


def test_tstp_and_cont_are_passed_on(service: Service) -> None:
    with supervised(service) as supervise:
        service.up()
        supervise.send_signal(signal.SIGTSTP)
        service.reaches(lambda told: told.paused)
        supervise.send_signal(signal.SIGCONT)
        service.reaches(lambda told: not told.paused)


def test_a_service_survives_its_supervise_and_is_taken_over(service: Service) -> None:
    with supervised(service) as supervise:
        pid = service.up()
        supervise.kill()
        supervise.wait(5)
        assert not service.is_supervised()
        assert service.svstat() == "supervise not running\n"
        assert Path(f"/proc/{pid}").exists()
        with supervised(service) as second:
            assert service.status().pid == pid
            service.svc("t")
            pid = service.up(pid)
            second.kill()
            second.wait(5)
            with supervised(service) as third:
                service.svc("dx")
                assert third.wait(10) == 0
                wait_for(lambda: is_gone(pid))


def test_a_status_that_tells_of_a_stranger_takes_nothing_over(service: Service) -> None:
    with supervised(service) as supervise:
        service.up()
        supervise.terminate()
        supervise.wait(10)
    data = bytearray((service.path / "supervise" / "status").read_bytes())
    data[12:16] = os.getpid().to_bytes(4, "little")
    (service.path / "supervise" / "status").write_bytes(data)
    with supervised(service):
        assert service.up(os.getpid()) != os.getpid()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of a few pages."""
    place = tmp_path / "disk"
    place.mkdir()
    done = run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)])
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.decode()}")
    yield place
    run(["umount", "-l", str(place)])


@pytest.mark.root
def test_a_full_disk(small_disk: Path) -> None:
    service = Service(small_disk / "svc")
    with open(small_disk / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while filler.write(bytes(4096)):
            pass
    stderr = small_disk.parent / "messages"
    with open(stderr, "wb") as messages:
        process = subprocess.Popen(
            [ours("supervise"), "svc"], cwd=small_disk, env=environment(), stderr=messages, start_new_session=True
        )
    try:
        wait_for(lambda: stderr.read_text().count("\n") >= 2)
        assert set(stderr.read_text().splitlines()) == {"supervise: warning: unable to write status: out of disk space"}
        wait_for(service.is_supervised)
        assert service.svstat() == "unable to read supervise/status: bad format\n"
        (small_disk / "filler").unlink()
        service.svc("p")
        assert service.reaches(lambda told: told.paused).pid
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_lock_held_by_another_program_is_respected(service: Service) -> None:
    (service.path / "supervise").mkdir()
    fd = os.open(service.path / "supervise" / "lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert run([ours("supervise"), str(service.path)]).returncode == 111
    os.close(fd)
    assert os.listdir(service.path / "supervise") == ["lock"]


def test_many_descriptors_are_not_needed(service: Service) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))

    process = subprocess.Popen(
        [ours("supervise"), str(service.path)], env=environment(), preexec_fn=limit, start_new_session=True
    )
    try:
        wait_for(service.is_supervised)
        os.kill(service.up(), signal.SIGKILL)
        service.up()
    finally:
        process.terminate()
        assert process.wait(10) == 0
