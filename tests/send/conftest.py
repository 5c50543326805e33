"""A home for each test, in a place that delivery accounts can reach."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.send.harness import inject
from tests.support import make_home


@pytest.fixture
def home() -> Iterator[Path]:
    """A qmail home; its parent directory is the test's."""
    top = Path(tempfile.mkdtemp(prefix="qmail-send-"))
    top.chmod(0o755)
    try:
        yield make_home(top / "home")
    finally:
        shutil.rmtree(top)


@pytest.fixture
def messid(home: Path) -> bytes:
    """A message in the queue, as qmail-send names it to a spawner."""
    number = inject(home, b"a@x.org", [b"b@y.org"])
    return b"%d/%d" % (number % 23, number)
