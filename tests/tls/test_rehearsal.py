"""sslserver's rehearsal with a relay, and as one: nobody else may notice, whatever TLS is to be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import wait_for
from tests.tls.authority import Authority
from tests.tls.server import ECHO, POPUP, secret, serving, trusting


@pytest.mark.parametrize("options", ["-N", "-n", "-sN", "-m"])
@pytest.mark.parametrize("ciphers", ["", "TLS_AES_128_GCM_SHA256"])
def test_nobody_notices(tmp_path: Path, ca: Authority, keys: tuple[Path, Path], options: str, ciphers: str) -> None:
    """The log begins with the first status; the master has no other children and descriptors than with any program."""
    env: dict[str, Any] = {"CIPHERS": ciphers} if ciphers else {}
    if options == "-m":
        env |= {"CAFILE": str(ca.cafile), "CCAFILE": str(ca.cafile)}
    counts = []
    for program in (POPUP, ECHO):
        with serving(tmp_path, keys, *program, options=[options, "-RHl0"], **env) as server:
            lines = server.lines()
            assert lines[0].endswith("status: 0/40/40") or lines[0].startswith("sslserver: ciphers "), lines
            assert lines[-1].endswith("status: 0/40/40")
            assert not any(word in line for line in lines for word in ("pid", "accept", "fatal", "error")), lines
            counts.append(len(os.listdir(f"/proc/{server.process.pid}/fd")))
            wait_for(lambda: len(server.workers()) == 4)
            if options == "-n":
                assert server.talk(b"QUIT\r\n")
            elif options != "-m":
                with secret(server, trusting(ca)) as client:
                    assert client.recv(100)
    assert counts[0] == counts[1]


def test_it_goes_on_without_a_home_or_a_certificate(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    home = str(tmp_path / "none")
    with serving(tmp_path, keys, "qmail-smtpd", QMAILHOME=home) as server, secret(server, trusting(ca)) as client:
        assert client.recv(100).startswith(b"421 ")
    with serving(tmp_path, None, *POPUP) as server:
        assert server.talk(b"") == b""
        server.wait_line("unable to accept TLS from: ")
