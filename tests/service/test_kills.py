"""Three hundred kills: every one of them is followed by a restart, and nothing leaks."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.service.services import Service, leave
from tests.support import environment, ours, wait_for

SERVICES = 30
ROUNDS = 10


def descriptors(process: psutil.Process) -> list[str]:
    """The numbers of the open files."""
    return sorted(os.listdir(f"/proc/{process.pid}/fd"))


@pytest.mark.slow
def test_three_hundred_kills(tmp_path: Path) -> None:
    services = [Service(tmp_path / "scan" / f"svc{number}") for number in range(SERVICES)]
    svscan = subprocess.Popen(
        [ours("svscan"), str(tmp_path / "scan")],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_for(lambda: all(service.is_supervised() for service in services), every=0.1)
        running = {service.path: service.up() for service in services}
        supervises = psutil.Process(svscan.pid).children()
        assert len(supervises) == SERVICES
        before = [descriptors(process) for process in supervises]
        for _ in range(ROUNDS):
            for pid in running.values():
                os.kill(pid, signal.SIGKILL)
            running = {service.path: service.up(other_than=running[service.path]) for service in services}
        assert [descriptors(process) for process in supervises] == before
        assert psutil.Process(svscan.pid).children() == supervises
        assert sorted(child.pid for process in supervises for child in process.children()) == sorted(running.values())
        svscan.terminate()
        assert svscan.wait(20) == 0
        assert svscan.stderr is not None
        assert svscan.stderr.read() == b""
    finally:
        leave(svscan, services)
        assert svscan.stderr is not None
        svscan.stderr.close()
