"""Databases as text (ucspi 2.2): `+KLEN,DLEN:KEY->DATA` and a newline for each record, an empty line at the end."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Read = Callable[[int], bytes]
    """At most so many bytes; none at the end."""

BLOCK = 1 << 18
LARGEST = 2**32
"""Bytes that a length may not reach: a database is smaller."""
DIGITS = b"0123456789"


class BadText(Exception):
    """The text is not as it must be; says where and why."""


class Source:
    """Bytes from a descriptor, as many as are asked for. Raises OSError."""

    __slots__ = ("_at", "_block", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._block = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """So many bytes, or all there are before the end."""
        if self._at + size <= len(self._block):
            self._at += size
            return self._block[self._at - size : self._at]
        parts = [self._block[self._at :]]
        left = size - len(parts[0])
        self._block, self._at = b"", 0
        while left > 0:
            block = os.read(self._fd, BLOCK)
            if not block:
                break
            parts.append(block[:left])
            self._block, self._at = block, len(block[:left])
            left -= len(parts[-1])
        return b"".join(parts)

    def number(self, end: bytes) -> int | None:
        """Decimal digits before the byte `end`, which is taken too; None for anything else."""
        digits = b""
        while (byte := self.take(1)) and byte in DIGITS:
            digits += byte
            if len(digits) > len(str(LARGEST)):
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        if not byte:
            raise EOFError
        return int(digits or b"0") if byte == end else None


def parse(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """The records of a text, up to the empty line. Raises BadText, OSError."""
    entry = 0
    while True:
        entry += 1
        try:
            first = _exactly(source, 1)
            if first == b"\n":
                return
            if first != b"+":
                raise ValueError("entry must start with +")
            yield _record(source)
        except EOFError:
            raise BadText(f"entry {entry}: unexpected end of input") from None
        except ValueError as bad:
            raise BadText(f"entry {entry}: {bad}") from None


def _record(source: Source) -> tuple[bytes, bytes]:
    key_size = source.number(b",")
    if key_size is None:
        raise ValueError("bad keylen format")
    data_size = source.number(b":")
    if data_size is None:
        raise ValueError("bad datalen format")
    if key_size + data_size >= LARGEST:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    key = _exactly(source, key_size)
    if _exactly(source, 2) != b"->":
        raise ValueError("key must be followed by ->")
    data = _exactly(source, data_size)
    if _exactly(source, 1) != b"\n":
        raise ValueError("newline expected")
    return key, data


def _exactly(source: Source, size: int) -> bytes:
    data = source.take(size)
    if len(data) < size:
        raise EOFError
    return data


def shown(key: bytes, data: bytes) -> bytes:
    """A record as text."""
    return b"+%d,%d:%b->%b\n" % (len(key), len(data), key, data)


HEADER = 2048


def records(source: Source) -> Iterator[tuple[bytes, bytes]]:
    """The records of a database read from its beginning, a pipe perhaps. Raises OSError, EOFError where it is cut off."""
    end = int.from_bytes(_exactly(source, HEADER)[:4], "little")
    at = HEADER
    while at < end:
        sizes = _exactly(source, 8)
        key_size, data_size = int.from_bytes(sizes[:4], "little"), int.from_bytes(sizes[4:], "little")
        at += 8 + key_size + data_size
        if at > end:
            raise EOFError
        yield _exactly(source, key_size), _exactly(source, data_size)
