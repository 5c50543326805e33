"""The language of SMTP clients: lines to commands, arguments to addresses and parameters (smtpd 4, 7.2, 7.5). Pure."""

from __future__ import annotations

ADDRESS_LIMIT = 899
CONTROLS = bytes(range(32)) + b"\x7f"
HEX = b"0123456789ABCDEFabcdef"
BROWSER_VERBS = frozenset((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"))
"""First words of an HTTP request: a browser made to speak SMTP."""


def command(line: bytes) -> tuple[bytes, bytes]:
    """(verb in upper case, argument) of a line without its line end; only blanks part them."""
    verb, _, argument = line.partition(b" ")
    return verb.upper(), argument.lstrip(b" ")


def is_clean(line: bytes) -> bool:
    """False for a line with a CR or NUL inside, which no command may have (RFC 5321 2.3.8)."""
    return b"\r" not in line and b"\0" not in line


def path(argument: bytes) -> tuple[bytes, bytes] | None:
    """(address, what follows its `>`) of an argument of MAIL or RCPT; None is a syntax error.

    The text before `<` and a source route are skipped, quotes and backslashes resolved, a missing `>` forgiven.
    """
    _, bracket, rest = argument.partition(b"<")
    if not bracket:
        return None
    if rest[:1] == b"@":
        rest = rest.partition(b":")[2]
    address, _, after = rest.partition(b">")
    if b'"' in address or b"\\" in address:
        address, after = _unquoted(rest)
    if len(address) > ADDRESS_LIMIT or address.translate(None, CONTROLS) != address:
        return None
    return address, after


def _unquoted(text: bytes) -> tuple[bytes, bytes]:
    """Copy up to the first `>` that is neither quoted nor escaped."""
    address = bytearray()
    quoted = escaped = False
    for at, byte in enumerate(text):
        if escaped:
            address.append(byte)
            escaped = False
        elif byte == 0x5C:
            escaped = True
        elif byte == 0x22:
            quoted = not quoted
        elif byte == 0x3E and not quoted:
            return bytes(address), text[at + 1 :]
        else:
            address.append(byte)
    return bytes(address), b""


def parameters(text: bytes) -> list[tuple[bytes, bytes]]:
    """The blank-separated words after an address as (KEYWORD, value)."""
    words = (word.partition(b"=") for word in text.split(b" ") if word)
    return [(keyword.upper(), value) for keyword, _, value in words]


def number(text: bytes) -> int:
    """The leading decimal digits; 0 when there is none."""
    digits = text[: len(text) - len(text.lstrip(b"0123456789"))]
    return int(digits[:100]) if digits else 0


def unxtext(text: bytes) -> bytes:
    """Decode xtext (RFC 3461 4): `+HH` is a byte; a `+` without two hex digits stands for itself."""
    first, *rest = text.split(b"+")
    decoded = [first]
    for part in rest:
        pair = part[:2]
        if len(pair) == 2 and all(digit in HEX for digit in pair):
            decoded.append(bytes.fromhex(pair.decode("ascii")) + part[2:])
        else:
            decoded.append(b"+" + part)
    return b"".join(decoded)


def domain(address: bytes) -> bytes | None:
    """What follows the last `@`; None when there is none."""
    _, at, host = address.rpartition(b"@")
    return host if at else None
