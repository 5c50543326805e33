"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import make_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty qmail home."""
    return make_home(tmp_path / "qmail")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `root` are skipped, with the reason, for anyone else."""
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
