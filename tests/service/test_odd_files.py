"""What is found in place of a fifo; an output that takes nothing; a logger that must not write to itself."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.service.services import SLEEP, Service, leave
from tests.support import environment, ours, run, wait_for


@pytest.mark.parametrize("name", ["control", "ok"])
def test_a_plain_file_in_place_of_a_fifo_is_refused(name: str, tmp_path: Path) -> None:
    service = Service(tmp_path / "svc")
    (service.path / "supervise").mkdir()
    (service.path / "supervise" / name).write_text("u")
    done = run([ours("supervise"), "svc"], cwd=tmp_path)
    words = f"supervise: fatal: unable to read svc/supervise/{name}: invalid argument\n"
    assert (done.returncode, done.stderr.decode()) == (111, words)
    assert (service.path / "supervise" / name).read_text() == "u"
    assert service.pids() == []


def test_svstat_to_a_full_disk(tmp_path: Path) -> None:
    done = run(["/bin/sh", "-c", 'exec "$0" "$1" > /dev/full', ours("svstat"), str(tmp_path)])
    assert (done.returncode, done.stderr) == (111, b"svstat: fatal: unable to write output: out of disk space\n")


def test_the_log_of_svscan_never_writes_to_the_pipe_it_reads(tmp_path: Path) -> None:
    log = Service(tmp_path / "scan" / ".svscan", SLEEP)
    with open(tmp_path / "messages", "wb") as messages:
        process = subprocess.Popen(
            [ours("svscan"), str(tmp_path / "scan"), ".svscan"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            start_new_session=True,
        )
    try:
        wait_for(log.is_supervised)
        (first,) = psutil.Process(process.pid).children()
        os.kill(first.pid, signal.SIGKILL)
        second = wait_for(lambda: [one for one in psutil.Process(process.pid).children() if one != first])[0]
        wait_for(log.is_supervised)
        logger = log.up()
        log.svc("k")
        for pid in (second.pid, log.up(other_than=logger)):
            files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
            assert files[0].startswith("pipe:")
            assert files[1:] == [str(tmp_path / "messages")] * 2
        assert os.readlink(f"/proc/{process.pid}/fd/2") == os.readlink(f"/proc/{second.pid}/fd/0")
    finally:
        leave(process, [log])
