"""users/assign as records of users/cdb (delivery 5.2). Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FIELDS = 6


class BadFormat(Exception):
    """users/assign is not what it must be."""


def records(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The records in order, that of the wildcard bytes last. Lines come with their newline; `.` ends them.

    Raises BadFormat when it comes to a bad line, or to the end without that `.`.
    """
    wildcards = bytearray()
    for line in lines:
        if line.startswith(b"."):
            yield b"", bytes(wildcards)
            return
        if not line.endswith(b"\n"):
            break
        key, data = record(line)
        if line.startswith(b"+") and len(key) > 1:
            last = line[len(key) - 1]
            if last not in wildcards:
                wildcards.append(last)
        yield key, data
    raise BadFormat


def record(line: bytes) -> tuple[bytes, bytes]:
    """One assignment. A `+` line has a key without NUL, the beginning of an address; any other line a whole local part."""
    name, _, rest = line.partition(b":")
    fields = rest.split(b":", FIELDS)
    if b"\0" in line or not name or len(fields) <= FIELDS:
        raise BadFormat
    key = b"!" + name[1:].lower()
    return (key if name.startswith(b"+") else key + b"\0"), b"\0".join(fields[:FIELDS])
