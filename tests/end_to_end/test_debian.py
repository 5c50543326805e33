"""The tests of Debian's daemontools source package, unchanged, with our commands first on PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qserver.launch import COMMANDS
from tests.support import BIN, environment

TESTS = BIN.parent / "debian-tests" / "debian" / "tests"
"""Where scripts/setup has put them, if it could fetch them."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with links to all our commands, which the tests put first on PATH."""
    for name in COMMANDS:
        (tmp_path / name).symlink_to(BIN / name)
    return tmp_path


def passes(name: str, place: Path) -> None:
    script = TESTS / name
    if not script.exists():
        pytest.skip(f"Debian's {name} test is not here; scripts/setup could not fetch it")
    env = {**environment(), "AUTOPKGTEST_TMP": str(place), "PATH": f"{place}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", str(script)], env=env, cwd=place, capture_output=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_shortrts(place: Path) -> None:
    passes("shortrts", place)
    assert b"multilog handles" in (place / "shortrts.out").read_bytes()


@pytest.mark.root
def test_uidgid(place: Path) -> None:
    assert os.geteuid() == 0
    passes("uidgid", place)
