"""Received and X-RBL-Info, byte for byte."""

from __future__ import annotations

import pytest

from qmail.received import printable, rbl_info, received, safe

WHEN = 1795363588
DATE = b"22 Nov 2026 16:06:28 -0000"
WHERE = (b"ESMTP", b"mx.example.org", b"192.0.2.9", b"host.client.net")


def test_plain() -> None:
    assert received(*WHERE, WHEN) == (
        b"Received: from host.client.net (192.0.2.9)\n  by mx.example.org with ESMTP; " + DATE + b"\n"
    )


def test_everything() -> None:
    text = received(*WHERE, WHEN, remoteinfo=b"us_er", helo=b"[x] (y", tls=b"TLSv1.3: AES256 [128/256] DN=none\n")
    assert text == (
        b"Received: from host.client.net (HELO ?x? ?y) (us?er@192.0.2.9)\n"
        b"  de/crypted with TLSv1.3: AES256 [128/256] DN=none?\n"
        b"  by mx.example.org with ESMTP; " + DATE + b"\n"
    )


@pytest.mark.parametrize("helo", [b"host.client.net", b"HOST.Client.NET"])
def test_true_helo_is_not_repeated(helo: bytes) -> None:
    assert b"HELO" not in received(*WHERE, WHEN, helo=helo)


def test_empty_helo_is_shown() -> None:
    assert received(*WHERE, WHEN, helo=b"").startswith(b"Received: from host.client.net (HELO ) (192.0.2.9)\n")


def test_empty_remoteinfo_is_shown() -> None:
    assert b" (@192.0.2.9)\n" in received(*WHERE, WHEN, remoteinfo=b"")


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        (None, b""),
        (b"", b""),
        (b"no bracket", b""),
        (b"]x", b""),
        (b"[RBL info] http://x.y/?q=1_2", b"X-RBL-Info: http://x.y/?q=1?2\n"),
        (b"-x]", b"X-RBL-Info: \n"),
    ],
)
def test_rbl_info(variable: bytes | None, field: bytes) -> None:
    assert rbl_info(variable) == field


def test_safe() -> None:
    everything = bytes(range(256))
    kept = bytes(byte for byte, new in zip(everything, safe(everything), strict=True) if byte == new)
    assert set(kept) == set(b" .@%+/=:-?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def test_printable() -> None:
    assert printable(b"a\x00\x1b\x7f\xc3\xa4~ ") == b"a???\xc3\xa4~ "
