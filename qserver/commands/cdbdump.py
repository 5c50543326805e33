"""NAME
    cdbdump - print a constant database as text
SYNOPSIS
    cdbdump
DESCRIPTION
    Reads a database from descriptor 0, which may be a pipe, and prints every record, in the order of the file, as cdbmake
    reads it.
EXIT
    0; 111 the database is cut off, or trouble (ucspi 2.2)
"""

from __future__ import annotations

from qserver.base.errors import Die, fatal
from qserver.base.files import write_all
from qserver.net.cdbtext import Source, records, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FLUSH = 1 << 16
"""Bytes that are written at once, roughly."""


def main(argv: list[str], env: dict[str, str]) -> int:
    """Print all records."""
    text: list[bytes] = []
    waiting = 0
    try:
        for key, data in _records():
            text.append(shown(key, data))
            waiting += len(text[-1])
            if waiting >= FLUSH:
                write_all(1, b"".join(text))
                text, waiting = [], 0
        write_all(1, b"".join(text) + b"\n")
    except OSError as error:
        raise fatal("cdbdump", "unable to write output", error, unknown=None) from error
    return 0


def _records() -> Iterator[tuple[bytes, bytes]]:
    """Raises Die."""
    try:
        yield from records(Source(0))
    except EOFError:
        raise Die("cdbdump: fatal: unable to read input: truncated file") from None
    except OSError as error:
        raise fatal("cdbdump", "unable to read input", error, unknown=None) from error
