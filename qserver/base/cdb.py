"""Constant databases (ucspi 2): a reader on mmap and a writer whose files are byte-identical to djb's cdbmake.

Header of 256 (position, slots), records in input order from offset 2048, then 256 hash tables; all numbers are 32-bit
little-endian. Bad contents raise OSError with EPROTO, djb's error_proto.
"""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from struct import Struct

from qserver.base.files import fsync_directory, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER_SIZE = 2048
LIMIT = 0xFFFFFFFF
PAIR = Struct("<II")
HEADER = Struct("<512I")
FLUSH = 1 << 18
"""Bytes of records collected before they are written."""


EMPTY_HASH = 5381
"""The hash of the empty key."""


def hash_of(key: bytes, h: int = EMPTY_HASH) -> int:
    """djb's hash: 5381, then times 33, xor the byte, modulo 2^32. `h`: the hash of what comes before these bytes."""
    for byte in key:
        h = (h * 33 & LIMIT) ^ byte
    return h


def _bad() -> OSError:
    return OSError(errno.EPROTO, os.strerror(errno.EPROTO))


class Cdb:
    """An open database. Every method but `close` raises OSError (EPROTO) where the file is not a cdb."""

    __slots__ = ("_header", "_map", "_size")

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._map = data
        self._size = len(data)
        self._header: tuple[int, ...] = HEADER.unpack_from(data)

    @classmethod
    def open(cls, path: str | bytes) -> Cdb:
        """Map the file at `path`. Raises OSError."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return cls.from_fd(fd)
        finally:
            os.close(fd)

    @classmethod
    def from_fd(cls, fd: int) -> Cdb:
        """Map an open file, whatever its position; the descriptor may be closed afterwards. Raises OSError."""
        size = os.fstat(fd).st_size
        if size < HEADER_SIZE:
            os.read(fd, 0)  # says EISDIR for a directory
            raise _bad()
        return cls(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ))

    def __enter__(self) -> Cdb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()

    def get(self, key: bytes) -> bytes | None:
        """The data of the first record with this key, or None."""
        return self.find(key, hash_of(key))

    def find(self, key: bytes, h: int) -> bytes | None:
        """The same for a key whose hash the caller knows."""
        if not self._header[(h & 255) * 2 + 1]:
            return None
        return next(self._probe(key, h), None)

    def get_all(self, key: bytes) -> Iterator[bytes]:
        """The data of every record with this key, in input order."""
        return self._probe(key, hash_of(key))

    def _probe(self, key: bytes, h: int) -> Iterator[bytes]:
        table, slots = self._header[(h & 255) * 2], self._header[(h & 255) * 2 + 1]
        if not slots:
            return
        end = table + slots * 8
        if end > self._size:
            raise _bad()
        at = table + (h >> 8) % slots * 8
        for _ in range(slots):
            found, position = PAIR.unpack_from(self._map, at)
            if not position:
                return
            if found == h:
                key_size, data_size = self._pair(position)
                start = position + 8 + key_size
                if key_size == len(key) and self._bytes(position + 8, key_size) == key:
                    yield self._bytes(start, data_size)
            at = at + 8 if at + 8 < end else table

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, data) in file order."""
        end = self._header[0]
        at = HEADER_SIZE
        while at < end:
            key_size, data_size = self._pair(at)
            at += 8
            if at + key_size + data_size > end:
                raise _bad()
            yield self._bytes(at, key_size), self._bytes(at + key_size, data_size)
            at += key_size + data_size

    def _pair(self, at: int) -> tuple[int, int]:
        if at + 8 > self._size:
            raise _bad()
        first, second = PAIR.unpack_from(self._map, at)
        return first, second

    def _bytes(self, at: int, size: int) -> bytes:
        if at + size > self._size:
            raise _bad()
        return self._map[at : at + size]


class CdbWriter:
    """Writes a database to a descriptor that stands at the beginning of an empty file."""

    __slots__ = ("_fd", "_hashes", "_held", "_held_size", "_position", "_positions")

    def __init__(self, fd: int) -> None:
        """Raises OSError."""
        self._fd = fd
        self._held: list[bytes] = [bytes(HEADER_SIZE)]
        self._held_size = HEADER_SIZE
        self._position = HEADER_SIZE
        self._hashes: list[int] = []
        self._positions: list[int] = []

    def add(self, key: bytes, data: bytes) -> None:
        """Append a record. Raises OSError, also (ENOMEM, as djb's) where the file would reach 4 GiB."""
        self._hashes.append(hash_of(key))
        self._positions.append(self._position)
        self._held += (PAIR.pack(len(key), len(data)), key, data)
        size = 8 + len(key) + len(data)
        self._position += size
        self._held_size += size
        if self._position > LIMIT:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        if self._held_size >= FLUSH:
            self._flush()

    def _flush(self) -> None:
        write_all(self._fd, b"".join(self._held))
        self._held = []
        self._held_size = 0

    def finish(self) -> None:
        """Write the hash tables and the header and fsync. Raises OSError."""
        buckets: list[list[tuple[int, int]]] = [[] for _ in range(256)]
        for h, position in zip(self._hashes, self._positions, strict=True):
            buckets[h & 255].append((h, position))
        if self._position + 16 * len(self._hashes) > LIMIT:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        header = array("I")
        for bucket in buckets:
            slots = 2 * len(bucket)
            header.extend((self._position, slots))
            self._held.append(_little_endian(_table(bucket, slots)))
            self._position += 8 * slots
        self._flush()
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, _little_endian(header))
        os.fsync(self._fd)


def _table(bucket: list[tuple[int, int]], slots: int) -> array[int]:
    """One hash table, its records inserted in input order with linear probing."""
    table = array("I", bytes(8 * slots))
    for h, position in bucket:
        at = (h >> 8) % slots * 2
        while table[at + 1]:
            at = at + 2 if at + 2 < 2 * slots else 0
        table[at] = h
        table[at + 1] = position
    return table


def _little_endian(numbers: array[int]) -> bytes:
    if PAIR.pack(1, 0) != array("I", (1, 0)).tobytes():
        numbers.byteswap()
    return numbers.tobytes()


def write_cdb(path: str, temporary: str, records: Iterable[tuple[bytes, bytes]], mode: int = 0o644) -> None:
    """Write `temporary`, fsync, close, rename it to `path`: readers see the old file or the new one. Raises OSError."""
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        writer = CdbWriter(fd)
        for key, data in records:
            writer.add(key, data)
        writer.finish()
    finally:
        os.close(fd)
    os.rename(temporary, path)
    fsync_directory(os.path.dirname(path) or ".")
