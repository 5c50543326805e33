"""The Received line our network servers put before a message (received.c), with bytes made safe for a header."""

from __future__ import annotations

from qmail.dates import date822

SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .@%+/=:-"
SAFE_TABLE = bytes(byte if byte in SAFE else 63 for byte in range(256))
CONTROL_TABLE = bytes(63 if byte < 32 or byte == 127 else byte for byte in range(256))


def safe(text: bytes) -> bytes:
    """What strangers told us, every byte that could mean something in a header turned into `?` (safeput)."""
    return text.translate(SAFE_TABLE)


def printable(text: bytes) -> bytes:
    """Control bytes turned into `?`, so that no field can break a line of a log or a header."""
    return text.translate(CONTROL_TABLE)


def received(
    protocol: bytes,
    local: bytes,
    remoteip: bytes,
    remotehost: bytes,
    when: float,
    *,
    remoteinfo: bytes | None = None,
    helo: bytes | None = None,
    tls: bytes | None = None,
) -> bytes:
    """The Received field, with LF at its line ends (smtpd 12.3).

    `helo` is shown only where it differs from the host's name; `tls` is the text after "de/crypted with".
    """
    claim = b"" if helo is None or helo.lower() == remotehost.lower() else b" (HELO %s)" % safe(helo)
    who = b"" if remoteinfo is None else safe(remoteinfo) + b"@"
    secured = b"" if tls is None else b"  de/crypted with %s\n" % printable(tls)
    return b"Received: from %s%s (%s%s)\n%s  by %s with %s; %s\n" % (
        safe(remotehost),
        claim,
        who,
        safe(remoteip),
        secured,
        safe(local),
        protocol,
        date822(when),
    )


def rbl_info(rblsmtpd: bytes | None) -> bytes:
    """The X-RBL-Info field for what rblsmtpd found: the text after the first `]` and one more byte; else nothing."""
    if rblsmtpd is None:
        return b""
    tag, bracket, text = rblsmtpd.partition(b"]")
    return b"X-RBL-Info: %s\n" % safe(text[1:]) if tag and bracket else b""
