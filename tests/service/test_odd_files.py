"""What is found in place of a fifo, and an output that takes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.services import Service
from tests.support import ours, run


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
