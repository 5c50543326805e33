"""What testssl.sh and sslyze find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import peer, run
from tests.tls.authority import Authority
from tests.tls.server import POPUP, serving

GRAVE = ("MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN")


@pytest.mark.timeout(240)
def test_testssl_finds_nothing_above_low(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    report = tmp_path / "report.json"
    with serving(tmp_path, keys, *POPUP) as server:
        words = [peer("testssl"), "--quiet", "--color", "0", "--ip", "one", "--warnings", "batch", "--jsonfile", str(report)]
        run([*words, "-p", "-s", "-f", "-P", "-U", f"127.0.0.1:{server.port}"], timeout=200)
        found = json.loads(report.read_text())
        assert {"TLS1_2", "TLS1_3", "heartbleed", "secure_client_renego"} <= {finding["id"] for finding in found}
        assert [finding for finding in found if finding["severity"] in GRAVE] == []
        assert "bug" not in server.log()


@pytest.mark.timeout(120)
def test_sslyze_finds_nothing_old(tmp_path: Path, ca: Authority, keys: tuple[Path, Path]) -> None:
    report = tmp_path / "report.json"
    with serving(tmp_path, keys, *POPUP) as server:
        words = [peer("sslyze"), "--mozilla_config=disable", f"--certinfo_ca_file={ca.cafile}", f"--json_out={report}"]
        run([*words, "--tlsv1", "--tlsv1_1", "--sslv2", "--sslv3", "--reneg", "--heartbleed", f"127.0.0.1:{server.port}"])
    (result,) = json.loads(report.read_text())["server_scan_results"]
    scans = result["scan_result"]
    for old in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert scans[f"{old}_cipher_suites"]["result"]["accepted_cipher_suites"] == []
    assert not scans["heartbleed"]["result"]["is_vulnerable_to_heartbleed"]
    renegotiation = scans["session_renegotiation"]["result"]
    assert renegotiation["supports_secure_renegotiation"]
    assert not renegotiation["is_vulnerable_to_client_renegotiation_dos"]
