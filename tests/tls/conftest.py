"""A certificate authority and a server's key for the tests of TLS, once for each module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tls.authority import Authority


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def keys(ca: Authority) -> tuple[Path, Path]:
    return ca.issue("localhost", san="DNS:localhost")
