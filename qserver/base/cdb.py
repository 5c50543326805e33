"""Constant databases (ucspi 2): a reader on mmap and a writer whose files are byte-identical to djb's cdbmake.

Header of 256 (position, slots), records in input order from offset 2048, then 256 hash tables; all numbers are 32-bit
little-endian. Bad contents raise OSError with EPROTO, djb's error_proto.
"""

from __future__ import annotations

import errno
import mmap
import os
from _operator import add, mod
from itertools import accumulate, repeat
from struct import Struct, pack, unpack

from qserver.base.files import fsync_directory, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER_SIZE = 2048
LIMIT = 0xFFFFFFFF
PAIR = Struct("<II")
HEADER = Struct("<512I")
FLUSH = 1 << 20
"""Octets of keys and data collected before they are written."""
BATCH = 4096
"""Records collected before they are written."""
WIDEST = 64
"""Where one key is longer, hashing them one by one is no slower."""
LANE = 5
"""Octets for a hash and what multiplying by 33 adds to it."""
SEED = b"\xa3\x06"
"""(163 * 33) xor 6 = 5381."""
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
        if len(data) < HEADER_SIZE:
            raise _bad()
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
        os.read(fd, 0)  # says EISDIR for a directory
        size = os.fstat(fd).st_size
        if size < HEADER_SIZE:
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
        """The same for a key whose hash the caller knows. (Several for each connection: hence not by `get_all`.)"""
        slots = self._header[(h & 255) * 2 + 1]
        if not slots:
            return None
        table, end = self._table(h, slots)
        at = table + (h >> 8) % slots * 8
        for _ in range(slots):
            found, position = PAIR.unpack_from(self._map, at)
            if not position:
                return None
            if found == h:
                data = self._data(position, key)
                if data is not None:
                    return data
            at = at + 8 if at + 8 < end else table
        return None

    def get_all(self, key: bytes) -> Iterator[bytes]:
        """The data of every record with this key, in input order."""
        h = hash_of(key)
        slots = self._header[(h & 255) * 2 + 1]
        table, _ = self._table(h, slots)
        for distance in range(slots):
            found, position = self._pair(table + ((h >> 8) + distance) % slots * 8)
            if not position:
                return
            data = self._data(position, key) if found == h else None
            if data is not None:
                yield data

    def hashes(self) -> list[int]:
        """The hashes of all keys, table by table."""
        found: list[int] = []
        for h in range(256):
            slots = self._header[h * 2 + 1]
            table, end = self._table(h, slots)
            numbers = unpack(f"<{2 * slots}I", self._bytes(table, end - table) if slots else b"")
            found += [key for key, position in zip(numbers[::2], numbers[1::2], strict=True) if position]
        return found

    def distances(self) -> list[int]:
        """How far from the place it belongs to each key is found, table by table."""
        found: list[int] = []
        for h in range(256):
            slots = self._header[h * 2 + 1]
            table, _ = self._table(h, slots)
            for slot in range(slots):
                key, position = self._pair(table + slot * 8)
                if position:
                    found.append((slot - (key >> 8)) % slots)
        return found

    def _table(self, h: int, slots: int) -> tuple[int, int]:
        """Where the hash table of these hashes begins and ends."""
        table = self._header[(h & 255) * 2]
        if slots and table + slots * 8 > self._size:
            raise _bad()
        return table, table + slots * 8

    def _data(self, position: int, key: bytes) -> bytes | None:
        """The data of the record there, if it has this key."""
        key_size, data_size = self._pair(position)
        start = position + 8 + key_size
        if key_size != len(key) or self._bytes(position + 8, key_size) != key:
            return None
        return self._bytes(start, data_size)

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

    __slots__ = ("_buckets", "_data", "_fd", "_keys", "_position", "_size")

    def __init__(self, fd: int) -> None:
        """Raises OSError."""
        self._fd = fd
        self._keys: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._buckets: list[list[int]] = [[] for _ in range(256)]
        self._position = HEADER_SIZE
        write_all(fd, bytes(HEADER_SIZE))

    def add(self, key: bytes, data: bytes) -> None:
        """Append a record. Raises OSError, also (ENOMEM, as djb's) where the file would reach 4 GiB."""
        self._keys.append(key)
        self._data.append(data)
        self._size += len(key) + len(data)
        if self._size >= FLUSH or len(self._keys) >= BATCH:
            self._flush()

    def extend(self, keys: list[bytes], data: list[bytes]) -> None:
        """Append as many records as there are keys. Raises OSError as `add` does."""
        self._keys += keys
        self._data += data
        if len(self._keys) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        """Write the records that wait and remember where they are."""
        if not self._keys:
            return
        keys, data = self._keys, self._data
        sizes, data_sizes = list(map(len, keys)), list(map(len, data))
        parts = [b""] * (3 * len(keys))
        parts[0::3] = map(PAIR.pack, sizes, data_sizes)
        parts[1::3] = keys
        parts[2::3] = data
        block = b"".join(parts)
        if self._position + len(block) > LIMIT:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        lengths = map(add, map(add, sizes, data_sizes), repeat(PAIR.size))
        positions = list(accumulate(lengths, initial=self._position))[:-1]
        into = [bucket.append for bucket in self._buckets]
        hashes = packed_hashes(keys)
        for lowest, slot in zip(hashes[::4], _slots(hashes, positions), strict=True):
            into[lowest](slot)
        write_all(self._fd, block)
        self._position += len(block)
        self._keys, self._data, self._size = [], [], 0

    def finish(self) -> None:
        """Write the hash tables and the header and fsync. Raises OSError."""
        self._flush()
        if self._position + 16 * sum(map(len, self._buckets)) > LIMIT:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        header: list[int] = []
        tables: list[bytes] = []
        for bucket in self._buckets:
            header += (self._position, 2 * len(bucket))
            tables.append(_table(bucket))
            self._position += 16 * len(bucket)
        write_all(self._fd, b"".join(tables))
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, HEADER.pack(*header))
        os.fsync(self._fd)


def _slots(hashes: bytes, positions: list[int]) -> tuple[int, ...]:
    """Slots of hash tables as numbers: position above hash."""
    count = len(positions)
    packed = pack(f"<{count}I", *positions)
    slots = bytearray(8 * count)
    for octet in range(4):
        slots[octet::8] = hashes[octet::4]
        slots[octet + 4 :: 8] = packed[octet::4]
    return unpack(f"<{count}Q", slots)


def _table(bucket: list[int]) -> bytes:
    """One hash table: its slots inserted in input order with linear probing."""
    size = 2 * len(bucket)
    table = [0] * size
    for start, slot in zip(map(mod, _upper_bits(bucket), repeat(size)), bucket, strict=True):
        at = start
        while table[at]:
            at = at + 1 if at + 1 < size else 0
        table[at] = slot
    return pack(f"<{size}Q", *table)


def _upper_bits(slots: list[int]) -> tuple[int, ...]:
    """The hashes of these slots without their lowest octets."""
    packed = pack(f"<{len(slots)}Q", *slots)
    upper = bytearray(4 * len(slots))
    for octet in range(3):
        upper[octet::4] = packed[octet + 1 :: 8]
    return unpack(f"<{len(slots)}I", upper)


def packed_hashes(keys: list[bytes]) -> bytes:
    """The hashes of many keys, 4 octets each, all at once: column by column over 40-bit lanes of one long number.

    Shorter keys are filled with NULs on the left. From 0, NULs lead to 0 and SEED to the hash of the empty key.
    """
    width = max(map(len, keys))
    if width > WIDEST:
        return pack(f"<{len(keys)}I", *map(hash_of, keys))
    width += len(SEED)
    rows = b"".join([(SEED + key).rjust(width, b"\0") for key in keys])
    mask = int.from_bytes(b"\xff\xff\xff\xff\0" * len(keys), "little")
    lanes = bytearray(LANE * len(keys))
    h = 0
    for column in range(width):
        lanes[::LANE] = rows[column::width]
        h = (h * 33 & mask) ^ int.from_bytes(lanes, "little")
    packed = h.to_bytes(LANE * len(keys), "little")
    hashes = bytearray(4 * len(keys))
    for octet in range(4):
        hashes[octet::4] = packed[octet::LANE]
    return bytes(hashes)


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
