"""The words of POP3 (RFC 1939) as both qmail-popup and qmail-pop3d read and write them. Pure: bytes in, bytes out."""

from __future__ import annotations

LINE_LIMIT = 1 << 20
"""A command line longer than this ends the connection (access 2.3)."""
OKAY = b"+OK \r\n"
DIGITS = b"0123456789"
HUGE = 20
"""Numbers of more digits than this are only known to be too large for anything."""


class LineTooLong(Exception):
    """The peer sent more than LINE_LIMIT bytes without an LF."""


class Lines:
    """Cuts what arrives into lines; the unterminated rest waits, and at the end of input it is never executed."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`, without their LF. Raises LineTooLong."""
        first = data.find(b"\n")
        if len(self._rest) + (len(data) if first < 0 else first) > LINE_LIMIT:
            raise LineTooLong
        if first < 0:
            self._rest += data
            return []
        lines = (bytes(self._rest) + data if self._rest else data).split(b"\n")
        self._rest = bytearray(lines.pop())
        return lines


def parse(line: bytes) -> tuple[bytes, bytes]:
    """A line (without LF) as its verb, in capitals, and its argument, verbatim."""
    if line.endswith(b"\r"):
        line = line[:-1]
    verb, _, rest = line.partition(b"\0")[0].partition(b" ")
    return verb.upper(), rest.lstrip(b" ")


def scan_number(text: bytes) -> tuple[int | None, bytes]:
    """The decimal digits that `text` begins with (None: it begins with another byte) and what follows them."""
    rest = text.lstrip(DIGITS)
    digits = text[: len(text) - len(rest)]
    return (int(digits.lstrip(b"0")[:HUGE] or b"0") if digits else None), rest


def ok(text: bytes) -> bytes:
    """`+OK text`."""
    return b"+OK %b\r\n" % text


def err(text: bytes) -> bytes:
    """`-ERR text`."""
    return b"-ERR %b\r\n" % text


def multiline(first: bytes, lines: list[bytes]) -> bytes:
    """A reply of several lines: `first` (a whole line), the lines (none begins with a dot), the final dot."""
    return b"\r\n".join([first[:-2], *lines, b".\r\n"])
