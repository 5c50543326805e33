"""The tests of Debian's daemontools and ucspi-tcp source packages, unchanged, with our commands in place of theirs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qserver.launch import COMMANDS
from tests.support import BIN, environment, run

TESTS = BIN.parent / "debian-tests"
"""Where scripts/setup has put them, if it could fetch them."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with links to all our commands, which the tests put first on PATH."""
    for name in COMMANDS:
        (tmp_path / name).symlink_to(BIN / name)
    return tmp_path


def passes(name: str, place: Path) -> None:
    script = TESTS / "daemontools" / "debian" / "tests" / name
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


@pytest.mark.parametrize("options", [(), ("-i", "4"), ("-i", "6")])
def test_ucspi_test(options: tuple[str, ...], tmp_path: Path) -> None:
    """Debian's acceptance test of UCSPI tools; it needs two of Debian's Python packages, hence Debian's Python."""
    place = TESTS / "ucspi-tcp" / "debian" / "tests" / "python"
    if not place.exists():
        pytest.skip("Debian's ucspi_tcp_test is not here; scripts/setup could not fetch it")
    python = "/usr/bin/python3"
    if not os.path.exists(python) or run([python, "-c", "import netifaces, utf8_locale"]).returncode:
        pytest.skip("python3-netifaces and python3-utf8-locale are not installed")
    words = [python, "-B", "-m", "ucspi_tcp_test", "-d", str(BIN), "-p", "tcp", *options]
    done = run(words, env={**environment(), "PYTHONPATH": str(place)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"=== The tests for tcp passed\n")
