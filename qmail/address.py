"""Envelope addresses as bytes: splitting and quoting (delivery 7.8)."""

from __future__ import annotations

ATOM = frozenset(b"!#$%&'*+-./0123456789=?ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz{|}~")
"""Bytes a box may hold without being quoted."""
ESCAPED = b'\r\n"\\'


def split(address: bytes) -> tuple[bytes, bytes | None]:
    """(box, host) at the last `@`; host is None when there is none."""
    box, at, host = address.rpartition(b"@")
    return (box, host) if at else (address, None)


def needs_quotes(box: bytes) -> bool:
    """Whether a box must be written as a quoted string."""
    return not box or box[:1] == b"." or box[-1:] == b"." or b".." in box or not ATOM.issuperset(box)


def quote(box: bytes) -> bytes:
    """The box, quoted only if it must be."""
    return quoted(box) if needs_quotes(box) else box


def quoted(box: bytes) -> bytes:
    """The box as a quoted string."""
    for byte in (b"\\", b'"', b"\r", b"\n"):
        box = box.replace(byte, b"\\" + byte)
    return b'"' + box + b'"'


def quote2(address: bytes) -> bytes:
    """An address as it stands in a header or after MAIL FROM: its box quoted if needed, its host copied (quote2)."""
    if not address:
        return b""
    box, host = split(address)
    return quote(box) if host is None else quote(box) + b"@" + host
