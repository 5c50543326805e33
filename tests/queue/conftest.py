"""Fixtures for the queue's tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import make_home, ours, run

OWNER, STRANGER = 54321, 54323
"""Uids that no account has: the owner of a queue, and somebody else."""


@pytest.fixture
def shared_home() -> Iterator[Path]:
    """A home that every account can reach, with a queue that belongs to OWNER. For tests marked root."""
    top = Path(tempfile.mkdtemp(prefix="queue-test-"))
    try:
        top.chmod(0o755)
        home = make_home(top / "qmail")
        for path in (home, home / "run", home / "queue", *home.glob("queue/**/*")):
            os.lchown(path, OWNER, OWNER)
        yield home
    finally:
        shutil.rmtree(top)


def become(uid: int) -> None:
    """In a child before it execs: be nobody but this uid."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


@pytest.fixture
def stranger() -> int:
    """STRANGER, if such an account can run our commands at all."""
    try:
        works = run([ours("qmail-qstat"), "--help"], preexec=lambda: become(STRANGER)).returncode == 0
    except PermissionError:
        works = False
    if not works:
        pytest.skip("the interpreter or the checkout is in a place that other accounts cannot reach")
    return STRANGER
